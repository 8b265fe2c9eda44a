"""The order of a step, and what reaches the loss."""

import pytest
import torch
from torch import Tensor, nn

from qbench.models.convert import quantize
from qbench.models.layers import quantized_layers
from qbench.quantizers.contract import Progress, Quantizer
from qbench.study.schema import Optimizer, Schedule, Training
from qbench.training.engine import Engine
from qbench.training.optimizers import make_optimizers

PROGRESS = Progress(step=0, total_steps=1, epoch=0, total_epochs=1, learning_rate=0.1)
PLAIN = Training(optimizer=Optimizer(learning_rate=0.5, momentum=0, weight_decay=0),
                 schedule=Schedule(name="constant"))  # fmt: skip


class Witness(Quantizer):
    """Writes down when it is called."""

    calls: list[str] = []

    def __init__(self, target: str, penalty: float = 0.0) -> None:
        super().__init__(bit_width=1, target=target)
        self.factor = penalty

    def set_progress(self, progress: Progress) -> None:
        self.calls.append("set_progress")

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append("forward")
        return x * 1.0

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (x >= 0).long(), torch.tensor([-1.0, 1.0])

    def penalty(self, x: Tensor) -> Tensor:
        self.calls.append("penalty")
        return self.factor * x.sum()

    def after_backward(self, weight: nn.Parameter) -> None:
        assert weight.grad is not None
        self.seen = weight.detach().clone()
        self.calls.append("after_backward")

    def after_step(self, weight: nn.Parameter) -> None:
        assert not torch.equal(self.seen, weight), "the optimizer has stepped"
        self.calls.append("after_step")


def engine(training: Training = PLAIN, penalty: float = 0.0, activations: bool = False) -> Engine:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    quantize(
        model,
        weights=lambda: Witness("weight", penalty),
        activations=(lambda: Witness("activation", penalty)) if activations else None,
        keep_float=(),
    )
    Witness.calls.clear()
    return Engine(model, make_optimizers(model, training), training)


def batch() -> tuple[Tensor, Tensor]:
    return torch.rand(6, 1, 2, 2, generator=torch.Generator().manual_seed(1)), torch.arange(6) % 3


def test_the_hooks_are_called_in_the_order_of_the_contract() -> None:
    made = engine()
    made.step(batch(), PROGRESS)
    order = ["set_progress", "forward", "penalty", "after_backward", "after_step"]
    assert Witness.calls == order


def test_a_step_is_plain_gradient_descent_on_loss_and_penalties() -> None:
    made = engine(penalty=0.1)
    layer = quantized_layers(made.model)["1"]
    before = layer.weight.detach().clone()
    images, labels = batch()
    logits = images.flatten(1) @ before.T + layer.bias.detach()
    wrong = logits.softmax(1) - torch.eye(3)[labels]
    gradient = wrong.T @ images.flatten(1) / 6 + 0.1  # the penalty 0.1 * sum(w) adds 0.1
    loss, correct = made.step((images, labels), PROGRESS)
    assert torch.allclose(layer.weight, before - 0.5 * gradient, atol=1e-6)
    expected = -logits.log_softmax(1)[torch.arange(6), labels].mean()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)  # without the penalty
    assert correct.item() == (logits.argmax(1) == labels).sum().item()


def test_an_activation_penalty_reaches_the_loss() -> None:
    images, labels = batch()
    images.requires_grad_()
    made = engine(penalty=2.0, activations=True)
    made.step((images, labels), PROGRESS)
    with_penalty = images.grad.clone()
    images.grad = None
    engine(penalty=0.0, activations=True).step((images, labels), PROGRESS)
    assert torch.allclose(with_penalty - images.grad, torch.full_like(images, 2.0), atol=1e-5)


def test_gradients_are_clipped_together() -> None:
    made = engine(PLAIN.model_copy(update={"clip_gradient": 1e-3}))
    before = [parameter.detach().clone() for parameter in made.model.parameters()]
    made.step(batch(), PROGRESS)
    moved = [(p - b) / 0.5 for p, b in zip(made.model.parameters(), before, strict=True)]
    assert torch.cat([m.flatten() for m in moved]).norm().item() == pytest.approx(1e-3, rel=1e-2)


def test_in_bf16_only_the_network_between_quantizers_computes_in_bfloat16() -> None:
    seen: dict[str, list[torch.dtype]] = {"quantizer": [], "layer": []}
    made = engine(PLAIN.model_copy(update={"precision": "bf16"}), activations=True)
    exact = engine(activations=True)
    for layer in quantized_layers(made.model).values():
        layer.register_forward_hook(lambda _, __, result: seen["layer"].append(result.dtype))
        for quantizer in (layer.weight_quantizer, layer.activation_quantizer):
            quantizer.register_forward_hook(
                lambda _, given, result: seen["quantizer"].extend((given[0].dtype, result.dtype))
            )
    loss, _ = made.step(batch(), PROGRESS)
    assert seen == {"quantizer": [torch.float32] * 4, "layer": [torch.bfloat16]}
    assert loss.dtype == torch.float32
    assert {parameter.dtype for parameter in made.model.parameters()} == {torch.float32}
    assert loss.item() == pytest.approx(exact.step(batch(), PROGRESS)[0].item(), rel=1e-2)


def test_tf32_is_on_in_steps_alone() -> None:
    during = []
    made = engine(PLAIN.model_copy(update={"precision": "tf32"}))
    made.model.register_forward_hook(
        lambda *_: during.append(torch.backends.cuda.matmul.fp32_precision)
    )
    before = torch.backends.cuda.matmul.fp32_precision
    made.step(batch(), PROGRESS)
    assert during == ["tf32"]
    assert torch.backends.cuda.matmul.fp32_precision == before
