"""qbench: which way of training through the discretization should I use, and why?"""

__version__ = "0.1.0"

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qbench.diagnostics.alone import diagnose as diagnose

__all__ = ["diagnose"]


def __getattr__(name: str) -> Any:
    if name != "diagnose":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from qbench.diagnostics.alone import diagnose  # imports torch, which takes seconds

    return diagnose
