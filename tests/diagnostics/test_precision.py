"""Losses that are nearly equal are computed without TF32, and torch's settings come back."""

import pytest
import torch
from torch import Tensor, nn
from torch.backends import cuda, cudnn

from qbench.diagnostics.precision import full_precision
from qbench.diagnostics.probe import Probe
from qbench.models.convert import initialize, quantize
from qbench.quantizers.ste import STE


def settings() -> tuple[object, ...]:
    return (
        cudnn.conv.fp32_precision, cuda.matmul.fp32_precision,
        cudnn.allow_tf32, cuda.matmul.allow_tf32, torch.get_float32_matmul_precision(),
        cudnn.deterministic,
    )  # fmt: skip


class Looks(nn.Module):
    """Notes the settings that a forward runs with."""

    def forward(self, x: Tensor) -> Tensor:
        self.seen = (
            cudnn.conv.fp32_precision, cuda.matmul.fp32_precision, cudnn.deterministic,
        )  # fmt: skip
        return x


@pytest.mark.parametrize("matmul", ["highest", "high"])
def test_settings_are_those_of_before_whatever_happens(matmul: str) -> None:
    torch.set_float32_matmul_precision(matmul)
    try:
        before = settings()
        with pytest.raises(UserWarning), full_precision():
            raise UserWarning
        assert settings() == before
    finally:
        torch.set_float32_matmul_precision("highest")


def test_a_probe_computes_without_tf32() -> None:
    assert cudnn.conv.fp32_precision == "tf32"  # torch's default
    model = nn.Sequential(nn.Linear(3, 4), Looks())
    quantize(model, weights=lambda: STE(bit_width=1, target="weight"), activations=None,
             keep_float=())  # fmt: skip
    images = torch.randn(6, 3)
    initialize(model, images)
    probe = Probe(model, images, torch.arange(6) % 4, seed=0)
    with probe.undisturbed():
        probe.losses("deployed")
    assert model[1].seen == ("ieee", "ieee", True)
    assert cudnn.conv.fp32_precision == "tf32"
