"""``python -m qbench.list``: what there is, for eyes and for programs."""

import json
from typing import get_args

import pytest
from click.testing import CliRunner
from rich.console import Console

from qbench import list as listing
from qbench import registry
from qbench.errors import UsageError
from qbench.quantizers.contract import Family, Provenance
from qbench.registry import Registry
from qbench.study.recipes import recipes


def output(*arguments: str) -> str:
    result = CliRunner().invoke(listing.command, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("kind", listing.KINDS)
def test_every_name_has_a_line_with_what_it_is(kind: str) -> None:
    lines = output(kind).splitlines()
    for name, entry in listing.KINDS[kind].entries().items():
        (line,) = [line for line in lines if line.split(" ")[0] == name]
        assert entry.summary.replace("``", "") in line


def test_quantizers_show_bits_and_papers() -> None:
    (line,) = [line for line in output("quantizers").splitlines() if line.startswith("lsq ")]
    assert line.split()[:3] == ["lsq", "2-8", "2-8"]
    assert "learned levels" in line
    assert "verified" in line
    assert "arXiv:1902.08153" in line
    assert "weight bits" not in output("models")


@pytest.mark.parametrize("kind", listing.KINDS)
def test_json_is_the_whole_registry(kind: str) -> None:
    found = json.loads(output(kind, "--json"))
    assert [entry["name"] for entry in found] == list(listing.KINDS[kind].entries())


def test_json_has_options_with_types_and_defaults() -> None:
    found = {entry["name"]: entry for entry in json.loads(output("quantizers", "--json"))}
    assert found["ste"]["options"]["weight_backward"] == {
        "type": "Literal['identity', 'clipped', 'polynomial']",
        "default": "identity",
    }
    assert found["lsq"]["bits"]["weight"] == [2, 3, 4, 5, 6, 7, 8]


def test_family_and_provenance_are_those_of_the_classes() -> None:
    families = set(get_args(Family))
    for row in json.loads(output("quantizers", "--json")):
        if not row["bits"]:
            continue  # a family, of which only members quantize
        kind = registry.quantizers.load(row["name"])
        assert (row["family"], row["rests_on"]) == (kind.family, kind.provenance)
        assert row["family"] in families
        assert row["rests_on"] in get_args(Provenance)


def test_verbose_has_options_and_equations() -> None:
    text = output("quantizers", "-v")
    assert "option gradient_scale: bool = true" in text
    assert "backward   dq/dx" in text


def test_names_are_whole_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Narrow(Console):
        def __init__(self, **settings: object) -> None:
            super().__init__(force_terminal=True, width=40, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(listing, "Console", Narrow)
    text = output("diagnostics")
    for name in registry.diagnostics.entries():
        assert name in text


def test_an_unknown_kind_is_a_usage_error() -> None:
    result = CliRunner().invoke(listing.command, ["quantizer"])
    assert result.exit_code == 2
    assert "quantizers" in result.output


def test_a_broken_installed_plug_in_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Registry):
        def entries(self) -> dict[str, registry.Entry]:
            raise UsageError("the plug-in module 'x' cannot be found; is it installed?")

    monkeypatch.setitem(listing.KINDS, "models", Broken("model", "qbench.models"))
    result = CliRunner().invoke(listing.command, ["models"])
    assert result.exit_code == 2
    assert result.output == "error: the plug-in module 'x' cannot be found; is it installed?\n"


def test_published_results_are_chosen_by_method_and_data() -> None:
    lines = output("published", "--method", "daq", "--data", "cifar10").splitlines()
    assert lines[0].split()[:4] == ["method", "model", "data", "bits"]
    assert len(lines) > 1
    assert all(line.split()[0] == "daq" and "cifar10" in line for line in lines[1:])
    found = json.loads(output("published", "--method", "daq", "--json"))
    assert {row["method"] for row in found} == {"daq"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("published", "--method", "dap"), "no published method 'dap'; did you mean 'daq'"),
        (("models", "--method", "daq"), "choose among 'published'"),
    ],
)
def test_a_wrong_choice_is_a_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    result = CliRunner().invoke(listing.command, list(arguments))
    assert result.exit_code == 2
    assert sentence in result.output


def test_recipes_have_a_line_with_their_source() -> None:
    lines = output("recipes").splitlines()
    (line,) = [line for line in lines if line.startswith("paper:daq ")]
    assert line.split()[1:4] == ["400", "256", "sgd"]
    assert "Kim et al., ICCV 2021" in line
    text = output("recipes", "-v")
    assert all(f"source: {one.source}" in text for one in recipes().values())
    assert "schedule: name=step, milestones=[30.0, 60.0, 90.0]" in text
    found = {one["name"]: one for one in json.loads(output("recipes", "--json"))}
    assert found.keys() == recipes().keys()
    assert found["paper:gpfq"]["training"] == {"epochs": 0}


def test_search_spaces_and_components_are_listed() -> None:
    found = {entry["name"]: entry for entry in json.loads(output("quantizers", "--json"))}
    assert found["daq"]["search"]["gamma"] == {"low": 0.5, "high": 4.0}
    assert found["daq"]["components"]["controller"] == {"rounding": "soft"}
    assert found["dorefa"]["search"] == {}
    text = output("quantizers", "-v")
    assert "tune temperature_rate: 5.0, 10.0, 20.0 or 40.0" in text
    assert "tune meta_learning_rate: 0.0001 to 0.01, by its log" in text
    assert "without output_scale: output_scale=false" in text
