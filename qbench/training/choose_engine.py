"""Which make of the step a trial trains with."""

from qbench.training.captured import CapturedEngine
from qbench.training.compiled import CompiledEngine
from qbench.training.engine import Engine

__all__ = ["ENGINES", "choose_engine"]

ENGINES: dict[str, type[Engine]] = {
    kind.name: kind for kind in (Engine, CompiledEngine, CapturedEngine)
}


def choose_engine(wanted: str, device: str) -> str:
    """The name in :data:`ENGINES` of what is wanted, ``auto`` being what pays on the device.

    A CPU has no graphs to capture: a study written for GPUs trains eagerly there.
    """
    on_gpu = device.startswith("cuda")
    if wanted == "auto" or (wanted == "captured" and not on_gpu):
        return "captured" if on_gpu else "eager"
    return wanted
