"""From a trial to a network, its optimizers and its images, the same for every quantizer."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim import Optimizer

from qbench.datasets.loader import Loader, make_loader
from qbench.datasets.prepare import open_images
from qbench.datasets.streams import stream
from qbench.models.build import build_model
from qbench.models.convert import initialize, quantize
from qbench.quantizers.contract import Quantizer, Target
from qbench.registry import quantizers
from qbench.storage import local_copy
from qbench.store import TrialFolder
from qbench.study.schema import Component
from qbench.study.trial import Trial
from qbench.training.choose_engine import ENGINES, choose_engine
from qbench.training.engine import Engine
from qbench.training.optimizers import make_optimizers
from qbench.training.parallel import ParallelEngine
from qbench.training.post_training import fit_layers
from qbench.training.site import Site

__all__ = [
    "Experiment",
    "StartError",
    "float_network",
    "placed",
    "prepare_experiment",
    "quantized",
    "torch_seed",
]


class StartError(Exception):
    """The weights to start from are not there."""


@dataclass
class Experiment:
    """Everything that a trial trains with."""

    model: nn.Module
    optimizers: list[Optimizer]
    engine: Engine
    loader: Loader


def torch_seed(trial: Trial, name: str, *counters: int) -> int:
    """A seed for torch's generator, from the trial's named stream of random numbers."""
    return int(stream(trial.seed, name, *counters).integers(2**62))


def prepare_experiment(trial: Trial, site: Site) -> Experiment:
    """Build everything; the state of torch's global generator depends on the trial alone."""
    torch.manual_seed(torch_seed(trial, "initial values"))
    images = open_images(site.images)
    training = trial.training
    loader = make_loader(
        images,
        trial.data,
        batch=training.batch,
        evaluation_batch=training.evaluation_batch,
        augmentation=training.augmentation,
        seed=trial.seed,
        device=site.device,
    )
    model = float_network(trial, loader)
    _load_start(trial, site, model)
    model = placed(quantized(model, trial), site)
    first, _ = next(iter(loader.plain_training(1)))
    initialize(model, first)
    fit_layers(model, loader, trial.seed)
    on_gpu = site.device.startswith("cuda")
    optimizers = make_optimizers(model, training, fused=on_gpu)
    torch.manual_seed(torch_seed(trial, "quantizers"))
    if site.processes > 1:
        kind: type[Engine] = ParallelEngine
    else:
        kind = ENGINES[choose_engine(training.engine, site.device)]
    engine = kind(model, optimizers, training, loader.fetch)
    return Experiment(model, optimizers, engine, loader)


def placed(model: nn.Module, site: Site) -> nn.Module:
    """``model`` on the trial's device, in the layout that its convolutions are quick in."""
    moved: nn.Module = model.to(site.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


def float_network(trial: Trial, loader: Loader) -> nn.Module:
    """The trial's network before it is quantized, with fresh weights."""
    channels, height, _ = loader.images.shape
    return build_model(trial.model, channels=channels, classes=loader.images.classes, size=height)


def quantized(model: nn.Module, trial: Trial) -> nn.Module:
    """``model``, with its layers swapped in place for the trial's quantized ones."""
    weights = _factory(trial.quantizer, "weight", trial.bits.weight)
    activations = _factory(
        trial.activations or trial.quantizer, "activation", trial.bits.activation
    )
    if weights is not None or activations is not None:
        quantize(model, weights=weights, activations=activations, keep_float=trial.keep_float)
    return model


def _factory(component: Component, target: Target, bits: int) -> Callable[[], Quantizer] | None:
    if bits == 32:
        return None
    kind: type[Quantizer] = quantizers.load(component.name)
    return lambda: kind(bit_width=bits, target=target, **component.options)


def _load_start(trial: Trial, site: Site, model: nn.Module) -> None:
    path = site.start_file
    if trial.starts_from is not None:
        folder = TrialFolder(site.results, trial.starts_from)
        if folder.status() != "done":
            raise StartError(f"it starts from {trial.starts_from}, which has no result")
        path = folder.path / "deployed.safetensors"  # of a float network, its state
    if path is not None:
        with local_copy(path) as file:
            _load_weights(file, model, str(path))


def _load_weights(file: Path, model: nn.Module, path: str) -> None:
    try:
        if file.suffix == ".safetensors":
            model.load_state_dict(load_file(file))
        else:
            model.load_state_dict(torch.load(file, weights_only=True, map_location="cpu"))
    except Exception as error:  # torch raises many kinds for a file that it cannot read or use
        reason = " ".join(str(error).split())[:300]
        raise StartError(f"the weights in {path} cannot be its start: {reason}") from None
