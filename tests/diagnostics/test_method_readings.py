"""What quantizers tell of themselves reaches the readings under one naming rule."""

import torch
from torch import nn

from qbench import diagnose
from qbench.models.convert import initialize, quantize
from qbench.quantizers.lsq import LSQ
from qbench.quantizers.metaquant import MetaQuant
from qbench.quantizers.quantization_networks import QuantizationNetworks
from qbench.quantizers.ste import STE


def network(weights: type, activations: type) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3))
    quantize(
        model,
        weights=lambda: weights(bit_width=2, target="weight"),
        activations=lambda: activations(bit_width=2, target="activation"),
        keep_float=[],
    )
    initialize(model, torch.randn(5, 4))
    return model


def readings(model: nn.Module) -> tuple[dict[str, float], dict[tuple[str, str], float]]:
    rows, layers, _ = diagnose(model, (torch.randn(5, 4), torch.arange(5) % 3), ["method_readings"])
    return {row.name: row.value for row in rows}, {(r.layer, r.name): r.value for r in layers}


def test_learned_scalars_are_read_without_a_word_of_the_method() -> None:
    model = network(LSQ, STE)
    means, layers = readings(model)
    steps = {name: model[int(name)].weight_quantizer.step.item() for name in "01"}
    assert layers == {(name, "weight/step"): step for name, step in steps.items()}  # STE has none
    assert means == {"weight/step": sum(steps.values()) / 2}


def test_metaquant_tells_its_gain() -> None:
    model = network(MetaQuant, STE)
    _, layers = readings(model)
    network_of = model[0].weight_quantizer.network
    # f(1) of a linear f without bias is the number that it multiplies gradients with
    gain = network_of(torch.ones(1))[0].item()
    for name in "01":  # one network for all layers
        assert abs(layers[name, "weight/gain"] - gain) < 1e-6  # float32 rounding of 100 products


def test_quantization_networks_tells_its_temperature_of_both_targets() -> None:
    _, layers = readings(network(QuantizationNetworks, QuantizationNetworks))
    for target in ("weight", "activation"):
        assert layers["1", f"{target}/temperature"] == 5.0  # its rate, before the first epoch
        assert {f"{target}/alpha", f"{target}/beta"} <= {name for _, name in layers}
