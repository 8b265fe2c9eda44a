"""Settings of what shows a study: MLflow and the report. None of them changes a number."""

from typing import Literal

from qbench.study.settings import Settings

__all__ = ["Format", "ReportSettings", "TrackingSettings"]

Format = Literal["markdown", "html", "latex", "csv", "parquet"]
"""What a report can be written as; the last two hold its numbers alone."""


class TrackingSettings(Settings):
    """Where MLflow's view of the study goes."""

    enabled: bool = True
    uri: str | None = None
    """A tracking URI; by default one SQLite file beside the results."""


class ReportSettings(Settings):
    """What the report compares."""

    baseline: str | None = None
    """The row that others are compared with; by default that of ``ste``, where there is one."""
    pairs: Literal["baseline", "all"] = "baseline"
    """Which rows the ranking tests against each other; more tests need more settings."""
    published: Literal["verified", "all"] = "verified"
    """Published numbers to show: ``all`` adds those recalled from memory, marked as such."""
    formats: tuple[Format, ...] = ("markdown", "html", "latex", "csv")
    output: str = "reports"
    """The folder in which the study's folder of tables and figures is written."""
