"""A finished trial as a file to take away, read back and compared before anyone relies on it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from qbench.datasets.contract import Dataset
from qbench.deployment.compact import CompactNetwork, compact, read_compact, restore, save_compact
from qbench.deployment.fold import find_folds
from qbench.deployment.load import load_deployed, read_deployed
from qbench.deployment.onnx_file import require_onnx, run_onnx, to_onnx
from qbench.deployment.packing import bits_for, packed_bytes
from qbench.errors import UsageError, unknown
from qbench.models.build import build_model
from qbench.registry import datasets
from qbench.storage import results_folder, snapshot
from qbench.store import TrialFolder
from qbench.study.fingerprint import fingerprint
from qbench.study.trial import Trial
from qbench.training.setup import quantized

__all__ = ["CLOSE", "Exported", "export", "find_trial"]

CLOSE = 1e-4
"""How far logits may lie apart, of the largest one, where sums are rounded in another order."""
CHECKED = 32  # random images; their activations stand on edges as seldom as those of real ones


@dataclass(frozen=True)
class Exported:
    """A file and what was seen when it was read back."""

    data: bytes
    code_bytes: int
    """Packed codes, to the bit."""
    float_bytes: int
    """4 for each number that stayed float, those that levels are made of included."""
    folded: int
    """Batch norms that became part of a layer."""
    images: int
    """Random images that the file was checked with."""
    same_top1: int
    """Those to which it gives the class that the deployed network gives."""
    close: int
    """Those whose logits are within ``CLOSE``."""
    difference: float
    """The largest of all logits' differences, over the largest logit."""
    other_code: bool
    """Whether the trial was made by other code of its method than today's."""

    @property
    def well(self) -> bool:
        """Whether the file computes what the deployed network does.

        Where sums are rounded in another order a quantized activation on the edge of two codes may
        take the other one: some images may be off, most may not.
        """
        return self.close >= 0.9 * self.images


def find_trial(results: Path, wanted: str) -> TrialFolder:
    """The folder of a finished trial.

    Args:
        results: The result store.
        wanted: A trial's name, a part of it that no other has (such as the id), or its folder.

    Raises:
        UsageError: There is no such trial, or several, or it is not done.
    """
    path = results_folder(wanted)
    if (path / "trial.json").is_file():
        path = path.resolve()
        results, wanted = path.parent, path.name
    seen = snapshot(results)
    folders = list(seen.iterdir()) if seen.is_dir() else []
    names = sorted(folder.name for folder in folders if (folder / "trial.json").is_file())
    found = [wanted] if wanted in names else [name for name in names if wanted in name]
    if not found:
        raise UsageError(unknown(f"trial in {results}", wanted, names))
    if len(found) > 1:
        raise UsageError(f"'{wanted}' is a part of {len(found)} trials: {', '.join(found)}; "
                         "write more of the name")  # fmt: skip
    folder = TrialFolder(results, found[0])
    status = folder.status()
    if status != "done" or folder.damaged(names=["trial.json", "deployed.safetensors"]):
        state = status if status != "done" else "damaged"
        raise UsageError(f"the trial '{folder.name}' is {state}; run its study again first")
    return folder


@torch.no_grad()
def export(folder: TrialFolder, to: Literal["safetensors", "onnx"], *, fold: bool) -> Exported:
    """Write a trial's deployed network, and read it back.

    Args:
        folder: A finished trial's.
        to: The format.
        fold: Whether batch norms become part of the layers before them.

    Raises:
        UsageError: onnx is not installed, the trial cannot be read, or its network not written.
    """
    if to == "onnx":
        require_onnx()  # before anything slow
    facts = folder.read_json("trial.json")
    trial = _trial(folder, facts)
    tensors = read_deployed((folder.path / "deployed.safetensors").read_bytes())
    shape, deployed = _network(trial, tensors)
    load_deployed(tensors, deployed).eval()
    images = torch.randn(CHECKED, *shape, generator=torch.Generator().manual_seed(0))
    network = compact(tensors, find_folds(deployed, images[:2]) if fold else {})
    if to == "onnx":
        model = restore(network, _network(trial, tensors)[1]).eval()
        data = to_onnx(model, network, images[:2])
        logits = run_onnx(data, images)
    else:
        data = save_compact(network)
        logits = restore(read_compact(data), _network(trial, tensors)[1]).eval()(images)
    sizes = _sizes(network)
    return Exported(
        data, *sizes, folded=len(network.folded), **_agreement(deployed(images), logits),
        other_code=facts.get("code") != fingerprint(trial),
    )  # fmt: skip


def _trial(folder: TrialFolder, facts: dict[str, Any]) -> Trial:
    try:
        return Trial.model_validate_json(json.dumps(facts["trial"]))
    except (KeyError, ValidationError) as error:
        raise UsageError(
            f"the trial '{folder.name}' was written by another version of qbench "
            f"({' '.join(str(error).split())[:200]}); run its study again"
        ) from None


def _network(trial: Trial, tensors: dict[str, Tensor]) -> tuple[tuple[int, int, int], nn.Module]:
    """The shape of the trial's images, and its network, quantized, with fresh weights."""
    source: Dataset = datasets.load(trial.data.name)(**trial.data.options)
    channels, size, _ = source.shape

    def build(classes: int) -> nn.Module:
        return build_model(trial.model, channels=channels, classes=classes, size=size)

    classes = source.classes or _outputs(build(2), tensors)  # some sets' files alone tell
    return source.shape, quantized(build(classes), trial)


def _outputs(model: nn.Module, tensors: dict[str, Tensor]) -> int:
    """The rows of the network's last layer."""
    layers = {name: part for name, part in model.named_modules()
              if isinstance(part, nn.Conv2d | nn.Linear)}  # fmt: skip
    linear = [name for name, part in layers.items() if isinstance(part, nn.Linear)]
    name = (linear or list(layers))[-1]
    shape = tensors.get(f"{name}.weight.shape")
    return int(tensors[f"{name}.weight"].shape[0] if shape is None else shape[0])


def _sizes(network: CompactNetwork) -> tuple[int, int]:

    code_bytes = sum(
        packed_bytes(codes.numel(), bits_for(levels.number))
        for codes, levels in network.coded.values()
    )
    numbers = [part for part in network.kept.values() if part.is_floating_point()]
    for _, levels in network.coded.values():
        numbers += [own for own in (levels.scale, levels.offset, levels.rows) if own is not None]
    return code_bytes, 4 * sum(part.numel() for part in numbers)


def _agreement(expected: Tensor, found: Tensor) -> dict[str, Any]:
    error = (found.double() - expected.double()).abs().amax(1)
    largest = float(expected.abs().max())
    relative = error / largest if largest else error
    return {
        "images": len(expected),
        "same_top1": int((found.argmax(1) == expected.argmax(1)).sum()),
        "close": int((relative <= CLOSE).sum()),
        "difference": float(relative.max()),
    }
