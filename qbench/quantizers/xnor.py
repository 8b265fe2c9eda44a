"""XNOR-Net: the weights of BWN, and signs of the activations."""

from qbench.quantizers.bwn import BWN
from qbench.quantizers.contract import Target
from qbench.registry import quantizers

__all__ = ["XNOR"]


@quantizers.register("xnor")
class XNOR(BWN):
    """Signs times mean|w| of the filter for weights, signs for activations.

    Rastegari, Ordonez, Redmon, Farhadi, "XNOR-Net", ECCV 2016, arXiv:1603.05279.

    forward    weights as bwn: q = mean|w| sign(w);  activations: q = sign(x), sign(0) = +1
    backward   weights as bwn;  dq/dx = 1[|x| <= 1]
    update     weights as bwn
    shapes     x any
    start      that of bwn; schedule none
    deviates   no map K of the inputs' magnitudes: it scales the layer's output, so it belongs
               to the model; batch norm comes before the sign where the model says so
    """

    bits = {"weight": (1,), "activation": (1,)}
    paper = "Rastegari et al., ECCV 2016, arXiv:1603.05279"
    family = "surrogate"
    provenance = "verified"
    signed_inputs = True
    components = {"scale_gradient": {"detach_scale": True}}

    def __init__(self, *, bit_width: int, target: Target, detach_scale: bool = False) -> None:
        """Make the quantizer; ``detach_scale`` leaves the weights' scale out of the gradient."""
        super().__init__(bit_width=bit_width, target=target, detach_scale=detach_scale)
