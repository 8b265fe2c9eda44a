"""A trial that does nothing but leave a result, for what the harness itself costs."""

from collections.abc import Iterator

from qbench.execution.jobs import Job, Values
from qbench.store import RESULT_FILES, TrialFolder
from qbench.study.schema import Bits, Component
from qbench.study.trial import Trial, TrialData
from qbench.training.site import Site

__all__ = ["job", "train"]


def job(site: Site, seed: int) -> Job:
    """An empty trial."""
    trial = Trial(
        quantizer=Component(name="float"),
        model=Component(name="empty"),
        data=TrialData(name="nothing"),
        bits=Bits(weight=32, activation=32),
        seed=seed,
    )
    return Job(trial, site)


def train(trial: Trial, site: Site) -> Iterator[Values]:
    """Write the files of a trial that is done; one epoch."""
    folder = TrialFolder(site.results, trial.name)
    for name in RESULT_FILES:
        folder.write_json(name, {"seed": trial.seed})
    folder.finish()
    yield {"epoch": 1, "epochs": 1}
