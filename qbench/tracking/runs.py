"""One run a trial, brought up to the trial's files as often as is asked for."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qbench.storage import local_copy
from qbench.store import TrialFolder
from qbench.study.plan import Plan
from qbench.study.trial import Trial
from qbench.tracking.content import (
    axes,
    group_name,
    parameters,
    run_name,
    shared,
    trial_note,
    tuned_rounds,
)
from qbench.tracking.history import History, Point, images_of, read_facts, read_history, signature

if TYPE_CHECKING:
    from mlflow.entities import Metric

    from qbench.tracking.client import FoundRun, Store
    from qbench.tracking.models import LoggedModels

__all__ = ["TrialRuns"]

ARTIFACTS = (
    "trial.json", "history.parquet", "layers.parquet", "audit.json", "environment.json",
    "failed.json",
)  # fmt: skip
DEPLOYED = "deployed.safetensors"
DEPLOYED_BYTES = 5_000_000  # larger networks stay in the result store alone
ENDS = {"done": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
NOTE = "mlflow.note.content"
ENDING_TAGS = ("failure", NOTE)  # told anew by every ending
LAYOUT = "2"  # of names and tags: a run of another one is made anew
TEXT = 5000  # characters of a tag


@dataclass
class _Known:
    """A run that was found or made, and what it holds."""

    run: "FoundRun"
    resumed: bool = False
    """Whether it was set to running here."""
    written: tuple[object, ...] = ()
    """The files that were logged last; most syncs find nothing new."""


class TrialRuns:
    """The child runs of a study."""

    def __init__(
        self,
        store: "Store",
        models: "LoggedModels",
        experiment: str,
        parent: str,
        plan: Plan,
        results: Path,
        tags: dict[str, str],
        provenance: dict[str, Any],
    ) -> None:
        """Keep what every run needs.

        Args:
            store: The tracking store.
            models: The experiment's models.
            experiment: The experiment's id.
            parent: The id of the study's run.
            plan: The study's plan, for labels.
            results: The result store.
            tags: Tags of every run.
            provenance: See :meth:`qbench.tracking.tracker.Tracker.open`.
        """
        self._store, self._models = store, models
        self._experiment, self._parent = experiment, parent
        self._tags, self._datasets = tags, provenance.get("datasets", {})
        self.results = results
        self._known: dict[str, _Known] = {}
        self.learn(plan)

    def learn(self, plan: Plan) -> None:
        """Take labels from a plan, which may have grown."""
        self.labels = plan.labels()
        self._shared = shared(plan.trials().values())
        self._ablations = {cell.trial.name: cell.ablation for cell in plan.cells if cell.ablation}
        self._searches = {one.trial.name: f"round {one.round}" for one in plan.attempts}
        self._rounds = tuned_rounds(plan)

    def write(self, trial: Trial, *, ended: bool) -> None:
        """Make the run equal to the files.

        Args:
            trial: The trial.
            ended: Whether it ended; how, its files say.

        Raises:
            Exception: What the store or the files raise; nothing is lost by writing again.
        """
        folder = TrialFolder(self.results, trial.name)
        if ended:
            self._write_end(trial, folder)
        else:
            self._write_new(trial, folder)

    def _write_new(self, trial: Trial, folder: TrialFolder) -> None:
        known = self._find(trial, folder)
        if known.run.tags.get("state") == "done" and folder.status() != "done":
            self._delete(trial, known)  # it is being trained anew
            known = self._find(trial, folder)
        if not known.resumed:
            self._resume(trial, known)
        written = signature(folder)
        if written == known.written:
            return
        history = read_history(folder)
        known = self._renewed(trial, folder, known, history)
        points = _new_points(history, known.run)
        if points:
            tags = _progress_tags(history)
            self._store.log(known.run.run_id, points, tags=tags)
            known.run.tags |= tags
        known.written = written

    def _write_end(self, trial: Trial, folder: TrialFolder) -> None:
        history, status = read_history(folder), folder.status()
        known = self._renewed(trial, folder, self._find(trial, folder), history)
        self._write_data(trial, folder, known.run)
        state = status if status in ("done", "failed") else "interrupted"
        run, name = known.run, self._name(trial)
        if run.tags.get("mlflow.runName") != name:
            self._store.rename(run.run_id, name)
            run.tags["mlflow.runName"] = name
        tags = self._end_tags(trial, folder, state, history)
        if tags.items() <= run.tags.items():
            return  # logged whole before
        tags |= self._note(trial, folder, state, history, run)
        scores = self._write_model(trial, folder, run, history) if state == "done" else []
        self._store.log(run.run_id, _new_points(history, run), scores=scores)
        if state != "interrupted":
            self._write_files(folder, run.run_id)
        if run.tags.get("state") != state:
            self._store.remove_tags(run, *ENDING_TAGS)
        self._store.end(run.run_id, ENDS[state], history.ended)
        self._store.log(run.run_id, tags=tags)  # last: what is cut off before is written again
        run.tags |= tags
        known.resumed = False

    def _write_model(
        self, trial: Trial, folder: TrialFolder, run: "FoundRun", history: History
    ) -> "list[Metric]":
        """Make the deployed network the run's output; returns what single values tell of both."""
        file = folder.path / DEPLOYED
        model = self._models.write(
            run.run_id, self._name(trial), axes(trial), self._place(trial),
            file, upload=file.stat().st_size < DEPLOYED_BYTES,
        )  # fmt: skip
        if model and not run.has_outputs:
            self._models.link(run.run_id, model)
            run.has_outputs = True
        data = images_of(folder) or self._datasets.get(trial.data.name, {})
        digest = str(data.get("digest", ""))
        return self._models.scores(list(history.finals), model, trial.data.name, digest)

    def _find(self, trial: Trial, folder: TrialFolder) -> _Known:
        known = self._known.get(trial.name)
        if known is None:
            tags = (
                self._tags | self._row_tags(trial) | {"qbench.layout": LAYOUT, "state": "running"}
            )
            run = self._store.find_or_create(
                self._experiment, "qbench.trial", trial.name, self._name(trial), tags,
                read_history(folder).started,
            )  # fmt: skip
            known = self._known[trial.name] = _Known(run, resumed=run.is_new)
            if run.tags.get("qbench.layout") != LAYOUT:
                self._delete(trial, known)
                return self._find(trial, folder)
            self._describe(trial, run)
            self._write_data(trial, folder, run)
        return known

    def _delete(self, trial: Trial, known: _Known) -> None:
        self._models.delete(known.run.run_id)
        self._store.delete(known.run.run_id)
        del self._known[trial.name]

    def _renewed(
        self, trial: Trial, folder: TrialFolder, known: _Known, history: History
    ) -> _Known:
        """The run, or a new one in its place if the trial was trained anew from the start."""
        begun = known.run.tags.get("qbench.begun", history.begun)
        if begun == history.begun or not history.begun:
            return known
        self._delete(trial, known)
        return self._find(trial, folder)

    def _resume(self, trial: Trial, known: _Known) -> None:
        run = known.run
        self._store.remove_tags(run, *ENDING_TAGS)
        self._store.resume(run.run_id, self._name(trial))
        tags = self._tags | self._row_tags(trial) | {"state": "running"}
        self._store.log(run.run_id, tags=tags)
        run.tags |= tags
        known.resumed = True

    def _describe(self, trial: Trial, run: "FoundRun") -> None:
        missing = {
            key: value for key, value in parameters(trial).items() if key not in run.params
        }  # a parameter is written once
        if missing:
            self._store.log(run.run_id, params=missing)

    def _write_data(self, trial: Trial, folder: TrialFolder, run: "FoundRun") -> None:
        """Record the images: what the trial says, and before it has, what this run prepared."""
        if run.has_inputs:
            return
        data = images_of(folder) or self._datasets.get(trial.data.name)
        if data:
            self._store.log_data(
                run.run_id, trial.data.name, str(data["digest"]), str(data.get("source", ""))
            )
            run.has_inputs = True

    def _write_files(self, folder: TrialFolder, run_id: str) -> None:
        for name in ARTIFACTS:
            if (folder.path / name).is_file():
                with local_copy(folder.path / name) as file:
                    self._store.log_file(run_id, file)

    def _row_tags(self, trial: Trial) -> dict[str, str]:
        tags = axes(trial) | self._place(trial)
        tags |= {
            "mlflow.parentRunId": self._parent,
            "kind": "trial",
            "ablation": self._ablations.get(trial.name, ""),
            "tuning": self._searches.get(trial.name, ""),
        }
        return {key: value for key, value in tags.items() if value}

    def _end_tags(
        self, trial: Trial, folder: TrialFolder, state: str, history: History
    ) -> dict[str, str]:
        environment = read_facts(folder, "environment.json")
        tags = self._row_tags(trial) | {
            "state": state,
            "qbench.code": str(read_facts(folder, "trial.json").get("code", "")),
            "mlflow.source.git.commit": str(environment.get("commit", "")),
            "qbench.device": str(environment.get("device", "")),
            "qbench.host": str(environment.get("machine", {}).get("host", "")),
        }
        failure = folder.failure()
        if state == "failed" and failure is not None:
            tags["failure"] = f"{failure.reason}: {failure.message}"[:TEXT]
        shown = {key: value for key, value in tags.items() if value}
        return shown | (_progress_tags(history) if history.begun else {})

    def _note(
        self, trial: Trial, folder: TrialFolder, state: str, history: History, run: "FoundRun"
    ) -> dict[str, str]:
        """The description, unless this ending is told: a user may have changed it."""
        if run.tags.get("state") == state and NOTE in run.tags:
            return {}
        failure = folder.failure()
        if state == "failed" and failure is not None:
            return {NOTE: f"**{failure.reason}**\n\n{failure.message}"[:TEXT]}
        if state != "done":
            return {}
        finals = {point.key: point.value for point in history.finals}
        return {NOTE: trial_note(trial, finals.get("final/test/accuracy"), history.left_out)}

    def _place(self, trial: Trial) -> dict[str, str]:
        """Where the report shows a trial; other labels change it."""
        label = self._label(trial)
        return {"group": group_name(trial, label, self._shared), "row": label}

    def _name(self, trial: Trial) -> str:
        rounds = self._rounds.get(trial.name, "")
        return run_name(trial, self._label(trial), self._shared, rounds)

    def _label(self, trial: Trial) -> str:
        return self.labels.get(trial.name) or trial.quantizer.name


def _new_points(history: History, run: "FoundRun") -> list[Point]:
    """What is not logged, and the last logged epoch again: more of it may have come since."""
    logged = int(run.tags.get("qbench.epoch", -1))
    return [point for point in history.series if point.step >= logged]


def _progress_tags(history: History) -> dict[str, str]:
    return {"qbench.epoch": str(history.last_epoch), "qbench.begun": history.begun}
