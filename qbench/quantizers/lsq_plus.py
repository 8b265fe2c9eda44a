"""LSQ+: activations have a learned offset beside their learned step."""

from qbench.quantizers.contract import Target
from qbench.quantizers.lsq import LSQ
from qbench.registry import quantizers

__all__ = ["LSQPlus"]


@quantizers.register("lsq_plus")
class LSQPlus(LSQ):
    """Learned step size and, for activations, a learned offset.

    Bhalgat et al., "LSQ+", CVPR Workshops 2020, arXiv:2004.09576; LSQ with other starts where the
    offset is 0.

    forward    activations:  q = step * round(clip((x - offset) / step, 0, 2^k - 1)) + offset
               weights:  as LSQ, symmetric
    backward   dq/dx = 1 inside the clip range (ends included), else 0
               dq/doffset = 0 inside, 1 outside;  dq/dstep as LSQ at v = (x - offset) / step;
               both multiplied by 1 / sqrt(n P) as in LSQ
    shapes     x any, step and offset scalars
    start      weights: step = max(|mu - 3 sigma|, |mu + 3 sigma|) / 2^(k-1); activations: step and
               offset of small squared error on the first batch
    schedule   none
    deviates   the start of activations is a descent from a grid as wide as the values, to a local
               least error; the offset has no weight decay; |step| as in LSQ
    options    ``offset: false`` leaves the offset out: activations as in LSQ
    """

    bits = {"weight": (2, 3, 4, 5, 6, 7, 8), "activation": (2, 3, 4, 5, 6, 7, 8)}
    paper = "Bhalgat et al., CVPR Workshops 2020, arXiv:2004.09576"
    family = "learned levels"
    provenance = "recalled"
    components = {"gradient_scale": {"gradient_scale": False}, "offset": {"offset": False}}

    def __init__(
        self, *, bit_width: int, target: Target, gradient_scale: bool = True, offset: bool = True
    ) -> None:
        """Make the quantizer of one tensor; ``gradient_scale`` switches the factor 1/sqrt(n P)."""
        # Weights have no offset, and start as in LSQ+ in any case.
        super().__init__(
            bit_width=bit_width,
            target=target,
            gradient_scale=gradient_scale,
            offset=offset or target == "weight",
        )
