"""torchvision's classification networks by name, with weights from a local file."""

import pickle
import re
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from qbench.errors import UsageError, unknown
from qbench.models.initialization import start_weights
from qbench.models.torchvision_import import classification_models, import_torchvision
from qbench.registry import models

__all__ = ["torchvision_model"]

_AUXILIARY = ("googlenet", "inception_v3")
"""Networks that return a tuple in training, unless their auxiliary classifiers are left out."""


@models.register("torchvision/*", paper="https://docs.pytorch.org/vision/stable/models.html")
def torchvision_model(
    name: str,
    channels: int,
    classes: int,
    size: int,
    *,
    weights: str = "",
    init: Literal["own", "he_normal", "he_uniform", "xavier_normal", "xavier_uniform"] = "own",
    init_scale: float = 1.0,
) -> nn.Module:
    """Any classification network of torchvision, such as ``torchvision/resnet18``.

    Auxiliary classifiers (``googlenet``, ``inception_v3``) are left out.

    Args:
        name: ``torchvision/`` and torchvision's name of the network.
        channels: Channels of an image; these networks read 3.
        classes: Outputs.
        size: Height and width of an image, in pixels.
        weights: A local file, ``.pth`` or ``.safetensors``, to start from; nothing is downloaded.
            If it was trained for another number of classes, the last layer starts anew.
        init: The distribution that weights start from where no file gives them; ``own`` is
            torchvision's.
        init_scale: Multiplies them.

    Raises:
        UsageError: There is no such network or file, the file does not fit, images do not have 3
            channels, or torchvision cannot be imported.
    """
    short = name.removeprefix("torchvision/")
    known = classification_models()
    if known and short not in known:
        raise UsageError(unknown("torchvision model", short, known))
    if channels != 3:
        raise UsageError(
            f"the model '{name}' reads images of 3 channels, the data set has {channels}; take "
            "another model, such as resnet20"
        )
    torchvision = import_torchvision()
    options: dict[str, Any] = {}
    if short in _AUXILIARY:
        # Their weights were trained on images that the network itself normalises once more.
        options = {
            "aux_logits": False,
            "init_weights": not weights,
            "transform_input": bool(weights),
        }
    state = _read(weights, name, torchvision) if weights else None
    model: nn.Module = torchvision.models.get_model(
        short, weights=None, num_classes=classes, **options
    )
    start_weights(model, init, init_scale)
    if state is not None:
        _load(model, _renamed(state, short), weights, name)
    return model


def _read(weights: str, name: str, torchvision: Any) -> dict[str, Tensor]:
    path = Path(weights).expanduser()
    if not path.is_file():
        published = torchvision.models.get_model_weights(name.removeprefix("torchvision/")).DEFAULT
        raise UsageError(
            f"the weights file '{weights}' of the model '{name}' does not exist (looked for at "
            f"{path.absolute()}); nothing is downloaded: put torchvision's "
            f"'{published.url.rsplit('/', 1)[-1]}' there, or leave 'weights' out"
        )
    try:
        if path.suffix == ".safetensors":
            state: object = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, KeyError):
        state = None
    if not isinstance(state, dict) or not all(isinstance(part, Tensor) for part in state.values()):
        raise UsageError(
            f"the weights file '{weights}' cannot be read as a dictionary of tensors; give a "
            "state_dict saved with torch.save (.pth) or with safetensors (.safetensors)"
        )
    return state


def _renamed(state: dict[str, Tensor], short: str) -> dict[str, Tensor]:
    """Without auxiliary classifiers, and with the names that torchvision's densenets have now."""
    if short in _AUXILIARY:
        state = {key: part for key, part in state.items() if not key.lower().startswith("aux")}
    if short.startswith("densenet"):
        state = {re.sub(r"\.(norm|conv)\.(\d)\.", r".\1\2.", key): state[key] for key in state}
    return state


def _load(model: nn.Module, state: dict[str, Tensor], weights: str, name: str) -> None:
    own = model.state_dict()
    last = [key for key, part in model.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    head = {f"{last[-1]}.weight", f"{last[-1]}.bias"}
    wrong = {key for key in own.keys() | state.keys() if _shape(own, key) != _shape(state, key)}
    if wrong - head or head & own.keys() - state.keys():
        example = min(wrong - head or wrong)
        raise UsageError(
            f"the weights file '{weights}' does not belong to the model '{name}': {len(wrong)} "
            f"tensors differ, such as '{example}' with {_shape(state, example)} in the file and "
            f"{_shape(own, example)} in the model; give the file of this model"
        )
    model.load_state_dict({key: own[key] if key in wrong else state[key] for key in own})


def _shape(state: dict[str, Tensor], key: str) -> str:
    return str(tuple(state[key].shape)) if key in state else "nothing"
