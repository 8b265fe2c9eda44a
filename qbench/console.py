"""What a user sees while trials run: one live view on a terminal, else a line a finished trial."""

import time
from collections.abc import Mapping, Sequence
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from qbench.store import Status
from qbench.study.plan import Plan
from qbench.study.trial import Trial

__all__ = ["Progressing", "duration"]

SHOWN = 8  # running trials that are listed; the rest is counted


def duration(seconds: float) -> str:
    """Seconds in words: ``42 s``, ``3 min 05 s``, ``2 h 10 min``, ``3 d 4 h``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


class Progressing:
    """A watcher that shows how far a study is."""

    def __init__(self, console: Console, *, live: bool) -> None:
        """Show trials as they run.

        Args:
            console: Where to.
            live: One view that changes, in place of lines.
        """
        self.titles: dict[str, str] = {}
        self.open = 0
        self.console, self.live = console, live
        self.running: dict[str, dict[str, float]] = {}
        self.counts = {"done": 0, "failed": 0}
        self.best: tuple[float, str] | None = None
        self.started_at = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeElapsedColumn(), TextColumn("{task.fields[left]}"), console=console,
        )  # fmt: skip
        self._task = self._bar.add_task("trials", total=0, left="")
        self._view = Live(console=console, get_renderable=self._render, refresh_per_second=2)

    def __enter__(self) -> "Progressing":
        """Start the view."""
        if self.live:
            self._view.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last state of the view on the screen."""
        if self.live:
            self._view.stop()

    def planned(self, plan: Plan, trials: Sequence[Trial]) -> None:
        """Trials of a plan are to be run, beside those that were told before."""
        labels = plan.labels()
        self.open = plan.open
        for trial in trials:
            self.titles[trial.name] = (
                f"{labels.get(trial.name, trial.quantizer.name)} {trial.model.label} "
                f"{trial.data.label} {trial.bits} seed {trial.seed}"
            )

    @property
    def _total(self) -> int:
        return len(self.titles) + self.open

    def started(self, name: str) -> None:
        """A trial starts."""
        self.running[name] = {}

    def epoch(self, name: str, values: Mapping[str, float]) -> None:
        """A trial has trained an epoch."""
        self.running.setdefault(name, {}).update(values)

    def ended(self, name: str, status: Status) -> None:
        """A trial has ended."""
        values = self.running.pop(name, {})
        self.counts["done" if status == "done" else "failed"] += 1
        accuracy = values.get("test/accuracy")
        title = self.titles.get(name, name)
        quantized = not title.startswith("float ")
        if quantized and accuracy is not None and (self.best is None or accuracy > self.best[0]):
            self.best = (accuracy, title)
        if not self.live:
            finished = sum(self.counts.values())
            shown = "" if accuracy is None else f"  test accuracy {accuracy:.1%}"
            self.console.print(
                f"[{finished}/{self._total}] {status:<7} {title}{shown}{self._left(', ')}",
                markup=False, highlight=False, soft_wrap=True,
            )  # fmt: skip

    def _fraction(self) -> float:
        under_way = sum(
            values["epoch"] / max(values["epochs"], 1) for values in self.running.values() if values
        )
        return (sum(self.counts.values()) + under_way) / max(self._total, 1)

    def _left(self, before: str = "") -> str:
        fraction = self._fraction()
        if not 0 < fraction < 1:
            return ""
        spent = time.monotonic() - self.started_at
        return f"{before}about {duration(spent * (1 - fraction) / fraction)} left"

    def _render(self) -> Group:
        self._bar.update(
            self._task, completed=sum(self.counts.values()), total=self._total, left=self._left(),
            description=f"{self.counts['done']} done, {len(self.running)} running, "
            f"{self.counts['failed']} failed",
        )  # fmt: skip
        table = Table.grid(padding=(0, 2))
        for name, values in list(self.running.items())[:SHOWN]:
            words = [Text(self.titles.get(name, name)), Text("starting", style="dim")]
            if values:
                accuracy = values.get("validation/accuracy", values.get("train/accuracy", 0.0))
                epoch = f"epoch {int(values['epoch'])}/{int(values['epochs'])}"
                words[1:] = [Text(epoch), Text(f"loss {values.get('train/loss', 0):.3f}"),
                             Text(f"accuracy {accuracy:.1%}")]  # fmt: skip
            table.add_row(*words)
        parts = [self._bar.get_renderable(), table]
        if len(self.running) > SHOWN:
            parts.append(Text(f"… and {len(self.running) - SHOWN} more", style="dim"))
        if self.best is not None:
            parts.append(Text(f"best so far: {self.best[1]}  {self.best[0]:.1%}"))
        return Group(*parts)
