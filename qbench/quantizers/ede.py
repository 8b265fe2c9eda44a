"""The error decay estimator of IR-Net: a slope that turns from the identity's into the step's."""

import torch
from torch import Tensor

from qbench.errors import UsageError
from qbench.quantizers.binary import SignQuantizer
from qbench.quantizers.contract import Progress, Target

__all__ = ["EDE"]


class EDE(SignQuantizer):
    """Base of methods whose sign has the slope k t (1 - tanh^2(t x)), k = max(1/t, 1).

    t runs from ``sharpness_start`` to ``sharpness_end``, exponentially and by epoch. Below 1 the
    slope is near 1 over a width that shrinks; above, a peak of height t and area 2.
    """

    sharpness: Tensor
    height: Tensor

    def __init__(
        self, *, bit_width: int, target: Target, sharpness_start: float, sharpness_end: float
    ) -> None:
        """Start with the slope of the first epoch.

        Raises:
            UsageError: A sharpness is not above 0.
        """
        super().__init__(bit_width=bit_width, target=target)
        if min(sharpness_start, sharpness_end) <= 0:
            raise UsageError(
                f"sharpness_start and sharpness_end are {sharpness_start} and {sharpness_end}; "
                "both must be above 0, such as 0.1 and 10"
            )
        self.sharpness_start, self.sharpness_end = sharpness_start, sharpness_end
        self.register_buffer("sharpness", torch.tensor(sharpness_start), persistent=False)
        self.register_buffer("height", torch.tensor(max(sharpness_start, 1.0)), persistent=False)

    def set_progress(self, progress: Progress) -> None:
        """Set t, and k t, the slope at 0."""
        share = progress.epoch / max(progress.total_epochs, 1)
        sharpness = self.sharpness_start * (self.sharpness_end / self.sharpness_start) ** share
        self.sharpness.fill_(sharpness)
        self.height.fill_(max(sharpness, 1.0))

    def estimate(self, x: Tensor) -> Tensor:
        """``k t (1 - tanh^2(t x))``."""
        return self.height * (1 - (self.sharpness * x).tanh().square())

    def readings(self) -> dict[str, Tensor]:
        """The sharpness t, and learned scalars."""
        return {**super().readings(), "sharpness": self.sharpness}
