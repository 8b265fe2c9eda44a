"""Counts of operators, bytes and host synchronisations of anything that torch runs on the CPU.

``kernels``     calls of ATen operators that read or write values, as the dispatcher sees them below
                autograd. Not: views, allocations without a value, and what touches nothing but an
                optimizer's own step counts, which torch keeps on the host. A convolution's or a
                batch norm's backward is one call, whatever a device makes of it.
``bytes``       the sizes of all tensors that these calls take and return, each tensor once a call,
                and twice where the call changes it; a broadcast dimension counts as one element.
                Not: scratch memory inside an operator, caches, and what autograd keeps. The number
                is proportional to the batch only where activations are what a call works on.
``host_syncs``  operators whose result, or its shape, the host must know: ``.item()``, ``bool()``,
                ``equal``, ``nonzero``, ``unique``, indexing with a mask; tensors made of host
                values, which a GPU copies while the host waits; and reads that are no operator on
                the CPU: ``.cpu()``, ``.numpy()``, ``.tolist()``. Not: waits inside an operator, and
                ``.to(device)``, which is nothing where all is on the CPU.
``flops``       of convolutions and matrix products, forward and backward, by torch's own formulas:
                two for a product that is added. Nothing else: what is elementwise is bytes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["Counts", "count"]


@dataclass(frozen=True)
class Counts:
    """What one step costs."""

    kernels: int
    """Operator calls that reach the device."""
    bytes: int
    """Bytes of the tensors that they take and return."""
    host_syncs: int
    """Times that the host waits for the device."""
    flops: int
    """Floating-point operations of convolutions and matrix products."""


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operators; ``on_host`` holds the addresses of tensors that are the host's own."""

    def __init__(self, on_host: set[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.on_host = on_host
        self.kernels = self.bytes = self.host_syncs = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        taken, made = _tensors((args, kwargs)), _tensors(result)
        storages = {_address(tensor) for tensor in taken}
        if storages and storages <= self.on_host:
            return result
        self.host_syncs += _host_must_wait(func, args)
        changes = func._schema.is_mutable
        is_view = not changes and bool(made) and {_address(x) for x in made} <= storages
        is_allocation = func.overloadpacket.__name__.startswith(("empty", "new_empty"))
        if not is_view and not is_allocation and (made or changes):
            self.kernels += 1
            written = made or _tensors(args[0])  # an operator on a list of tensors returns nothing
            self.bytes += sum(map(_size, taken)) + sum(map(_size, written))
        return result


class _Reads(TorchFunctionMode):
    """Counts the reads that are no operator for a tensor which lies on the host already."""

    names = {"__array__", "cpu", "numpy", "tolist"}

    def __init__(self) -> None:
        super().__init__()
        self.host_syncs = 0

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        self.host_syncs += getattr(func, "__name__", "") in self.names
        return func(*args, **(kwargs or {}))


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _size(tensor: Tensor) -> int:
    elements = 1
    for length, stride in zip(tensor.shape, tensor.stride(), strict=True):
        elements *= length if stride else min(length, 1)
    return elements * tensor.element_size()


def _host_must_wait(func: Any, args: Sequence[Any]) -> bool:
    name = func.overloadpacket.__name__
    if name in {"index", "index_put", "index_put_"}:  # with a mask only, which is then searched
        return any(tensor.dtype in (torch.bool, torch.uint8) for tensor in _tensors(args[1]))
    waits = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
    return bool(waits & set(func.tags)) or name == "lift_fresh"


def count(step: Callable[[], object], optimizers: Sequence[Optimizer] = ()) -> Counts:
    """Run ``step`` once and count what it does.

    Args:
        step: Anything that computes on the CPU.
        optimizers: Those whose step counts are the host's own.
    """
    states = [state for optimizer in optimizers for state in optimizer.state.values()]
    operators = _Operators({_address(state["step"]) for state in states if "step" in state})
    with _Reads() as reads, FlopCounterMode(display=False) as products, operators:
        step()
    syncs = operators.host_syncs + reads.host_syncs
    return Counts(operators.kernels, operators.bytes, syncs, products.get_total_flops())
