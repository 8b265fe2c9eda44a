"""Published results: a packaged table of numbers that papers and re-runs report.

One row a number. docs/published.md says what the columns mean and how to add a row.
"""

import csv
from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from qbench.errors import UsageError, unknown
from qbench.reporting.published_flags import check_flag, flag_value
from qbench.study.schema import Bits

__all__ = ["KINDS", "TABLE", "TAGS", "PublishedRow", "listing", "published", "read_published"]

TABLE = Path(__file__).with_name("published.csv")
"""The packaged table."""
Kind = Literal["paper", "quoted", "rerun"]
KINDS: tuple[Kind, ...] = ("paper", "quoted", "rerun")
"""The method's own publication or code; another paper's table; somebody's own training of it."""
Tag = Literal["verified", "secondary", "recalled"]
TAGS: tuple[Tag, ...] = ("verified", "secondary", "recalled")
"""Read at the source that the row names; read in notes about that source; remembered."""
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Percent = Annotated[Decimal, Field(ge=0, le=100, allow_inf_nan=False)]


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


Optional = BeforeValidator(_none_if_empty)


class PublishedRow(BaseModel):
    """A published number, with where it stands and what is known of its protocol."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Text
    """qbench's name of the quantizer where it has it, else the field's."""
    kind: Kind
    model: Text
    """qbench's name where it has the network, else the source's."""
    data: Text
    weight_bits: int
    activation_bits: int
    """32 stands for float."""
    top1: Annotated[Percent | None, Optional]
    """Accuracy in percent, with the digits that are printed."""
    float_top1: Annotated[Percent | None, Optional]
    """Of the same source's float network, in percent."""
    drop: Annotated[Decimal | None, Field(ge=-100, le=100, allow_inf_nan=False), Optional]
    """Float minus quantized, in points, where the source prints nothing else."""
    tag: Tag
    float_tag: Annotated[Tag | None, Optional]
    source: Text
    flags: tuple[str, ...]
    note: str

    @field_validator("weight_bits", "activation_bits")
    @classmethod
    def _width(cls, value: int) -> int:
        if value not in (*range(1, 9), 32):
            raise ValueError(f"{value} bits; allowed: 1 to 8, or 32 for float")
        return value

    @field_validator("flags", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(value.split(";")) if isinstance(value, str) and value else value or ()

    @field_validator("flags")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = [check_flag(flag).partition("=")[0] for flag in value]
        if len(set(names)) < len(names):
            raise ValueError(f"a flag stands twice in '{';'.join(value)}'")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.top1 is None) == (self.drop is None):
            raise ValueError("give either top1 or drop; drop is for a source that prints no top1")
        if self.top1 is None and self.float_top1 is not None:
            raise ValueError("float_top1 needs top1 beside it")
        if (self.float_top1 is None) != (self.float_tag is None):
            raise ValueError("float_top1 and float_tag stand together or not at all")
        return self

    @property
    def bits(self) -> Bits:
        """Both widths, written ``W1A32``."""
        return Bits(weight=self.weight_bits, activation=self.activation_bits)

    @property
    def points(self) -> Decimal | None:
        """The drop from the source's own float network; ``None`` where that is not known."""
        if self.drop is not None or self.top1 is None or self.float_top1 is None:
            return self.drop
        return self.float_top1 - self.top1

    @property
    def disputed(self) -> bool:
        """Whether another source gives another number for the same thing."""
        return self.flag("disputed") is not None

    def flag(self, name: str) -> str | None:
        """The value of a flag, empty for one without a value; ``None`` where it is missing."""
        return flag_value(self.flags, name)


def read_published(path: Path) -> tuple[PublishedRow, ...]:
    """Read and check a table.

    Raises:
        UsageError: It cannot be read, a value is not allowed (the sentence names row and column),
            or a row stands twice.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.DictReader(file, strict=True)
            heads = list(lines.fieldnames or ())
            if heads != list(PublishedRow.model_fields):
                raise UsageError(
                    f"{path.name}: the columns are {', '.join(heads) or 'none'}; they must be "
                    f"{', '.join(PublishedRow.model_fields)}"
                )
            rows = [(lines.line_num, _row(path, lines.line_num, line)) for line in lines]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"the table '{path}' cannot be read: {error}") from None
    seen: dict[PublishedRow, int] = {}
    for number, row in rows:
        bare = row.model_copy(update={"note": "", "tag": "verified", "float_tag": None})
        if bare in seen:
            raise UsageError(
                f"{path.name}, row {number}: the number stands in row {seen[bare]} already; "
                "remove one"
            )
        seen[bare] = number
    return tuple(row for _, row in rows)


def _row(path: Path, number: int, line: dict[str, Any]) -> PublishedRow:
    if None in line or None in line.values():  # the reader's word for too many and too few values
        raise UsageError(
            f"{path.name}, row {number}: it does not have {len(PublishedRow.model_fields)} values; "
            "a value with a comma needs quotation marks"
        )
    try:
        return PublishedRow.model_validate(line)
    except ValidationError as error:
        first = error.errors()[0]
        column = f", column {first['loc'][0]}" if first["loc"] else ""
        value = f"'{first['input']}': " if first["loc"] else ""
        message = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{path.name}, row {number}{column}: {value}{message}") from None


@cache
def _packaged() -> tuple[PublishedRow, ...]:
    return read_published(TABLE)


def published(
    method: str | None = None,
    model: str | None = None,
    data: str | None = None,
    bits: Bits | str | None = None,
    *,
    table: Sequence[PublishedRow] | None = None,
) -> tuple[PublishedRow, ...]:
    """The rows of the packaged table that have these names; what is left out matches all.

    Args:
        method: A quantizer's name.
        model: A model's name, without options.
        data: A data set's name.
        bits: Such as ``W1A32``.
        table: Other rows than the packaged ones.
    """
    wanted = None if bits is None else str(Bits.model_validate(bits)).upper()
    return tuple(
        row
        for row in (_packaged() if table is None else table)
        if method in (None, row.method)
        and model in (None, row.model)
        and data in (None, row.data)
        and wanted in (None, str(row.bits))
    )


def listing(
    method: str | None = None, model: str | None = None, data: str | None = None
) -> list[dict[str, str]]:
    """The rows as texts by column, for a terminal or JSON, with what a row's drop is.

    Raises:
        UsageError: No row has the name; the sentence names the nearest.
    """
    for kind, name in (("method", method), ("model", model), ("data", data)):
        names = {str(getattr(row, kind)) for row in _packaged()}
        if name is not None and name not in names:
            raise UsageError(unknown(f"published {kind}", name, names))
    return [_texts(row) for row in published(method, model, data)]


def _texts(row: PublishedRow) -> dict[str, str]:
    values = row.model_dump() | {"flags": ";".join(row.flags), "drop": row.points}
    return {name: "" if value is None else str(value) for name, value in values.items()}
