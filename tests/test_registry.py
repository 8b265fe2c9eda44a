"""Names are read from source text; nothing is imported until it is used."""

import importlib
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from qbench import registry
from qbench.errors import UsageError
from qbench.registry import Registry, load_plugin, read_declarations

ALL = (registry.quantizers, registry.models, registry.datasets, registry.diagnostics)

SOURCE = '''
from typing import Literal
from qbench.registry import quantizers, models

CONSTANT = 3
quantizers.register("called")(object)


@quantizers.register("toy_one", "toy_two", stable=True)
class Toy:
    """The first line.

    The rest.
    """

    bits = {"weight": (1, 2)}
    paper: str = "A. Nobody, 2020"
    computed = CONSTANT + 1

    def __init__(
        self, *, bit_width: int, target: Literal["weight", "activation"] = "weight",
        rate: float = 0.5, sizes: tuple[int, ...] = (1, 2), mode: Literal["a", "b"] | None = None,
        untyped=3,
    ) -> None:
        self.settings = (rate, mode)


@models.register("family/*", "toy_net")
def network(name: str, *, classes: int, depth: int = 2) -> None:
    pass
'''


@pytest.fixture
def plugin(tmp_path: Path, own_registries: None) -> Path:
    """A plug-in file with a name of its own, forgotten after the test."""
    path = tmp_path / "toy_registry_plugin.py"
    path.write_text(SOURCE)
    importlib.invalidate_caches()
    return path


def test_declarations_are_read_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "toy.py"
    path.write_text("raise SystemExit\n" + SOURCE)
    one, two = read_declarations(path, "toy", "quantizers")
    assert (one.name, two.name) == ("toy_one", "toy_two")
    assert (one.module, one.attribute, one.source) == ("toy", "Toy", path)
    assert one.summary == "The first line."
    assert one.facts == {"bits": {"weight": (1, 2)}, "paper": "A. Nobody, 2020", "stable": True}
    assert {name: default for name, (_, default) in one.options.items()} == {
        "target": "weight", "rate": 0.5, "sizes": (1, 2), "mode": None,
    }  # fmt: skip
    assert list(read_declarations(path, "toy", "datasets")) == []


def test_options_are_checked_and_defaults_left_out(tmp_path: Path) -> None:
    path = tmp_path / "toy.py"
    path.write_text(SOURCE)
    entry, _ = read_declarations(path, "toy", "quantizers")
    assert entry.check_options({}) == {}
    assert entry.check_options({"rate": 0.5, "sizes": [1, 2], "mode": None}) == {}
    assert entry.check_options({"rate": 1, "sizes": [3]}) == {"rate": 1.0, "sizes": (3,)}
    assert entry.check_options({"mode": "b"}) == {"mode": "b"}


@pytest.mark.parametrize(
    "options", [{"rat": 1}, {"rate": "1"}, {"rate": True}, {"mode": "c"}, {"sizes": 3},
                {"bit_width": 2}],
)  # fmt: skip
def test_wrong_options_are_refused(tmp_path: Path, options: dict[str, object]) -> None:
    path = tmp_path / "toy.py"
    path.write_text(SOURCE)
    entry, _ = read_declarations(path, "toy", "quantizers")
    with pytest.raises(ValidationError):
        entry.check_options(options)


@pytest.mark.parametrize("kinds", ALL, ids=lambda one: one.kind)
def test_what_is_read_is_what_registers(kinds: Registry) -> None:
    """The text and the imported object agree, for everything that is shipped."""
    assert kinds.entries()
    for name, entry in kinds.entries().items():
        assert entry.summary, f"{name} has no docstring"
        loaded = kinds.load(name)
        assert (loaded.__module__, loaded.__qualname__) == (entry.module, entry.attribute)


def test_a_family_answers_for_its_members() -> None:
    assert registry.models.entry("torchvision/resnet18").name == "torchvision/*"


def test_an_unknown_name_is_told_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"there is no quantizer 'lqs'; did you mean 'lsq'\?"):
        registry.quantizers.entry("lqs")
    with pytest.raises(UsageError, match="allowed: .*dorefa, .*float"):
        registry.quantizers.load("no such thing at all")


def test_a_plug_in_by_path_adds_to_every_registry(plugin: Path) -> None:
    name = load_plugin(plugin.name, plugin.parent)
    assert name == str(plugin)
    assert load_plugin(name) == name  # what a worker does with it
    assert registry.quantizers.entry("toy_two").attribute == "Toy"
    assert registry.models.entry("family/x").attribute == "network"
    assert plugin.stem not in sys.modules
    assert registry.quantizers.load("toy_one").__name__ == "Toy"


def test_a_plug_in_by_dotted_name(plugin: Path) -> None:
    sys.path.insert(0, str(plugin.parent))
    assert load_plugin(plugin.stem) == plugin.stem
    assert "toy_net" in registry.models.entries()


@pytest.mark.parametrize("name", ["no_such_module_here", "no_such_package.module", "nowhere.py"])
def test_a_plug_in_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"plug-in.*{name.split('.')[0]}"):
        load_plugin(name, tmp_path)


def test_a_plug_in_cannot_take_a_built_in_name(plugin: Path) -> None:
    plugin.write_text(SOURCE.replace("toy_one", "lsq"))
    with pytest.raises(UsageError, match="declares the quantizer 'lsq', which .*lsq declares"):
        load_plugin(str(plugin))


def test_a_name_is_registered_once() -> None:
    own = Registry("quantizer", "qbench.quantizers")

    class One: ...

    class Two: ...

    assert own.register("x")(One) is One
    own.register("x")(One)  # a module that is imported again
    with pytest.raises(UsageError, match="'x' is declared twice"):
        own.register("x")(Two)


def test_an_installed_package_adds_names_through_an_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other_package.py").write_text(
        "from qbench.registry import quantizers\n\n\n"
        '@quantizers.register("theirs")\n'
        "class Theirs:\n"
        '    """Another project\'s method."""\n'
    )
    facts = tmp_path / "other_package-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: other-package\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[qbench.quantizers]\ntheirs = other_package\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = registry.Registry("quantizer", "qbench.quantizers").entry("theirs")
    assert found.module == "other_package"
    assert found.summary == "Another project's method."
