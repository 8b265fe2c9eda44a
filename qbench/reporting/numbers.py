"""Numbers as a table prints them."""

import math

from qbench.reporting.statistics import Estimate

__all__ = ["NOTHING", "duration", "interval", "plus_minus", "scientific", "signed", "times"]

NOTHING = "—"
"""Stands where there is no number."""


def fixed(value: float, digits: int = 2) -> str:
    """A number with a true minus sign, and no minus before a zero."""
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace("-", "−")


def signed(value: float, digits: int = 2) -> str:
    """A difference with its sign."""
    text = fixed(value, digits)
    return f"+{text}" if float(text.replace("−", "-")) > 0 else text


def plus_minus(found: Estimate, digits: int = 2) -> str:
    """``95.12 ± 0.34``: mean and sample deviation; the mean alone of one seed."""
    if found.n == 0:
        return NOTHING
    if found.n == 1:
        return fixed(found.mean, digits)
    return f"{fixed(found.mean, digits)} ± {fixed(found.deviation, digits)}"


def interval(found: Estimate, digits: int = 2, *, sign: bool = False) -> str:
    """``0.61 [0.12, 1.10]``: mean and t interval; the mean alone with too few seeds."""
    if found.n == 0:
        return NOTHING
    mean = signed(found.mean, digits) if sign else fixed(found.mean, digits)
    if not found.has_interval:
        return mean
    return f"{mean} [{fixed(found.low, digits)}, {fixed(found.high, digits)}]"


def scientific(found: Estimate) -> str:
    """A mean of any size with three digits: ``0.0123``, ``1.2e-05``, ``0``."""
    if found.n == 0 or not math.isfinite(found.mean):
        return NOTHING
    return f"{found.mean:.3g}".replace("-", "−")


def times(found: Estimate) -> str:
    """A ratio: ``1.35×``."""
    return NOTHING if found.n == 0 else f"{found.mean:.2f}×"


def duration(seconds: float) -> str:
    """``42 s``, ``12.5 min`` or ``3.4 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
