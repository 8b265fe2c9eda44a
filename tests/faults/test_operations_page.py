"""The page for operators names tests that are there, and that make faults."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and "test_" in line]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:40])
def test_a_row_names_tests_that_are_marked(row: str) -> None:
    *cells, tests = row.strip("| ").split(" | ")
    assert len(cells) == 3, "the fault, what happens, what is lost"
    for name in re.findall(r"`(test_\w+\.py)`", tests):
        (file,) = (ROOT / "tests").rglob(name)
        assert "pytest.mark.fault" in file.read_text(encoding="utf-8"), name


def test_every_test_of_a_fault_is_named() -> None:
    for file in (ROOT / "tests" / "faults").glob("test_*.py"):
        assert file == Path(__file__) or f"`{file.name}`" in PAGE
