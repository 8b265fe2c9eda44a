"""The driver's view of a study in MLflow: a parent run, and a child run a trial."""

import getpass
import logging
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qbench.storage import snapshot
from qbench.store import DECIDING, TrialFolder
from qbench.study.plan import Plan
from qbench.study.trial import Trial
from qbench.tracking.address import (
    check_reachable,
    default_uri,
    mask,
    mask_all,
    own_folder,
    ui_address,
    ui_command,
)
from qbench.tracking.content import safe_name
from qbench.tracking.page import Page, study_run_name, table_views
from qbench.tracking.runs import TrialRuns

if TYPE_CHECKING:
    from qbench.tracking.client import Store

__all__ = ["Tracker"]

PAUSE_SECONDS = 30.0  # between attempts, while a store refuses everything
STUDY = "study"
NOTE = "mlflow.note.content"
log = logging.getLogger(__name__)


class Tracker:
    """Writes what the result files hold to MLflow; the one writer of a study.

    Whatever goes wrong after :meth:`open` is warned of once and tried again later: the files are
    the truth, and a study does not stop because its view cannot be written.
    """

    def __init__(
        self, store: "Store", runs: TrialRuns, experiment: str, parent: str, plan: Plan
    ) -> None:
        """Use :meth:`open`."""
        self._store, self._runs, self._plan = store, runs, plan
        self._parent, self._page = parent, Page(plan.study, experiment, parent)
        self._due: dict[str, Trial] = {}
        self._running: set[str] = set()
        self._unlogged_study = False
        self._warned = False
        self._quiet_until = 0.0

    @classmethod
    def open(
        cls,
        plan: Plan,
        uri: str | None,
        results: Path,
        study_file: Path,
        provenance: dict[str, Any],
    ) -> "Tracker":
        """Connect, and find or make the experiment and the study's run.

        Args:
            plan: The study with its trials.
            uri: A tracking URI; None for a SQLite file in ``results``.
            results: The result store.
            study_file: The study as the user wrote it.
            provenance: ``commit``, ``host``, ``device``, ``command`` (text), and ``datasets``: data
                set name to ``digest`` and ``source``. All may be missing.

        Raises:
            UsageError: The store cannot be used.
        """
        results = results.resolve()
        address = uri or default_uri(results)
        check_reachable(address)  # before the import of mlflow, which takes seconds
        from qbench.tracking.client import Store, explained
        from qbench.tracking.models import LoggedModels

        own = own_folder(address, results)
        store = Store(address, own)
        study = plan.study
        experiment = store.experiment(study.study, own / "mlflow-artifacts" / study.study)
        common = _common_tags(provenance, study_file)
        with explained(address):
            parent = store.find_or_create(
                experiment, "qbench.study", study.study, study_run_name(study.study),
                common | {"kind": STUDY, NOTE: study.question}, 0,
            )  # fmt: skip
            store.describe(experiment, *_page_tags(Page(study, experiment, parent.run_id)))
            store.resume(parent.run_id, study_run_name(study.study))
            store.log(parent.run_id, tags=common)
            text = study_file.read_text(encoding="utf-8")
            store.client.log_text(parent.run_id, mask_all(text), study_file.name)
            store.client.log_dict(parent.run_id, _plan_as_dict(plan), "plan.json")
        models = LoggedModels(store, experiment)
        runs = TrialRuns(
            store, models, experiment, parent.run_id, plan, results, common, provenance
        )
        return cls(store, runs, experiment, parent.run_id, plan)

    @property
    def pending(self) -> tuple[str, ...]:
        """Names of trials, and ``study``, of which something is not logged."""
        return tuple(sorted(self._due)) + ((STUDY,) if self._unlogged_study else ())

    def ui_command(self) -> str:
        """What to type to browse the runs; for a server, the address to open."""
        return ui_command(self._store.uri)

    def ui_page(self) -> str:
        """The address of the study's page, where the browser is on the server's machine."""
        return ui_address(self._store.uri) + self._page.address()

    def learn(self, plan: Plan) -> None:
        """Go on with a plan that has grown."""
        self._plan = plan
        self._runs.learn(plan)

    def started(self, trial: Trial, label: str = "") -> None:
        """A trial runs: its run is made, or found again and set to running.

        Args:
            trial: The trial.
            label: Its row in the report; by default what the plan says.
        """
        if label:
            self._runs.labels[trial.name] = label
        self._running.add(trial.name)
        self._log(trial)

    def sync(self, trial: Trial) -> None:
        """Log what the trial's files hold and the run does not; costs little if that is nothing."""
        self._log(trial)

    def ended(self, trial: Trial) -> None:
        """Log the rest, the files, and how the trial ended: done, failed or interrupted."""
        self._running.discard(trial.name)
        self._log(trial)

    def sync_all(self, trials: Iterable[Trial]) -> None:
        """Bring the runs of trials up to their files; also makes a lost store again.

        A trial that is not running here and neither done nor failed counts as interrupted. One
        without files has no run.
        """
        results = snapshot(self._runs.results, DECIDING)
        for trial in trials:
            if TrialFolder(results, trial.name).status() != "missing":
                self._due[trial.name] = trial
        self._flush()

    def close(
        self,
        report_folder: Path | None,
        summary: dict[str, Any],
        headline: str = "",
        *,
        interrupted: bool = False,
    ) -> None:
        """Log what is due, the report and the study's figures, and end the study's run.

        Args:
            report_folder: Tables and figures; None if there are none.
            summary: Figures of the study by name; those that are no numbers are passed over.
            headline: The report's answer in one sentence, as plain text.
            interrupted: Whether the study was cut off.
        """
        self._quiet_until = 0.0
        self._flush()
        try:
            self._close(report_folder, summary, headline, interrupted)
            self._unlogged_study = False
        except Exception as error:
            self._unlogged_study = True
            self._warn("the study's report", error)

    def _close(
        self, report: Path | None, summary: dict[str, Any], headline: str, interrupted: bool
    ) -> None:
        client = self._store.client
        known = client.get_run(self._parent).data.metrics
        for name, value in summary.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if number and known.get(safe_name(name)) != value:
                client.log_metric(self._parent, safe_name(name), value)
        if report is not None and report.is_dir():
            client.log_artifacts(self._parent, str(report), "report")
            told = self._page.description(report, headline)
            self._store.describe(self._page.experiment, {NOTE: told}, {})
            self._store.log(self._parent, tags={NOTE: self._page.parent_note(report, headline)})
        results = snapshot(self._runs.results, DECIDING)
        statuses = {TrialFolder(results, name).status() for name in self._plan.trials()}
        failed = "FAILED" if "failed" in statuses else "FINISHED"
        self._store.end(self._parent, "KILLED" if interrupted else failed)

    def _log(self, trial: Trial) -> None:
        self._due[trial.name] = trial
        self._flush()

    def _flush(self) -> None:
        """Log what is due; two failures in a row end the attempt, and start a pause."""
        if time.monotonic() < self._quiet_until:
            return
        failures = 0
        for name, trial in list(self._due.items()):
            try:
                self._runs.write(trial, ended=name not in self._running)
            except Exception as error:
                self._warn(name, error)
                failures += 1
            else:
                del self._due[name]
                failures = 0
            if failures == 2 or (failures and len(self._due) == 1):
                self._quiet_until = time.monotonic() + PAUSE_SECONDS
                return

    def _warn(self, what: str, error: Exception) -> None:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = lines[0].replace(self._store.uri, mask(self._store.uri))[:200]
        level = logging.DEBUG if self._warned else logging.WARNING
        log.log(level, "MLflow did not take %s (%s); it is tried again later", what, reason)
        self._warned = True


