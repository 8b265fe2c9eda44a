"""The packaged table of published numbers is whole, and a broken one is refused in one sentence."""

from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import pytest

from qbench.errors import UsageError
from qbench.registry import datasets, models, quantizers
from qbench.reporting.published import TABLE, PublishedRow, listing, published, read_published
from qbench.reporting.published_flags import FLAGS, check_flag

DOCS = Path(__file__).parents[2] / "docs" / "published.md"
METHODS = {
    "ste", "dorefa", "lsq", "daq", "metaquant", "quantization_networks",
}  # fmt: skip
"""qbench's own that have numbers; QuantNet's only one names no network."""
HEAD = ",".join(PublishedRow.model_fields)
GOOD = "lsq,paper,resnet20,cifar10,2,2,90.0,91.5,,verified,verified,A paper,epochs=90,"


def write(folder: Path, *lines: str, head: str = HEAD) -> Path:
    path = folder / "table.csv"
    path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return path


def test_names_are_the_registries_where_they_look_like_them() -> None:
    rows = published()
    named = {row.method for row in rows if row.method in quantizers.entries()}
    assert named > METHODS
    lower = {row.method for row in rows if row.method.islower()}
    assert lower == named  # a field's name has a capital: a misspelt name of ours is found
    for row in rows:
        assert row.data in datasets.entries()
        if row.model.islower() or "/" in row.model:
            assert models.entry(row.model)


def test_widths_are_those_that_our_methods_can_do() -> None:
    for row in published():
        if row.method not in quantizers.entries() or (row.method, row.weight_bits) == ("qil", 1):
            continue  # of QIL at one bit there is only a quoted number, and no equation
        can = quantizers.entry(row.method).facts["bits"]
        for target, width in (("weight", row.weight_bits), ("activation", row.activation_bits)):
            others = target not in can  # activations of another method
            assert others or width == 32 or width in can[target], row


def test_numbers_are_plausible() -> None:
    for row in published():
        assert row.source
        if row.float_top1 is not None:
            assert 55 <= row.float_top1 <= 97  # AlexNet on ImageNet to networks on CIFAR-10
        if row.points is not None:
            assert -3 <= row.points <= 60, row  # 56.74: W1A1 of a fork of Quantization Networks


def test_flags_of_options_are_options() -> None:
    for row in published():
        for flag in row.flags:
            kind, dot, option = flag.partition("=")[0].partition(".")
            if dot:
                registry, name = (
                    (quantizers, row.method) if kind == "options" else (models, row.model)
                )
                assert option in registry.entry(name).options, row


def test_a_dispute_has_two_sides_or_says_what_is_wrong() -> None:
    cells: dict[tuple[object, ...], list[PublishedRow]] = defaultdict(list)
    for row in published():
        flags = {f for f in row.flags if f.partition("=")[0] not in ("disputed", "runs")}
        if row.kind != "rerun":
            cells[row.method, row.model, row.bits, frozenset(flags)].append(row)
        assert not row.disputed or row.note
    for rows in cells.values():
        for one in rows:
            for other in rows:
                assert agree(one, other) or (one.disputed and other.disputed), (one, other)


def agree(one: PublishedRow, other: PublishedRow) -> bool:
    """Whether two numbers for one thing are the same, rounded to the fewer digits."""
    pairs = ((one.top1, other.top1), (one.float_top1, other.float_top1))
    return all(a is None or b is None or equal(a, b) for a, b in pairs)


def equal(a: Decimal, b: Decimal) -> bool:
    digits = max(a.as_tuple().exponent, b.as_tuple().exponent)
    return abs(a - b) <= Decimal(5).scaleb(int(digits) - 1)


@pytest.mark.parametrize(
    ("method", "model", "bits", "top1", "float_top1"),
    [  # against slips of the pen: cells of the main tables
        ("daq", "resnet20", "W1A1", "85.8", "91.4"),
        ("daq", "torchvision/resnet18", "W1A32", "67.2", "69.9"),
        ("lsq", "torchvision/resnet18", "W2A2", "67.6", "70.5"),
        ("quantization_networks", "torchvision/resnet18", "W2A32", "69.1", "70.3"),
        ("metaquant", "resnet20", "W1A32", "89.962", "91.5"),
        ("metaquant", "resnet110", "W1A32", "69.114", "72.54"),
        ("pact", "resnet20", "W4A4", "91.3", "91.6"),
    ],
)
def test_numbers_that_were_looked_up(
    method: str, model: str, bits: str, top1: str, float_top1: str
) -> None:
    found = [row for row in published(method, model, bits=bits) if row.kind == "paper"]
    pairs = {(str(row.top1), str(row.float_top1)) for row in found if row.tag == "verified"}
    assert (top1, float_top1) in pairs


