"""The worked example of CONTRIBUTING.md is a method that runs."""

import importlib
import re
from pathlib import Path

import pytest
import torch

from qbench.quantizers.contract import decode
from qbench.registry import load_plugin, quantizers
from qbench.study.expand import expand
from qbench.study.load import load_study

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()


@pytest.fixture
def plugin(tmp_path: Path, own_registries: None) -> Path:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    path = tmp_path / "my_ternary.py"
    path.write_text(code)
    return path


def test_the_example_is_ternary_with_the_papers_scale(plugin: Path) -> None:
    load_plugin(str(plugin))
    made = quantizers.load("my_ternary")(bit_width=2, target="weight")
    weight = torch.tensor([[1.0, -2.0, 0.1, -0.1]], requires_grad=True)
    value = made(weight)
    assert value.tolist() == [[1.5, -1.5, 0.0, 0.0]]  # threshold 0.56; mean of 1 and 2 is 1.5
    assert torch.equal(value, decode(*made.codes(weight)))
    value.sum().backward()
    assert torch.equal(weight.grad, torch.ones(1, 4))
    assert importlib.import_module("my_ternary").MyTernary(bit_width=2, target="weight").levels == 3


def test_a_study_beside_it_takes_it_by_name(plugin: Path) -> None:
    study = plugin.with_name("study.yaml")
    study.write_text(
        "study: plugged\nquestion: Does the example run?\nplugins: [my_ternary.py]\n"
        "quantizers: [float, {name: my_ternary, options: {share: 0.5}}]\n"
        "models: [mlp]\ndata: {sets: [synthetic]}\nbits: [W2A32]\n"
    )
    labels = [cell.label for cell in expand(load_study(study)).cells]
    assert labels == ["float", "my_ternary (share=0.5)"]
