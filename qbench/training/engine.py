"""One optimization step: the order in which network, quantizers and optimizers act."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from qbench.models.layers import quantized_layers
from qbench.quantizers.contract import Progress, Quantizer
from qbench.study.schema import Training
from qbench.training.optimizers import quantizers_of

__all__ = ["Engine"]


class Engine:
    """Steps a model. The hooks that a method does not override are not called."""

    def __init__(self, model: nn.Module, optimizers: list[Optimizer], training: Training) -> None:
        """Collect the model's quantizers and the hooks that they override."""
        self.model = model
        self.optimizers = optimizers
        self.training = training
        pairs = list(quantizers_of(model))
        self._scheduled = [q for q, _ in pairs if _overrides(q, "set_progress")]
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

    def step(self, images: Tensor, labels: Tensor, progress: Progress) -> tuple[Tensor, Tensor]:
        """Train on one batch.

        Args:
            images: ``[batch, channels, height, width]``, normalised.
            labels: ``[batch]``.
            progress: Where training stands before this step.

        Returns:
            The task's mean loss and the number of correct images, both 0-dim on the device.
        """
        self.set_progress(progress)
        self._input_penalties.clear()
        logits = self.model(images)
        loss = cross_entropy(logits, labels, label_smoothing=self.training.label_smoothing)
        total = loss
        for penalty in [q.penalty(w) for q, w in self._weight_penalty] + self._input_penalties:
            total = total if penalty is None else total + penalty
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        torch.autograd.backward(total)
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


def _overrides(quantizer: Quantizer, member: str) -> bool:
    return getattr(type(quantizer), member) is not getattr(Quantizer, member)