def test_filters() -> None:
    rows = published("daq", "resnet20", "cifar10", "w1a1")
    assert rows
    assert {(row.method, row.model, row.data, str(row.bits)) for row in rows} == {
        ("daq", "resnet20", "cifar10", "W1A1")
    }
    assert published("daq", "resnet20", "cifar10", "W8A8") == ()
    assert len(published()) == len(TABLE.read_text(encoding="utf-8").splitlines()) - 1


def test_listing() -> None:
    (row,) = (row for row in listing("daq", "resnet20", "cifar10") if row["top1"] == "85.8")
    assert row["drop"] == "5.6"
    assert "epochs=400" in row["flags"]
    with pytest.raises(UsageError, match="did you mean 'daq'"):
        listing("daqq")


def test_a_drop_alone(tmp_path: Path) -> None:
    (row,) = read_published(write(tmp_path, "x,quoted,m,d,1,32,,,0.7,verified,,A,,"))
    assert row.points == Decimal("0.7")
    assert row.flags == ()


@pytest.mark.parametrize(
    ("old", "new", "column", "reason"),
    [
        (",90.0,", ",190,", "top1", "less than or equal to 100"),
        (",90.0,", ",nan,", "top1", "'nan'"),
        (",paper,", ",book,", "kind", "'book'"),
        (",2,2,", ",2,9,", "activation_bits", "9 bits; allowed: 1 to 8, or 32"),
        ("verified,verified", "certain,verified", "tag", "'certain'"),
        ("A paper", " ", "source", "at least 1 character"),
        ("epochs=90", "epoch=90", "flags", "there is no flag 'epoch=90'"),
        ("epochs=90", "epochs=many", "flags", "is not a count"),
        ("epochs=90", "epochs=90;epochs=80", "flags", "stands twice"),
        (",90.0,91.5,,", ",90.0,91.5,1.5,", "", "either top1 or drop"),
        ("verified,verified", "verified,", "", "float_top1 and float_tag"),
    ],
)
def test_a_broken_row_is_named(
    tmp_path: Path, old: str, new: str, column: str, reason: str
) -> None:
    path = write(tmp_path, GOOD.replace("2,2", "3,3"), GOOD.replace(old, new, 1))
    where = f"table.csv, row 3{f', column {column}' if column else ''}: "
    with pytest.raises(UsageError) as error:
        read_published(path)
    assert str(error.value).startswith(where)
    assert reason in str(error.value)


def test_a_table_with_other_columns_or_too_few_values_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the columns are method,? ?"):
        read_published(write(tmp_path, head="method"))
    with pytest.raises(UsageError, match="row 2: it does not have 14 values"):
        read_published(write(tmp_path, "lsq,paper"))
    with pytest.raises(UsageError, match="row 2: it does not have 14 values"):
        read_published(write(tmp_path, GOOD + ",more"))
    with pytest.raises(UsageError, match="cannot be read"):
        read_published(tmp_path / "missing.csv")


def test_a_number_stands_once(tmp_path: Path) -> None:
    again = GOOD.replace("verified,verified", "recalled,verified") + "the same number"
    with pytest.raises(UsageError, match="row 3: the number stands in row 2 already"):
        read_published(write(tmp_path, GOOD, again))


def test_the_vocabulary_is_closed() -> None:
    assert check_flag("options.meta=fcgrad")
    for wrong in ("epochs", "distillation=yes", "options.meta=mlp", "options.other=1", ""):
        with pytest.raises(ValueError, match="flag"):
            check_flag(wrong)


def test_the_page_tells_every_column_and_flag() -> None:
    page = DOCS.read_text(encoding="utf-8")
    for name in (*PublishedRow.model_fields, *FLAGS):
        assert f"`{name}" in page, name
