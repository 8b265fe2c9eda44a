"""The naive graphs equal the methods' own classes, so that the paper-style arm is fair."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from qbench.bench.cases import Case, Made, can, images_of, make
from qbench.bench.naive import NAIVE, naive_network
from qbench.bench.paper_style import PaperTrial
from qbench.datasets.prepare import Images
from qbench.models.build import build_model
from qbench.models.layers import quantized_layers

BATCH = 8
CASES = [(name, bits) for name in NAIVE for bits in ("W1A32", "W4A4") if can(name, bits)]


@pytest.fixture(scope="module")
def images() -> Images:
    return images_of(2 * BATCH, BATCH, side=8)


def both(name: str, bits: str, images: Images) -> tuple[Made, nn.Module]:
    made = make(Case(name, bits, "resnet8", BATCH), images)
    plain = build_model(made.trial.model, channels=3, classes=10, size=8)
    return made, naive_network(plain, made.model, name).train()


def close(found: Tensor, wanted: Tensor, steps: int) -> None:
    # Up to `steps` kernels of float32 on each side, at the size of the tensor.
    tolerance = steps * torch.finfo(torch.float32).eps * float(wanted.detach().abs().max())
    torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("name", "bits"), CASES)
def test_each_quantizer_has_the_value_and_the_gradient(
    name: str, bits: str, images: Images
) -> None:
    made, _ = both(name, bits, images)
    generator = torch.Generator().manual_seed(1)
    for layer in list(quantized_layers(made.model).values())[:2]:
        weight, inputs = layer.weight_quantizer, layer.activation_quantizer
        x = torch.randn(4, 16, 8, 8, generator=generator).relu()
        for own, value in ((weight, layer.weight), (inputs, x)):
            if own is None:
                continue
            scale = (
                float(torch.as_tensor(getattr(own, "scale", 1.0)).detach())
                if own.target == "weight"
                else 1.0
            )
            upstream = torch.randn(value.shape, generator=generator)
            results = []
            for quantizer, factor in ((own, 1.0), (NAIVE[name](own), scale)):
                leaf = value.detach().clone().requires_grad_()
                result = quantizer(leaf) * factor
                result.backward(upstream)
                found = [result, leaf.grad]
                for parameter in ("upper", "lower", "step"):
                    learned = getattr(quantizer, parameter, None)
                    if isinstance(learned, nn.Parameter):
                        found.append(learned.grad)
                results.append(found)
            assert len(results[0]) == len(results[1])
            own_values, naive_values = results
            close(naive_values[0], own_values[0], 8)
            close(naive_values[1], own_values[1], 64)  # exp, softmax and a quotient among them
            for one, other in zip(naive_values[2:], own_values[2:], strict=True):
                # A sum of n terms, whose errors add like a random walk.
                size = float(upstream.abs().max()) * value.numel() ** 0.5
                assert float((one - other).abs()) < 1e-5 * size


@pytest.mark.parametrize(("name", "bits"), CASES)
def test_the_network_has_the_same_loss_and_gradient(name: str, bits: str, images: Images) -> None:
    made, naive = both(name, bits, images)
    losses = []
    for model in (made.model, naive):
        loss = cross_entropy(model(made.batch[0]), made.batch[1])
        loss.backward()
        losses.append(loss.item())
    # A value that rounding moves over a threshold changes a level; none does at this start.
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    own = made.model.get_parameter("stage1.0.conv1.weight").grad
    other = naive.get_parameter("stage1.0.conv1.weight").grad
    assert own is not None
    assert other is not None
    assert float((own - other).norm() / own.norm()) < 1e-2


@pytest.mark.parametrize(("name", "bits"), CASES)
def test_both_trials_move_the_same_parameters(name: str, bits: str, images: Images) -> None:
    made = make(Case(name, bits, "resnet8", BATCH), images)
    paper = PaperTrial(made, images, "cpu", workers=0)
    sizes = [
        sorted(
            parameter.numel()
            for optimizer in optimizers
            for group in optimizer.param_groups
            for parameter in group["params"]
            if parameter.requires_grad
        )
        for optimizers in (made.optimizers, paper.optimizers)
    ]
    assert sizes[0] == sizes[1]
    # Two batches of training, as many images of evaluation in both.
    assert len(paper.train) == made.loader.steps_per_epoch == 2
    losses = [made.train_and_evaluate(), paper.train_and_evaluate()]
    for pair in losses:
        assert all(0 < value < 20 for value in pair)  # ln 10 = 2.3 by chance
