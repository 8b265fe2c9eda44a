"""Diagnostics of a network of one's own, without a study."""

from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from qbench.diagnostics.contract import Measurement
from qbench.diagnostics.measure import Chosen, Measured, measure
from qbench.diagnostics.probe import Probe
from qbench.errors import UsageError, unknown
from qbench.models.layers import quantized_layers
from qbench.registry import diagnostics
from qbench.study.bundles import BUNDLES

__all__ = ["diagnose"]

Batch = tuple[Tensor, Tensor]


def diagnose(
    model: nn.Module,
    batch: Batch,
    of: str | Sequence[str] = "standard",
    *,
    held_out: Iterable[Batch] | None = None,
    training: Iterable[Batch] | None = None,
    layers: Sequence[str] | None = None,
    label_smoothing: float = 0.0,
    seed: int = 0,
) -> Measured:
    """Measure a network that contains ``QuantConv2d`` or ``QuantLinear``; it is left as it was.

    Two networks are compared fairly with the same batch and the same seed: they then get the same
    flip sets and directions. Flips and oscillations need to watch training and are left out here.

    >>> import torch
    >>> from qbench import diagnose
    >>> from qbench.models.convert import initialize, quantize
    >>> from qbench.quantizers.ste import STE
    >>> _ = torch.manual_seed(0)
    >>> images, labels = torch.randn(64, 20), torch.randint(0, 3, (64,))
    >>> model = torch.nn.Sequential(
    ...     torch.nn.Linear(20, 30), torch.nn.ReLU(), torch.nn.Linear(30, 3)
    ... )
    >>> _ = quantize(
    ...     model,
    ...     weights=lambda: STE(bit_width=2, target="weight"),
    ...     activations=None,
    ...     keep_float=["last"],
    ... )
    >>> initialize(model, images)
    >>> found = diagnose(model, (images, labels), ["train_deploy_gap", "flip_sets"])
    >>> value = {row.name: row.value for row in found.network}
    >>> value["discretization/train_deploy_gap"]
    0.0
    >>> value["gradient/flip_set_r_1pct"] > 0.9  # the gradient foretells what flips do
    True

    Args:
        model: The network, its quantizers initialized.
        batch: Images, normalised, and labels ``[batch]``, on the network's device.
        of: A bundle (``economy``, ``standard``, ``full``) or names of diagnostics, all with their
            default options.
        held_out: Batches of other images for the output gap; ``batch`` where nothing is given.
        training: Batches of training images for gradient noise and batch norm; likewise.
        layers: Dotted names of the quantized layers to look at; all where nothing is given.
        label_smoothing: That of the training loss.
        seed: Of flip sets and directions.

    Returns:
        ``network``: rows of name and value, means over layers; ``layers``: the same of each layer;
        ``points``: scatters. Each is a list of named tuples, which ``pandas.DataFrame`` takes.

    Raises:
        UsageError: There is no such bundle, diagnostic or layer.
    """
    names = tuple(quantized_layers(model))
    for name in layers or ():
        if name not in names:
            raise UsageError(unknown("quantized layer", name, names))
    if not names:
        raise UsageError(
            "the network has no quantized layer; convert it with qbench.models.convert.quantize"
        )
    others = None if held_out is None else list(held_out)
    own = None if training is None else list(training)
    measurement = Measurement(
        probe=Probe(model, *batch, seed=seed, label_smoothing=label_smoothing),
        epoch=0,
        layers=tuple(layers or names),
        held_out=lambda: others or [batch],
        training=lambda: own or [batch],
    )
    return measure(_chosen(of), measurement)


def _chosen(of: str | Sequence[str]) -> list[Chosen]:
    if not isinstance(of, str):
        entries = [diagnostics.entry(name) for name in of]
        return [Chosen(entry.name, {}) for entry in entries]
    if of not in BUNDLES:
        raise UsageError(unknown("bundle of diagnostics", of, BUNDLES))
    return [Chosen(one["name"], {}, one.get("layers")) for one in BUNDLES[of]]
