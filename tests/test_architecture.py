"""Who may import whom, read from the syntax trees."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import qbench

PACKAGE = Path(qbench.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
COMMANDS = {"run", "report", "list", "export", "__main__"}
LAYERS = {  # a layer imports itself and those named; a name without a folder is a file
    "errors": set(),
    "garbage": set(),
    "memory": set(),
    "registry": {"errors"},
    "study": {"registry", "errors"},
    "remote_path": {"errors"},
    "storage": {"errors", "remote_path"},
    "store": {"study", "storage", "remote_path"},
    "tuning": {"storage", "store", "study", "errors"},
    "quantizers": {"registry", "errors"},
    "models": {"quantizers", "registry", "errors", "study"},
    "datasets": {"registry", "errors", "study", "models"},
    "deployment": {"models", "quantizers", "errors"},
    "diagnostics": {"datasets", "models", "quantizers", "registry", "store", "study", "errors"},
    "training": {"datasets", "deployment", "diagnostics", "models", "quantizers", "registry",
                 "memory", "remote_path", "storage", "store", "study", "errors"},
    "bench": {"execution", "tracking", "training", "datasets", "deployment", "models",
              "quantizers", "registry", "storage", "store", "study", "errors", "garbage", "memory"},
    "execution": {"training", "garbage", "remote_path", "storage", "store", "study", "errors"},
    "tracking": {"registry", "storage", "store", "study", "errors"},
    "reporting": {"garbage", "storage", "store", "study", "tuning", "registry", "errors"},
}  # fmt: skip
HOMES = {  # a library, and the only folder that imports it
    "ray": "execution",
    "mlflow": "tracking",
    "matplotlib": "reporting",
    "seaborn": "reporting",
    "onnx": "deployment",
    "optuna": "tuning",
    "onnxruntime": "deployment",
}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (word.value for word in node.args if isinstance(word, ast.Constant))


def layer(path: Path) -> str:
    part = path.relative_to(PACKAGE).parts[0]
    return part.removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    here = layer(path)
    allowed = LAYERS.get(here)
    for name in imported(path):
        words = name.split(".")
        if words[0] == "qbench" and len(words) > 1 and allowed is not None:
            assert words[1] in allowed | {here}, f"{here} may not import {name}"
        home = HOMES.get(words[0])
        assert home is None or here == home, f"{words[0]} belongs to {home}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_short_and_have_a_subject(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300, "is there a second idea in it?"
    assert path.name not in {"utils.py", "helpers.py", "common.py", "misc.py"}
    assert ast.get_docstring(ast.parse(text))


def test_no_code_asks_for_a_methods_name_outside_its_file() -> None:
    from qbench.registry import quantizers

    names = set(quantizers.entries()) - {"float"}  # float is the absence of a method
    for path in FILES:
        if layer(path) == "quantizers":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                texts = {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}
                assert not texts & names, f"{path}: a special case for {texts & names}"


@pytest.mark.parametrize(
    "module",
    ["qbench.run", "qbench.report", "qbench.list", "qbench.export", "qbench.__main__",
     "qbench.study.load", "qbench.study.expand", "qbench.study.select", "qbench.standing",
     "qbench.planning"],
)  # fmt: skip
def test_what_answers_at_once_imports_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    heavy = {"torch", "torchvision", "ray", "mlflow", "pandas", "scipy", "sklearn", "seaborn"}
    assert not heavy & set(done.stdout.split())
