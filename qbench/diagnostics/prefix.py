"""Run a network again and again from one layer on, without computing what lies before it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

__all__ = ["cached_prefix"]


class _ReachedError(Exception):
    """The layer is about to be called."""


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


def _record(model: nn.Module, layer: nn.Module, images: Tensor) -> dict[nn.Module, list[Any]]:
    """The outputs of each part that ends before the layer begins and lies in no other such part."""
    finished: list[tuple[nn.Module, Any]] = []
    begun: list[int] = []

    def before(part: nn.Module, _: Any) -> None:
        if part is layer:
            raise _ReachedError
        begun.append(len(finished))

    def after(part: nn.Module, _: Any, output: Any) -> None:
        del finished[begun.pop() :]  # what lies inside
        finished.append((part, output))

    hooks = [part.register_forward_pre_hook(before) for part in model.modules()]
    hooks += [part.register_forward_hook(after) for part in model.modules()]
    try:
        model(images)
    except _ReachedError:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    found: dict[nn.Module, list[Any]] = {}
    for part, output in finished:
        found.setdefault(part, []).append(output)
    return found


@contextmanager
def _replayed(part: nn.Module, outputs: list[Any], place: dict[nn.Module, int]) -> Iterator[None]:
    original: Callable[..., Any] = part.forward

    def forward(*arguments: Any, **keywords: Any) -> Any:
        call = place.get(part, 0)
        place[part] = call + 1
        return outputs[call] if call < len(outputs) else original(*arguments, **keywords)

    part.forward = forward
    try:
        yield
    finally:
        del part.forward
