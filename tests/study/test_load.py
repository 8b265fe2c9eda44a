"""Every fault of a study file is one sentence with its line; whatever is accepted is typed."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_study import VALID

from qbench.errors import UsageError
from qbench.study.expand import expand
from qbench.study.load import load_study
from qbench.study.schema import Bits, Study

STUDY = """\
study: toy
question: Which?
quantizers:
  - float
  - name: ste
    options: {weight_backward: clipped}
  - lsq
models: [resnet8]
data:
  sets: [digits]
bits:
  - W4A32
  - W2A2
start: float
training:
  epochs: 2
  optimizer:
    learning_rate: 1e-2
ablations:
  - quantizer: ste
    vary: {options.weight_backward: [identity]}
report: {baseline: float}
"""


def sentence(path: Path, text: str | bytes, *overrides: str) -> str:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(UsageError) as caught:
        load_study(path, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_typed_values(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text(STUDY)
    study = load_study(path)
    assert study.quantizers[0].name == "float"
    assert study.quantizers[1].options == {"weight_backward": "clipped"}
    assert study.bits == (Bits(weight=4, activation=32), Bits(weight=2, activation=2))
    assert study.training.optimizer.learning_rate == 0.01  # YAML 1.1 reads "1e-2" as text
    assert study.seeds == (0,)


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("epochs: 2", "epoch: 2", 16, "training.epoch: there is no setting 'epoch'; did you mean "
         "'epochs'? allowed: augmentation, batch"),
        ("learning_rate: 1e-2", "learning_rat: 1", 18, "did you mean 'learning_rate'?"),
        ("epochs: 2", "epochs: two", 16, "training.epochs: write a whole number in place of 'two'"),
        ("epochs: 2", "epochs: true", 16, "write a whole number in place of true"),
        ("epochs: 2", "epochs: '2'", 16, "write a whole number in place of '2'"),
        ("epochs: 2", "epochs: -1", 16, "-1 is not allowed; write at least 0"),
        ("epochs: 2", "epochs: 2000-01-01", 16, "date"),
        ("1e-2", ".inf", 18, "not a finite number"),
        ("epochs: 2\n  optimizer:\n    learning_rate: 1e-2", "optimizer: adam", 16,
         "its keys: name, learning_rate"),
        ("  - W2A2", "  - W2", 13, "bits.1: 'W2' is not a pair of bit-widths; write W1A32"),
        ("  - W2A2", "  - W9A2", 13, "9 bits for weights; allowed: 1 to 8, or 32"),
        ("  - W2A2", "  - w4a32", 13, "listed twice"),
        ("  - W2A2", "  - W2A1", 13, "bits.1: 'lsq' cannot do 1-bit activations; it can do 2-8"),
        ("  - W2A2", "  - W32A32", 13, "W32A32 quantizes nothing"),
        ("  - lsq", "  - lqs", 7, "there is no quantizer 'lqs'; did you mean 'lsq'? allowed: "),
        ("  - lsq", "  - ste: 1", 7, "there is no setting 'ste'"),
        ("  - lsq", "  - {label: x}", 7, "quantizers.2.name: it is needed"),
        ("  - lsq", "  - {name: lsq, label: float}", 7, "two rows have the label 'float'"),
        ("  - lsq", "  - {name: lsq, training: {epoch: 1}}", 7, "quantizers.2.training.epoch: "),
        ("  - lsq", "  - {name: lsq, activations: stee}", 7, "did you mean 'ste'?"),
        ("weight_backward: clipped", "backward: clipped", 6, "quantizers.1.options.backward: there "
         "is no 'ste' option 'backward'"),
        ("weight_backward: clipped", "weight_backward: clip", 6, "did you mean 'clipped'? allowed: "
         "clipped, identity, polynomial"),
        ("resnet8]", "resnet9]", 8, "there is no model 'resnet9'; did you mean 'resnet8'?"),
        ("resnet8]", "torchvision/resnet19]", 8, "did you mean 'resnet18'?"),
        ("resnet8]", "torchvision]", 8, "is a family"),
        ("digits]", "digit]", 10, "data.sets.0: there is no data set 'digit'; did you mean"),
        ("[identity]", "[identity, tent]", 21, "options.weight_backward.1: there is no choice 't"),
        ("quantizer: ste", "quantizer: set", 20, "there is no row 'set'; did you mean 'ste'?"),
        ("baseline: float", "baseline: floot", 22, "did you mean 'float'?"),
        ("start: float", "start: flaot", 14, "there is no start 'flaot'; did you mean 'float'?"),
        ("start: float", "diagnostics: {of: [gap]}", 14, "there is no diagnostic 'gap'"),
        ("start: float", "plugins: [no_such_module]", 14, "cannot be found"),
        ("start: float", "exclude: [{where: seed = 0, because: x}]", 14, "is not an expression"),
        ("start: float", "exclude: [{where: quantizer == lsq, because: x}]", 14, "put text in quo"),
        ("start: float", "exclude: [{where: seed, because: x}]", 14, "neither true nor false"),
        ("start: float", "exclude: [{where: seed < 'a', because: x}]", 14, "cannot be computed"),
        ("start: float", "seeds: [0, -1]", 14, "seeds.1: -1 is not allowed; write at least 0"),
        ("start: float", "1: float", None, "the key 1 is not text"),
        ("start: float", "bits: [W1A1]", 14, "this is not YAML: found duplicate key \"bits\""),
        ("start: float", "start: [float", 15, "this is not YAML"),
        ("question: Which?\n", "", None, "question: it is needed"),
    ],
)  # fmt: skip
def test_a_fault_is_one_sentence_with_its_line(
    tmp_path: Path, old: str, new: str, line: int | None, says: str
) -> None:
    assert old in STUDY
    path = tmp_path / "toy.yaml"
    message = sentence(path, STUDY.replace(old, new, 1))
    assert message.startswith(f"{path}, line {line}: " if line else f"{path}: ")
    assert says in message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("- study\n", "not a list"),
        ("study", "not a single value"),
        (b"study: \xff", "not UTF-8"),
        ("study: &loop [*loop]", "nested too deeply"),
        ("[" * 1000, "nested too deeply"),  # Python's recursion limit
        ("a: 1\n---\nb: 2\n", "another document"),
        ("a: !python/object:os.system 1\n", "not YAML"),
        ('study: "\\ud800"', "surrogate"),
    ],
)
def test_a_file_that_is_no_study(tmp_path: Path, content: str | bytes, says: str) -> None:
    assert says in sentence(tmp_path / "toy.yaml", content)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "toy.yaml").write_text(STUDY)
    for path in (tmp_path / "typo.yaml", tmp_path):
        with pytest.raises(UsageError, match=r"in that folder are: toy\.yaml"):
            load_study(path)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("training.epoch=1", "training.epoch: there is no setting 'epoch'; did you mean 'epochs'?"),
        ("trainin.epochs=1", "trainin: there is no setting 'trainin'; did you mean 'training'?"),
        ("training.epochs=", "write a whole number in place of null"),
        ("training.epochs=[1", "this is not YAML"),
        ("training.epochs", "write key=value"),
        ("..=1", "write key=value"),
        ("quantizers.7.name=ste", "there is no position '7'; allowed: 0, 1, 2"),
        ("study.name=x", "'toy' has no setting 'name' inside it"),
        ("quantizers.0.options.x=1", "there is no 'float' option 'x'"),
        ("bits=[W1A1]", "bits.0: 'lsq' cannot do 1-bit weights"),
    ],
)
def test_a_fault_of_an_override_names_it(tmp_path: Path, override: str, says: str) -> None:
    message = sentence(tmp_path / "toy.yaml", STUDY, override)
    assert message.startswith(f"override '{override}'")
    assert says in message


def test_overrides_reach_every_kind_of_place(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text(STUDY)
    study = load_study(
        path,
        [
            "training.schedule.name=step",  # a group that the file does not have
            "seeds=[3, 4]",
            "quantizers.2.options.gradient_scale=false",  # a name becomes a group
            "ablations.0.vary.options.weight_backward=[polynomial]",  # a key with dots
            "question=a=b",
            "training.epochs=5",
            "training.epochs=6",
        ],
    )
    assert study.training.schedule.name == "step"
    assert study.seeds == (3, 4)
    assert study.quantizers[2].options == {"gradient_scale": False}
    assert study.ablations[0].vary == {"options.weight_backward": ["polynomial"]}
    assert study.question == "a=b"
    assert study.training.epochs == 6  # the later one


def test_bits_that_are_excluded_are_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text(STUDY.replace("W2A2", "W1A2"))
    exclusion = "exclude=[{where: quantizer == 'lsq' and weight_bits == 1, because: no}]"
    assert load_study(path, [exclusion]).bits[1].weight == 1


def test_a_file_to_start_from(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"1")
    path = tmp_path / "toy.yaml"
    path.write_text(STUDY)
    assert load_study(path, [f"start={weights}"]).start == str(weights)


PLUGIN = '''
from typing import Literal
from qbench.registry import quantizers

raise RuntimeError("a study is checked without importing its plug-ins")

@quantizers.register("toy_step")
class ToyStep:
    """A toy."""

    bits = {"weight": (3,)}

    def __init__(self, *, bit_width: int, target: str, rule: Literal["a", "b"] = "a") -> None:
        pass
'''


@pytest.mark.usefixtures("own_registries")
def test_a_plug_in_beside_the_study_file(tmp_path: Path) -> None:
    (tmp_path / "toy_step_plugin.py").write_text(PLUGIN)
    text = (
        STUDY.replace("- lsq", "- {name: toy_step, options: {rule: b}}")
        .replace("  - W2A2\n", "")
        .replace("W4A32", "W3A32")
        + "plugins: [toy_step_plugin.py]\n"
    )
    path = tmp_path / "toy.yaml"
    path.write_text(text)
    assert load_study(path).plugins == (str(tmp_path / "toy_step_plugin.py"),)
    assert "toy_step" in sentence(path, text.replace("W3A32", "W3A3"))
    assert "there is no choice 'c'; allowed: a, b" in sentence(path, text.replace("e: b", "e: c"))
    (tmp_path / "broken_plugin.py").write_text("@quantizers.register(\n")
    assert "cannot be read" in sentence(path, text.replace("toy_step_plugin", "broken_plugin"))


def test_nothing_heavy_is_imported() -> None:
    """A refused study file, ``--plan`` and ``list`` answer in under 2 s; torch alone takes 7 s."""
    code = (
        "import sys, qbench.list, qbench.study.load, qbench.study.select\n"
        "from pathlib import Path\n"
        "study = qbench.study.load.load_study(Path('studies/quickstart.yaml'),"
        "['models=[torchvision/resnet18]'])\n"
        "qbench.study.expand.expand(study).trials()\n"
        "heavy = {'torch', 'torchvision', 'numpy', 'pandas', 'scipy', 'ray', 'mlflow'}\n"
        "print(*(heavy & set(sys.modules)), file=sys.stderr)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert not done.stderr.strip()


# Values that reach deep into the checks, beside arbitrary ones.
PLAUSIBLE = st.sampled_from(
    ["ste", "lsq", "float", "scratch", "W1A1", "W4A4", "adam", "torchvision/vgg16", "seed == 0",
     "options.weight_backward", ["clipped"], {"name": "ste"}, {"epochs": 3}, "paper", 0, 1, -1,
     2**40, 1e308]
)  # fmt: skip
VALUES = PLAUSIBLE | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)
FULL = VALID | {
    "start": "float",
    "recipe": "cifar_200ep",
    "quantizers": ["float", "ste", {"name": "daq", "recipe": "paper", "seed_offset": 3}],
    "ablations": [
        {"quantizer": "ste", "vary": {"options.weight_backward": ["clipped"]}, "cross": True},
        {"quantizer": "daq", "without": ["kernel", "output_scale"]},
    ],
    "exclude": [{"where": "seed == 1", "because": "enough"}],
    "report": {"baseline": "float"},
}


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [path + (key,) for key, _ in items] + [
        place for key, item in items for place in places(item, (*path, key))
    ]


@settings(
    max_examples=80, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(data=st.data())
def test_a_mutated_study_is_a_study_or_a_sentence(tmp_path: Path, data: st.DataObject) -> None:
    document = copy.deepcopy(FULL)
    for _ in range(data.draw(st.integers(1, 3))):
        *outer, last = data.draw(st.sampled_from(places(document)))
        holder: Any = document
        for key in outer:
            holder = holder[key]
        change = data.draw(st.sampled_from(["replace", "delete", "rename"]))
        if change == "replace":
            holder[last] = copy.deepcopy(data.draw(VALUES))
        elif change == "delete":
            del holder[last]
        elif isinstance(holder, dict):
            holder[data.draw(st.text(max_size=6))] = holder.pop(last)
        if not places(document):
            break
    path = tmp_path / "toy.yaml"
    path.write_text(json.dumps(document))
    study_or_sentence(path, [])


@settings(
    max_examples=80, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    cut=st.tuples(st.integers(0, len(STUDY)), st.integers(0, 12)),
    insert=st.text(max_size=4) | st.sampled_from(["\t", "- ", "{", "&a ", "*a", "!!int ", ": "]),
    key=st.sampled_from([".".join(map(str, place)) for place in places(FULL)]) | st.text(),
    value=VALUES,
)
def test_mutated_text_and_overrides(
    tmp_path: Path, cut: tuple[int, int], insert: str, key: str, value: object
) -> None:
    start, length = cut
    path = tmp_path / "toy.yaml"
    path.write_text(STUDY[:start] + insert + STUDY[start + length :], encoding="utf-8")
    study_or_sentence(path, [])
    path.write_text(json.dumps(FULL))
    study_or_sentence(path, [f"{key}={json.dumps(value)}"])


def study_or_sentence(path: Path, overrides: list[str]) -> None:
    try:
        study = load_study(path, overrides)
    except UsageError as error:
        message = str(error)
        assert "\n" not in message
        assert "pydantic" not in message
        assert message.startswith((str(path), "override "))
    else:
        assert isinstance(study, Study)
        expand(study).trials()
