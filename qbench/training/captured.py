"""A step recorded once as a CUDA graph and replayed, so that the host launches one thing a step."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from qbench.quantizers.contract import Progress
from qbench.training.engine import Engine, Inputs, Outcome
from qbench.training.optimizers import rates_on_device
from qbench.training.snapshot import Snapshot

__all__ = ["CapturedEngine", "Recorder", "record_cuda"]

WARM_STEPS = 3
"""Steps on a stream of their own before a recording: libraries and optimizers make their state."""
CHECKED_STEPS = 2
"""Steps that are run both ways before a recording is used: the second sees what the first kept."""
TOLERANCE = 0.05
"""By how much, relative to what the steps changed, the two ways may differ. Kernels that add in
another order each time differ by far less; a value that was frozen, by far more."""

Recorder = Callable[[Callable[[], Outcome]], tuple[Callable[[], None], Outcome]]
"""Records what a function computes; returns what replays it, and where its outcome then stands."""


class _Recording(NamedTuple):
    inputs: Inputs
    """Where a replay reads."""
    replay: Callable[[], None]
    outcome: Outcome


def record_cuda(compute: Callable[[], Outcome]) -> tuple[Callable[[], None], Outcome]:
    """Record ``compute`` as a CUDA graph; nothing is computed before the first replay."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outcome = compute()
    return graph.replay, outcome


class CapturedEngine(Engine):
    """Replays the whole step: batch, forward, penalties, backward, hooks and optimizers.

    Schedules and learning rates are tensors that are filled before a replay. A step is recorded
    anew where its inputs have another shape (never in an epoch, whose batches are alike), or where
    a quantizer's Python code takes another way (:attr:`Quantizer.structure`). Steps before a
    recording are real ones.

    A recording is used only if it trains as the code itself does: a method that asks the host for
    a value, or keeps what it needs next in a new tensor, cannot be recorded. Its trial goes on step
    by step, and :attr:`name` says why.
    """

    name = "captured"
    record: Recorder = staticmethod(record_cuda)

    _key: object = None
    """What the running recording, or the steps before it, were made for."""
    _warm_steps = 0
    _recording: _Recording | None = None

    def step(self, inputs: Inputs, progress: Progress) -> Outcome:
        """See :meth:`Engine.step`; loss and correct images stand where the next step writes."""
        rates_on_device(self.optimizers, inputs[0].device)
        self.set_progress(progress)
        if self.name != "captured":
            return self._compute(inputs)
        key = (*(part.shape for part in inputs), self.structure)
        if key != self._key:
            self._key, self._warm_steps, self._recording = key, 0, None
        if self._warm_steps < WARM_STEPS:
            self._warm_steps += 1
            return self._aside(inputs)
        if self._recording is None:
            try:
                self._recording = self._checked(inputs)
            except RuntimeError as error:  # what CUDA and torch raise in a recording
                self.name = f"eager, since the step cannot be captured: {error}".splitlines()[0]
                return self._compute(inputs)
        return self._replay(self._recording, inputs)

    def _replay(self, recording: _Recording, inputs: Inputs) -> Outcome:
        for static, given in zip(recording.inputs, inputs, strict=True):
            static.copy_(given)
        recording.replay()
        return recording.outcome

    def _checked(self, inputs: Inputs) -> _Recording:
        """A recording that was seen to train as the code does; nothing else has changed then."""
        before = Snapshot(self.model, self.optimizers)
        try:
            static = tuple(part.clone() for part in inputs)
            recording = _Recording(static, *self.record(lambda: self._compute(static)))
            before.restore()
            for _ in range(CHECKED_STEPS):
                self._aside(inputs)
            computed = Snapshot(self.model, self.optimizers)
            before.restore()
            for _ in range(CHECKED_STEPS):
                self._replay(recording, inputs)
            replayed = Snapshot(self.model, self.optimizers)
        finally:
            before.restore()
        worst, name = replayed.furthest(computed, since=before)
        if worst > TOLERANCE:
            raise RuntimeError(f"replayed, {name} differs by {worst:.0%} of what it changed by")
        return recording

    def _aside(self, inputs: Inputs) -> Outcome:
        """A step on a stream of its own, as a recording wants it."""
        if inputs[0].device.type != "cuda":
            return self._compute(inputs)
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            outcome: tuple[Tensor, Tensor] = self._compute(inputs)
        torch.cuda.current_stream().wait_stream(aside)
        return outcome
