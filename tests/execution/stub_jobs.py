"""Jobs of the stub, and a watcher that keeps what it is told."""

from pathlib import Path

from qbench.execution.jobs import Job, Values
from qbench.store import Status
from qbench.study.schema import Component
from qbench.study.trial import Trial, TrialData
from qbench.training.site import Site


class Diary:
    """A watcher."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.epochs: list[tuple[str, Values]] = []
        self.statuses: dict[str, Status] = {}

    def started(self, name: str) -> None:
        self.events.append(("started", name))

    def epoch(self, name: str, values: Values) -> None:
        self.epochs.append((name, values))

    def ended(self, name: str, status: Status) -> None:
        self.events.append(("ended", name))
        self.statuses[name] = status


def stub_job(results: Path, seed: int, start: Job | None = None, **act: object) -> Job:
    trial = Trial(
        quantizer=Component(name="ste"),
        model=Component(name="stub", options=act),
        data=TrialData(name="none"),
        bits="W1A32",
        seed=seed,
        start=f"trial:{start.trial.name}" if start else "scratch",
    )
    return Job(trial, Site(results=results, images=results))
