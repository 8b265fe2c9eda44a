"""Writing parts of a report into files of the formats that are asked for."""

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from qbench.errors import UsageError
from qbench.reporting.document import Part, Table
from qbench.reporting.html import render_html
from qbench.reporting.latex import render_latex
from qbench.reporting.markdown import render_markdown
from qbench.store import write_atomic

__all__ = ["drawn", "frames_written", "parts_written", "writing"]


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Make the folder; what the block cannot write into it becomes a sentence.

    Raises:
        UsageError: The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UsageError(
            f"the report cannot be written to '{folder}': {error.strerror or error}; name another "
            "folder with report.output"
        ) from None


def drawn(formats: Iterable[str]) -> bool:
    """Whether any of the formats shows figures."""
    return not {"markdown", "html", "latex"}.isdisjoint(formats)


def parts_written(
    folder: Path, parts: Sequence[Part], formats: Iterable[str], title: str
) -> Iterator[Path]:
    """Write ``report.md``, ``report.html`` and ``tables.tex``, and yield each path.

    Args:
        folder: Where to; the figures that the parts name lie there.
        parts: The report.
        formats: Those of other files are passed over.
        title: The page's.
    """
    for name, file in {
        "markdown": "report.md",
        "html": "report.html",
        "latex": "tables.tex",
    }.items():
        if name in formats:
            write_atomic(folder / file, _rendered(name, parts, title, folder).encode())
            yield folder / file


def _rendered(name: str, parts: Sequence[Part], title: str, folder: Path) -> str:
    if name == "markdown":
        return render_markdown(parts)
    if name == "html":
        return render_html(parts, title, folder)
    return render_latex([part for part in parts if isinstance(part, Table)], title)


def frames_written(
    folder: Path, frames: dict[str, pd.DataFrame], formats: Iterable[str]
) -> Iterator[Path]:
    """Write each frame as ``<name>.csv`` and ``<name>.parquet``; equal numbers give equal bytes."""
    for name, frame in frames.items():
        if "csv" in formats:  # with ten digits
            text = frame.to_csv(index=False, float_format="%.10g", lineterminator="\n")
            write_atomic(folder / f"{name}.csv", text.encode())
            yield folder / f"{name}.csv"
        if "parquet" in formats:
            buffer = io.BytesIO()
            frame.to_parquet(buffer, index=False)
            write_atomic(folder / f"{name}.parquet", buffer.getvalue())
            yield folder / f"{name}.parquet"
