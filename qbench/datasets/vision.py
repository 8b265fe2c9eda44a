"""torchvision, imported only where its data sets or transforms are asked for."""

import importlib
from typing import Any

from qbench.errors import UsageError

__all__ = ["torchvision_module"]


def torchvision_module(name: str) -> Any:
    """Import a module of torchvision, such as ``"datasets"``.

    Raises:
        UsageError: The installed torchvision belongs to another build of torch.
    """
    try:
        return importlib.import_module(f"torchvision.{name}")
    except (ImportError, RuntimeError) as error:
        raise UsageError(
            f"torchvision cannot be imported beside this torch ({error}); they are usually of two "
            "kinds, one for the CPU and one for CUDA: install both from the same index, at once"
        ) from error
