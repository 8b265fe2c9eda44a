"""A CUDA graph in all but speed, on the CPU: what a recorded step may and may not do."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves

from qbench.training.engine import Outcome

__all__ = ["record_on_cpu"]

SYNCS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::masked_select"}


class _Graph(TorchDispatchMode):
    """Keeps every operator with the tensors that it read and wrote.

    A replay calls the same operators on the same memory in the same order: tensors stay where they
    were, numbers and the Python code's decisions are those of the recording.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func._schema.name in SYNCS:
            raise RuntimeError(f"{func._schema.name} asks for a value while a step is recorded")
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        with torch._C._AutoDispatchBelowAutograd():
            for func, args, kwargs, result in self.calls:
                schema = func._schema
                is_view = any(part.alias_info for part in schema.returns) and not schema.is_mutable
                if is_view:
                    continue  # of memory that is written by another call
                again = func(*args, **kwargs)
                if not schema.is_mutable:
                    _write(again, result)


def _write(values: Any, places: Any) -> None:
    for value, place in zip(tree_flatten(values)[0], tree_leaves(places), strict=True):
        if isinstance(place, Tensor) and place.numel():
            place.copy_(value)


def record_on_cpu(compute: Callable[[], Outcome]) -> tuple[Callable[[], None], Outcome]:
    """As ``record_cuda``, except that the step is computed once while it is recorded."""
    graph = _Graph()
    with graph:
        outcome = compute()
    return graph.replay, outcome
