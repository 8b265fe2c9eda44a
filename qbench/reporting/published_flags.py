"""The words for what a published number's protocol is known to be: a closed vocabulary.

A flag stands for itself (``distillation``) or has a value (``epochs=400``). A flag that is missing
means that nothing is known, not that there is no difference.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

__all__ = ["COMPARED", "DESCRIBING", "FLAGS", "UNMATCHED", "check_flag", "flag_value", "flag_words"]

COMPARED: Mapping[str, str] = MappingProxyType(
    {
        "epochs": "{} epochs",
        "batch": "batches of {}",
        "optimizer": "optimizer {}",
        "augmentation": "augmentation {}",
        "first_last_float": "first and last layer in float",
        "first_last_8bit": "first and last layer in 8 bits",
        "first_last_quantized": "first and last layer quantized",
        "shortcut_float": "1x1 shortcuts in float",
        "shortcut_quantized": "1x1 shortcuts quantized",
        "pretrained_start": "start from a float network",
        "scratch_start": "start from random weights",
        "model.shortcut": "model option shortcut={}",
        "model.residual": "model option residual={}",
        "options.meta": "option meta={}",
        "options.base": "option base={}",
        "options.refinement": "option refinement={}",
        "options.level_set": "option level_set={}",
        "options.phases": "option phases={}",
    }
)
"""Flags that a trial answers too; ``options.`` are a quantizer's, ``model.`` a model's."""
UNMATCHED: Mapping[str, str] = MappingProxyType(
    {
        "best_epoch": "the best epoch",
        "mean_epochs": "the mean of the last {} epochs",
        "distillation": "distillation",
        "two_step": "activations quantized first, weights in a second training",
        "progressive_bits": "start from the network of the next higher width",
        "modified_shortcuts": "a shortcut around every convolution",
        "modified_activations": "PReLU, RPReLU or Maxout in place of ReLU",
        "modified_network": "layers added or left out",
        "preactivation": "batch norm and ReLU before the convolution",
    }
)
"""Flags of what qbench does not do; each is a difference."""
DESCRIBING: Mapping[str, str] = MappingProxyType(
    {
        "levels": "{} weight levels",
        "forward": "forward of {}",
        "runs": "mean of {} runs",
        "authors_code": "run by others with the authors' code, or by the authors later",
        "other_code": "not the authors' code",
        "disputed": "another source gives another number for the same thing",
    }
)
"""Flags that say what a number is; they are no differences."""
FLAGS: Mapping[str, str] = MappingProxyType({**COMPARED, **UNMATCHED, **DESCRIBING})
"""Every flag with its words; braces stand for the value."""
_VALUES = {
    "optimizer": ("sgd", "adam"),
    "augmentation": ("crop+flip", "crop", "flip", "none"),
    "forward": ("dorefa", "bwn"),
    "model.residual": ("block", "convolution"),
    "model.shortcut": ("A", "B"),
    "options.meta": ("fcgrad", "multifc", "lstmfc"),
    "options.base": ("dorefa", "bwn"),
    "options.refinement": ("sgd", "momentum", "adam"),
    "options.level_set": ("plus_minus_2", "plus_minus_4", "uniform"),
    "options.phases": ("true", "false"),
}
"""What a flag's value may be; others are counts."""


def check_flag(flag: str) -> str:
    """The flag itself.

    Raises:
        ValueError: It is not in the vocabulary, or its value is not allowed.
    """
    name, equals, value = flag.partition("=")
    if name not in FLAGS:
        raise ValueError(f"there is no flag '{flag}'; allowed: {', '.join(FLAGS)}")
    if bool(equals) != ("{}" in FLAGS[name]):
        raise ValueError(f"the flag '{flag}' {'takes no' if equals else 'needs a'} value")
    allowed = _VALUES.get(name)
    if allowed is not None and value not in allowed:
        raise ValueError(f"'{value}' in the flag '{flag}'; allowed: {', '.join(allowed)}")
    if equals and allowed is None and not (value.isascii() and value.isdigit() and int(value)):
        raise ValueError(f"'{value}' in the flag '{flag}' is not a count")
    return flag


def flag_value(flags: Iterable[str], name: str) -> str | None:
    """The value of a flag, empty for one that stands for itself; ``None`` where it is missing."""
    for flag in flags:
        found, _, value = flag.partition("=")
        if found == name:
            return value
    return None


def flag_words(flag: str) -> str:
    """A flag as a reader sees it: ``400 epochs``."""
    name, _, value = flag.partition("=")
    return FLAGS[name].format(value)
