"""Training weights first, then activations, then both: when each of them trains."""

from dataclasses import dataclass
from typing import Literal

from qbench.errors import UsageError
from qbench.quantizers.contract import Target

__all__ = ["ThreePhases"]


@dataclass(frozen=True)
class ThreePhases:
    """Where the phases of a training end; each begins with an epoch."""

    first: float
    """The share of the epochs for weights alone."""
    second: float
    """The share of the epochs for activations alone."""

    def __post_init__(self) -> None:
        """Refuse shares that leave nothing for the third phase.

        Raises:
            UsageError: A share is negative, or both together are 1 or more.
        """
        if not (self.first >= 0 and self.second >= 0 and self.first + self.second < 1):
            raise UsageError(
                f"first_phase and second_phase are {self.first} and {self.second}; each must be 0 "
                "or more and both together below 1, so that a third phase is left"
            )

    def phase(self, epoch: int, epochs: int) -> Literal[1, 2, 3]:
        """The phase of an epoch, counted from 0, of a training of ``epochs``."""
        second, third = self._starts(epochs)
        return 1 if epoch < second else 2 if epoch < third else 3

    def trained(self, target: Target, epoch: int, epochs: int) -> int:
        """In how many whole epochs before ``epoch`` the target's quantizers have trained.

        While weights stand still it is the number that they had in their last epoch.
        """
        second, third = self._starts(epochs)
        if target == "activation":
            return max(epoch - second, 0)
        return epoch if epoch < second else max(second - 1, epoch - (third - second), 0)

    def _starts(self, epochs: int) -> tuple[int, int]:
        return int(self.first * epochs), int((self.first + self.second) * epochs)
