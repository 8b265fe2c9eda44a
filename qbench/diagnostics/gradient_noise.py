"""G5: how much of a minibatch's gradient is signal."""

from collections.abc import Iterator, Mapping
from itertools import islice

import torch
from torch import Tensor

from qbench.diagnostics.contract import Measurement, Reading
from qbench.diagnostics.probe import Probe
from qbench.registry import diagnostics

__all__ = ["GradientMoments", "gradient_noise"]


class GradientMoments:
    """Sums over the gradients of independent minibatches; no gradient is kept."""

    def __init__(self) -> None:
        """Start with no gradient."""
        self.count = 0
        self._sum: Tensor | None = None
        self._squares: list[Tensor] = []
        self._variations: list[Tensor] = []

    def add(self, gradient: Tensor) -> None:
        """Take one minibatch's gradient, of any shape."""
        gradient = gradient.detach().double()
        self.count += 1
        self._sum = gradient if self._sum is None else self._sum + gradient
        self._squares.append(gradient.square().sum())
        size = gradient.abs()
        self._variations.append(size.std(correction=0) / size.mean())

    def signal_to_noise(self) -> Tensor:
        """Squared norm of the mean over the trace of the covariance, 0-dim.

        The squared norm is the mean of the products of different minibatches' gradients, which the
        noise does not bias; it can fall below 0. Not finite where there is no noise.
        """
        if self._sum is None or self.count < 2:
            return torch.tensor(torch.nan)
        of_sum, sum_of = self._sum.square().sum(), torch.stack(self._squares).sum()
        signal = (of_sum - sum_of) / (self.count * (self.count - 1))
        noise = (sum_of - of_sum / self.count) / (self.count - 1)
        return signal / noise

    def noise_share(self) -> Tensor:
        """Trace of the covariance over the mean squared norm, 0-dim: 0 to M / (M - 1)."""
        if self._sum is None or self.count < 2:
            return torch.tensor(torch.nan)
        of_sum, sum_of = self._sum.square().sum(), torch.stack(self._squares).sum()
        return (sum_of - of_sum / self.count) / (self.count - 1) / (sum_of / self.count)

    def magnitude_variation(self) -> Tensor:
        """sd(abs g) / mean(abs g) over the weights, averaged over minibatches, 0-dim."""
        return torch.stack(self._variations).mean()


@diagnostics.register("gradient_noise", unit="1", tracked=("gradient/signal_to_noise",))
def gradient_noise(
    measurement: Measurement, *, batches: int = 16, samples: int = 16
) -> Iterator[Reading]:
    """Signal and noise of the latents' gradient over disjoint minibatches of the recipe's size.

    Formula: g_1 .. g_M at fixed theta;  gSNR = mean_{i != j} g_i . g_j / tr cov(g);
    CV = sd |g| / mean |g| over a layer's weights, its mean over the minibatches.
    Quantizer noise = tr cov(g) / E |g|^2 over samples of what the method itself draws, with the
    diagnostic batch fixed.

    Meaning: 1 / gSNR is about how many minibatches must be averaged for as much signal as noise.
    CV is the spread of gradient sizes (ReSTE's instability, without its unit). Quantizer noise is
    the part of a gradient's squared length that averaging M samples divides by M; what it leaves,
    the bias, has no reference here (see ``smoothed_alignment``).

    Range: gSNR at least -1 / M; without a signal about +-sqrt(2 / d) / M in a layer of d weights;
    CV from 0, sqrt(pi / 2 - 1) = 0.756 of a Gaussian; quantizer noise exactly 0 where nothing is
    drawn, 1 where all is.

    Cost: M + 2 forwards and backwards, for all layers together; M more where something is drawn.

    Misleads: g is the method's own, so a biased gradient can have a high gSNR; Adam rescales it;
    the noise of a method that draws is in its gSNR too.

    Source: the squared norm without bias, Mahsereci & Hennig, 2015, and McCandlish et al., 2018,
    arXiv:1812.06162; CV after Wu et al., ReSTE, ICCV 2023; variance over a
    quantizer's samples after Shekhovtsov, 2021.
    """
    probe = measurement.probe
    names = [name for name in measurement.layers if probe.layers[name].weight_quantizer is not None]
    device = probe.images.device
    moments = {name: GradientMoments() for name in names}
    for images, labels in islice(measurement.training(), batches):
        _add(moments, probe, images.to(device), labels.to(device))
    drawn = {name: GradientMoments() for name in names}
    for count in range(samples):
        if count == 2 and not any(bool(found.noise_share() > 0) for found in drawn.values()):
            break
        _add(drawn, probe, probe.images, probe.labels)
    for name in names:
        if drawn[name].count >= 2 and bool(drawn[name].noise_share().isfinite()):
            yield Reading(name, "gradient/quantizer_noise", drawn[name].noise_share())
        if moments[name].count < 2:
            continue
        for reading, value in (
            ("gradient/signal_to_noise", moments[name].signal_to_noise()),
            ("gradient/magnitude_cv", moments[name].magnitude_variation()),
        ):
            if bool(value.isfinite()):
                yield Reading(name, reading, value)


def _add(
    moments: Mapping[str, GradientMoments], probe: Probe, images: Tensor, labels: Tensor
) -> None:
    """Add the latents' gradients of a minibatch."""
    minibatch = Probe(
        probe.model, images, labels, seed=probe.seed, label_smoothing=probe.label_smoothing
    )
    for name, found in moments.items():
        found.add(minibatch.gradients[name].latent)
