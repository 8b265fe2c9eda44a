"""Which methods the default run looks at closely; the slow run takes all."""

from collections.abc import Set

import pytest

CORE = {"ste", "dorefa", "lsq", "metaquant", "quantnet", "quantization_networks", "daq"}
IN_SHORT = CORE | {"xnor", "irnet", "adabin", "bop", "kurtosis", "ttq", "parq", "rq"}
"""The core methods and one of each family."""


def marks(name: str, short: Set[str] = IN_SHORT) -> list[pytest.MarkDecorator]:
    """Of a case that is about one method."""
    return [] if name in short | {"float", "negative_control"} else [pytest.mark.slow]
