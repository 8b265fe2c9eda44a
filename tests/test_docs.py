"""docs/diagnostics.md is what the docstrings say, and says it of every diagnostic."""

import importlib.util
from pathlib import Path

import pytest

from qbench.registry import diagnostics

DOCS = Path(__file__).parents[1] / "docs"


def test_the_page_is_made_from_the_docstrings() -> None:
    spec = importlib.util.spec_from_file_location("make_diagnostics", DOCS / "make_diagnostics.py")
    assert spec
    assert spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    written = (DOCS / "diagnostics.md").read_text(encoding="utf-8")
    assert written == made.page().rstrip() + "\n", "run python docs/make_diagnostics.py"


@pytest.mark.parametrize("name", diagnostics.entries())
def test_a_diagnostic_says_what_its_reader_needs(name: str) -> None:
    doc = diagnostics.entry(name).doc
    for section in ("Formula", "Meaning", "Range", "Cost", "Misleads", "Source"):
        assert f"\n\n{section}: " in doc
