"""The state of a training run, to continue from bit for bit (on the CPU)."""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from qbench.store import LayerRow, PhaseRow, PointRow, Row, TrialFolder

__all__ = ["State", "load_checkpoint", "save_checkpoint"]


@dataclass
class State:
    """Where a run stands, beside its network and optimizers."""

    epoch: int = 0
    """Whole epochs done."""
    batch: int = 0
    """Batches of the running epoch done."""
    images: int = 0
    """Images of the running epoch done."""
    loss_sum: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    correct: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    history: list[Row] = field(default_factory=list)
    layers: list[LayerRow] = field(default_factory=list)
    points: list[PointRow] = field(default_factory=list)
    seconds: list[PhaseRow] = field(default_factory=list)
    memory: dict[str, Tensor] = field(default_factory=dict)
    """What diagnostics keep between measurements."""

    def end_epoch(self) -> tuple[float, float]:
        """Go to the next epoch; returns the mean loss and accuracy of the one that ended."""
        loss = self.loss_sum.item() / self.images
        accuracy = self.correct.item() / self.images
        fresh = State()
        self.loss_sum, self.correct, self.images = fresh.loss_sum, fresh.correct, 0
        self.epoch, self.batch = self.epoch + 1, 0
        return loss, accuracy


def save_checkpoint(
    folder: TrialFolder, code: str, state: State, model: nn.Module, optimizers: list[Optimizer]
) -> None:
    """Write the checkpoint, atomically.

    Args:
        folder: The trial's folder.
        code: Fingerprint of the method's code; a run is continued only by the same code.
        state: Where the run stands.
        model: The network with its quantizers.
        optimizers: Their state.
    """
    whole = {
        "code": code,
        "state": {name: _plain(value) for name, value in vars(state).items()},
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    buffer = io.BytesIO()
    torch.save(whole, buffer)
    folder.write("checkpoint.pt", buffer.getvalue())


def load_checkpoint(
    folder: TrialFolder, code: str, model: nn.Module, optimizers: list[Optimizer]
) -> State | None:
    """Continue from a checkpoint, if there is a whole one of the same code.

    Nothing in the file is executed: only tensors and plain values are read.
    """
    path = folder.path / "checkpoint.pt"
    whole = _read(path)
    if whole is None or whole.get("code") != code:
        return None
    model.load_state_dict(whole["model"])
    for optimizer, saved in zip(optimizers, whole["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    torch.set_rng_state(whole["random"])
    if whole["random_cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(whole["random_cuda"])
    saved = whole["state"]
    rows = {"history": Row, "layers": LayerRow, "points": PointRow, "seconds": PhaseRow}
    for name, kind in rows.items():
        saved[name] = [kind(*values) for values in saved[name]]
    return State(**saved)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        data = io.BytesIO(path.read_bytes())
    except FileNotFoundError:
        return None
    try:
        with ZipFile(data) as archive:
            if archive.testzip() is not None:  # torch compares no checksum
                return None
        data.seek(0)
        whole = torch.load(data, weights_only=True, map_location="cpu")
    except Exception:  # many kinds are raised for a cut-off file; such a file is not continued
        return None
    return whole if isinstance(whole, dict) else None


def _plain(value: object) -> object:
    if isinstance(value, list):
        return [list(row) for row in value]
    return value
