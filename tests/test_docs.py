"""Pages of docs/ that are made from docstrings are what these say."""

import importlib.util
from pathlib import Path

import pytest

from qbench.registry import diagnostics

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("page", ["diagnostics", "quantizers"])
def test_a_page_is_made_from_the_docstrings(page: str) -> None:
    spec = importlib.util.spec_from_file_location(f"make_{page}", DOCS / f"make_{page}.py")
    assert spec
    assert spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    written = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    assert written == made.page().rstrip() + "\n", f"run python docs/make_{page}.py"


@pytest.mark.parametrize("name", diagnostics.entries())
def test_a_diagnostic_says_what_its_reader_needs(name: str) -> None:
    doc = diagnostics.entry(name).doc
    for section in ("Formula", "Meaning", "Range", "Cost", "Misleads", "Source"):
        assert f"\n\n{section}: " in doc
