"""What a method's file notes stands under the table that shows its numbers."""

from types import SimpleNamespace

import pytest
from synthetic_results import make_plan

from qbench.errors import UsageError
from qbench.reporting import footnotes
from qbench.reporting.footnotes import Footnotes


class Notes:
    def entry(self, name: str) -> SimpleNamespace:
        if name == "unknown":
            raise UsageError("there is no quantizer 'unknown'")
        texts = {"lsq": {"note": "Trains\n  twice as long."}}
        return SimpleNamespace(facts=texts.get(name, {}))


def test_only_methods_with_a_note_are_numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footnotes, "quantizers", Notes())
    found = Footnotes(make_plan(("float", "unknown", "lsq")).cells)
    assert found.notes == ("[1] lsq: Trains twice as long.",)
    assert [found.marked(name) for name in ("float", "unknown", "lsq")] == [
        "float", "unknown", "lsq [1]",
    ]  # fmt: skip
