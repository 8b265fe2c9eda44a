"""A float network from its name in a study."""

from pydantic import ValidationError
from torch import nn

from qbench.errors import UsageError
from qbench.registry import models
from qbench.study.schema import Component

__all__ = ["build_model"]


def build_model(component: Component, *, channels: int, classes: int, size: int) -> nn.Module:
    """Make a float network; its initial values come from torch's global random numbers.

    Args:
        component: The registered name, with options.
        channels: Channels of an image.
        classes: Outputs.
        size: Height and width of an image, in pixels.

    Raises:
        UsageError: There is no such model, an option is wrong, or the images do not fit.
    """
    entry = models.entry(component.name)
    try:
        options = entry.check_options(component.options)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"the model '{component.name}' cannot take {'.'.join(map(str, first['loc']))}="
            f"{first['input']!r}: {first['msg']}; its options: {', '.join(entry.options) or 'none'}"
        ) from None
    model: nn.Module = models.load(component.name)(
        component.name, channels, classes, size, **options
    )
    return model
