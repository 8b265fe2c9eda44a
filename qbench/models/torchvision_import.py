"""Importing torchvision, with a sentence where it cannot be; nothing here imports torch."""

import importlib
import importlib.util
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

from qbench.errors import UsageError

__all__ = ["classification_models", "import_torchvision"]


def import_torchvision() -> ModuleType:
    """Import torchvision with its models.

    Raises:
        UsageError: It is not installed, or was built for another torch: a CPU torch beside a CUDA
            torchvision fails with ``operator torchvision::nms does not exist``.
    """
    try:
        torchvision = importlib.import_module("torchvision")
        importlib.import_module("torchvision.models")
    except ModuleNotFoundError as error:
        if error.name != "torchvision":
            raise
        raise UsageError(
            "torchvision is not installed; install it from the place that torch came from: "
            "pip install torchvision"
        ) from None
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        raise UsageError(
            f"torch {_version('torch')} and torchvision {_version('torchvision')} do not belong "
            f"together ({str(error).splitlines()[0]}): one is built for the CPU and the other for "
            "CUDA, or their versions differ; install the two anew in one command and from one "
            "place: pip install --force-reinstall torch torchvision"
        ) from None
    return torchvision


def classification_models() -> tuple[str, ...]:
    """The names of torchvision's classification models, read from its source text.

    Importing torchvision takes many seconds; a misspelled name must be refused at once.

    Returns:
        Sorted names; none where torchvision is not installed.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return ()
    names: set[str] = set()
    for path in (Path(spec.origin).parent / "models").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        names |= set(re.findall(r"^@register_model\(\)\n(?:@.*\n)*def (\w+)\(", text, re.MULTILINE))
    return tuple(sorted(names))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of unknown version"
