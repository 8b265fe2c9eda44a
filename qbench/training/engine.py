"""One optimization step: the order in which network, quantizers and optimizers act."""

from collections.abc import Callable, Hashable
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from qbench.diagnostics.precision import products_in
from qbench.models.layers import quantized_layers
from qbench.quantizers.contract import Progress, Quantizer
from qbench.study.schema import Training
from qbench.training.optimizers import quantizers_of

__all__ = ["Engine", "Fetch", "Inputs", "Outcome", "as_given"]

Inputs = tuple[Tensor, ...]
"""What a step is given: images and labels, or what they are fetched by."""
Fetch = Callable[..., tuple[Tensor, Tensor]]
"""Makes of a step's inputs normalised images ``[batch, channels, height, width]`` and labels."""
Outcome = tuple[Tensor, Tensor]
"""The task's mean loss and the number of correct images, both 0-dim on the device."""


def as_given(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The batch itself, where a step is given one."""
    return images, labels


class Engine:
    """Steps a model, operator by operator. Hooks that a method does not override are not called.

    Other makes of the same step are in :mod:`qbench.training.compiled` and
    :mod:`qbench.training.captured`.
    """

    name = "eager"
    """What the trial records of how it was trained."""

    def __init__(
        self,
        model: nn.Module,
        optimizers: list[Optimizer],
        training: Training,
        fetch: Fetch = as_given,
    ) -> None:
        """Collect the model's quantizers and the hooks that they override.

        Args:
            model: With its quantized layers.
            optimizers: All that step it.
            training: The recipe.
            fetch: Makes the batch of a step's inputs; by default they are the batch.
        """
        self.model = model
        self.optimizers = optimizers
        self.training = training
        self.fetch = fetch
        pairs = list(quantizers_of(model))
        self._quantizers = [quantizer for quantizer, _ in pairs]
        self._scheduled = [q for q in self._quantizers if _overrides(q, "set_progress")]
        self._backward = [
            (q, w) for q, w in pairs if w is not None and _overrides(q, "after_backward")
        ]
        self._step = [(q, w) for q, w in pairs if w is not None and _overrides(q, "after_step")]
        self._weight_penalty = [
            (q, w) for q, w in pairs if w is not None and _overrides(q, "penalty")
        ]
        self._input_penalties: list[Tensor] = []
        for layer in quantized_layers(model).values():
            quantizer = layer.activation_quantizer
            if quantizer is not None and _overrides(quantizer, "penalty"):
                quantizer.register_forward_pre_hook(self._keep_input_penalty)

    def _keep_input_penalty(self, quantizer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(quantizer, Quantizer) and self.model.training:
            penalty = quantizer.penalty(inputs[0])
            if penalty is not None:
                self._input_penalties.append(penalty)

    def set_progress(self, progress: Progress) -> None:
        """Tell the quantizers where training stands."""
        for quantizer in self._scheduled:
            quantizer.set_progress(progress)

    def step(self, inputs: Inputs, progress: Progress) -> Outcome:
        """Train on one batch.

        Args:
            inputs: What ``fetch`` makes the batch of.
            progress: Where training stands before this step.

        Returns:
            Loss and correct images; they may be overwritten by the next step.
        """
        self.set_progress(progress)
        return self._compute(inputs)

    def _compute(self, inputs: Inputs) -> Outcome:
        """All of a step that runs on the device."""
        images, labels = self.fetch(*inputs)
        with products_in("tf32") if self.training.precision == "tf32" else nullcontext():
            return self._train_on(images, labels)

    def _train_on(self, images: Tensor, labels: Tensor) -> Outcome:
        self._input_penalties.clear()
        logits = self._forward(images)
        loss = total = self._task_loss(logits, labels)
        for penalty in [q.penalty(w) for q, w in self._weight_penalty] + self._input_penalties:
            total = total if penalty is None else total + penalty
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        torch.autograd.backward(total)
        self._after_gradients()
        for quantizer, weight in self._backward:
            quantizer.after_backward(weight)
        if self.training.clip_gradient is not None:
            clip_grad_norm_(self.model.parameters(), self.training.clip_gradient)
        for optimizer in self.optimizers:
            optimizer.step()
        for quantizer, weight in self._step:
            quantizer.after_step(weight)
        correct = (logits.detach().argmax(1) == labels).sum()
        return loss.detach(), correct

    def _task_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(logits, labels, label_smoothing=self.training.label_smoothing)

    def _after_gradients(self) -> None:
        """All gradients are those of backpropagation, and nothing has changed them yet."""

    def _forward(self, images: Tensor) -> Tensor:
        """The network's logits, in the recipe's precision."""
        if self.training.precision != "bf16":
            return self._network(images)
        with torch.autocast(images.device.type, dtype=torch.bfloat16):
            logits = self._network(images)
        return logits.float()

    def _network(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return logits

    @property
    def structure(self) -> tuple[Hashable, ...]:
        """What the quantizers' Python code depends on besides tensors; see the contract."""
        return tuple(quantizer.structure for quantizer in self._quantizers)


def _overrides(quantizer: Quantizer, member: str) -> bool:
    return getattr(type(quantizer), member) is not getattr(Quantizer, member)
