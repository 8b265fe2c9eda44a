"""Run a network again and again from one layer on, without computing what lies before it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

__all__ = ["cached_prefix"]


@dataclass(frozen=True)
class _Output:
    """What a part put out."""

    value: Any
    changed: bool
    """Whether the network changes it in place afterwards, so that each call needs a copy."""

    def again(self) -> Any:
        return self.value.clone() if self.changed else self.value


@contextmanager
def cached_prefix(model: nn.Module, layer: nn.Module, images: Tensor) -> Iterator[None]:
    """Inside, parts of ``model`` that end before ``layer`` begins return what they once did.

    Only the largest such parts are kept, such as whole residual blocks. What the network computes
    between its parts, an addition or a ReLU, is computed again. A network that takes another way
    through its parts from call to call cannot be run so.

    Args:
        model: The network, in the mode in which it will be called.
        layer: The first part that is really called, once in its first call.
        images: ``[batch, channels, height, width]``.
    """
    done = _record(model, layer, images)
    with ExitStack() as stack:
        place: dict[nn.Module, int] = {}
        for part, outputs in done.items():
            stack.enter_context(_replayed(part, outputs, place))
        hook = model.register_forward_pre_hook(lambda *_: place.clear())
        stack.callback(hook.remove)
        yield


def _record(model: nn.Module, layer: nn.Module, images: Tensor) -> dict[nn.Module, list[_Output]]:
    """The outputs of each part that ends before the layer begins and lies in no other such part.

    A part that changes its input in place, or returns it, is not among them: it runs again. The
    network runs to its end, to see which outputs it changes in place.
    """
    finished: list[tuple[nn.Module, Any, Any, int]] = []
    begun: list[tuple[int, list[int]]] = []
    reached: list[nn.Module] = []

    def before(part: nn.Module, inputs: tuple[Any, ...]) -> None:
        if part is layer:
            reached.append(part)
        if not reached:
            begun.append((len(finished), [_version(x) for x in inputs]))

    def after(part: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if reached:
            return
        inside, versions = begun.pop()
        if [_version(x) for x in inputs] == versions and all(x is not output for x in inputs):
            del finished[inside:]
            kept = output.clone() if isinstance(output, Tensor) else output
            finished.append((part, output, kept, _version(output)))

    hooks = [part.register_forward_pre_hook(before) for part in model.modules()]
    hooks += [part.register_forward_hook(after) for part in model.modules()]
    try:
        model(images)
    finally:
        for hook in hooks:
            hook.remove()
    found: dict[nn.Module, list[_Output]] = {}
    for part, output, kept, version in finished:
        found.setdefault(part, []).append(_Output(kept, _version(output) != version))
    return found


def _version(value: Any) -> int:
    """How often a tensor was changed in place."""
    return value._version if isinstance(value, Tensor) else 0


@contextmanager
def _replayed(
    part: nn.Module, outputs: list[_Output], place: dict[nn.Module, int]
) -> Iterator[None]:
    original: Callable[..., Any] = part.forward

    def forward(*arguments: Any, **keywords: Any) -> Any:
        call = place.get(part, 0)
        place[part] = call + 1
        return outputs[call].again() if call < len(outputs) else original(*arguments, **keywords)

    part.forward = forward
    try:
        yield
    finally:
        del part.forward
