"""What a run of a study came to."""

from dataclasses import dataclass

__all__ = ["Result"]


@dataclass(frozen=True)
class Result:
    """What a run of a study came to."""

    study: str
    done: int
    failed: dict[str, str]
    """Trial name to reason."""
    missing: int
    table: str
    """The comparison as plain text."""
    headline: str
    report: str
    """The folder of tables and figures."""
    browse: str
    """What shows the runs in MLflow; empty where nothing is tracked."""
    untracked: tuple[str, ...]
    """What MLflow did not take."""

    def lines(self) -> list[str]:
        """What a run ends with on the screen."""
        lines = ["", self.table, "", self.headline]
        lines += [f"failed: {name}: {reason}" for name, reason in self.failed.items()]
        lines += ["", f"report: {self.report}"]
        if self.browse:
            lines.append(f"browse: {self.browse}")
        if self.untracked:
            lines.append(f"MLflow lacks {len(self.untracked)} runs; the same command tries again")
        return lines