def _common_tags(provenance: dict[str, Any], study_file: Path) -> dict[str, str]:
    tags = {
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": str(provenance.get("command", f"qbench run {study_file.name}")),
        "mlflow.source.git.commit": str(provenance.get("commit", "")),
        "qbench.host": str(provenance.get("host", "")),
        "qbench.device": str(provenance.get("device", "")),
    }
    try:
        tags["mlflow.user"] = getpass.getuser()
    except (OSError, KeyError, ImportError):
        tags["mlflow.user"] = ""  # a container's user need not have a name
    return {key: value for key, value in tags.items() if value}


def _page_tags(page: Page) -> tuple[dict[str, str], dict[str, str]]:
    """Tags of the experiment: those that are set, and those that a user may have changed."""
    fixed = {
        "mlflow.experimentKind": "custom_model_development",
        "qbench.study": page.study.study,
    }
    views = table_views(page.study, round(time.time() * 1000))
    return fixed, {**views, NOTE: page.description(None, "")}


def _plan_as_dict(plan: Plan) -> dict[str, Any]:
    return {
        "trials": [
            {"name": cell.trial.name, "label": cell.label, "ablation": cell.ablation}
            for cell in plan.cells
        ],
        "needed": [trial.name for trial in plan.needed],
        "excluded": [excluded.__dict__ for excluded in plan.excluded],
    }
