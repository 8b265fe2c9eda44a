"""MLflow's client with what qbench needs of it: runs found again by a tag, metrics in batches."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from qbench.errors import UsageError
from qbench.tracking.address import mask, sqlite_file
from qbench.tracking.history import Point

for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # a server that is gone must not hold up the study
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}.items():
    os.environ.setdefault(_name, _value)  # read by mlflow when it is imported, so before that
logging.getLogger("alembic").setLevel(logging.WARNING)
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # the tracker tells it once

from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import (  # noqa: E402
    Dataset,
    DatasetInput,
    InputTag,
    Metric,
    Param,
    RunStatus,
    RunTag,
)

__all__ = ["FoundRun", "Store", "data_digest", "explained"]

BATCH = 1000  # metrics a call, MLflow's limit
PARAMS = 100  # parameters, or tags, a call
LOCK_SECONDS = 120.0  # making a fresh database takes about ten seconds


@dataclass
class FoundRun:
    """A run as it is in the store."""

    run_id: str
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    has_inputs: bool = False
    has_outputs: bool = False
    is_new: bool = False


class Store:
    """A tracking store that is known to answer."""

    def __init__(self, uri: str, results: Path) -> None:
        """Connect, and make the database where there is none.

        Args:
            uri: An absolute tracking URI.
            results: The local folder of the lock, where the database is no file.

        Raises:
            UsageError: The store cannot be used.
        """
        self.uri = uri
        self.is_server = uri.startswith(("http:", "https:", "databricks"))
        self.is_beside_results = sqlite_file(uri) == Path(results) / "mlflow.db"
        file = sqlite_file(uri) or Path(results) / "mlflow"
        self.lock = FileLock(f"{file}.lock", timeout=LOCK_SECONDS)
        with explained(uri):
            file.parent.mkdir(parents=True, exist_ok=True)
            if not self.is_server:
                _probe_database(uri)
            with self.lock:  # processes that migrate one fresh database at once crash
                self.client = MlflowClient(tracking_uri=uri)
                self.client.get_experiment_by_name("Default")

    def experiment(self, name: str, artifacts: Path) -> str:
        """The id of the experiment, made or taken out of MLflow's trash if need be.

        Args:
            name: The experiment's name.
            artifacts: The folder of a new experiment's artifacts; a server chooses its own.

        Raises:
            UsageError: The store lies in the results, which were moved since it was made.
        """
        location = None if self.is_server else artifacts.as_uri()
        with explained(self.uri), self.lock:
            found = self.client.get_experiment_by_name(name)
            if found is None:
                return str(self.client.create_experiment(name, location))
            if found.lifecycle_stage == "deleted":
                self.client.restore_experiment(found.experiment_id)
        if self.is_beside_results and found.artifact_location != location:
            raise UsageError(
                f"the tracking store {self.uri} keeps files in {found.artifact_location}, since "
                f"the results were moved; delete {sqlite_file(self.uri)} and run the study again, "
                "which makes it anew from the results"
            )
        return str(found.experiment_id)

    def describe(self, experiment: str, tags: dict[str, str], defaults: dict[str, str]) -> None:
        """Tag an experiment.

        Args:
            experiment: Its id.
            tags: Set, whatever is there.
            defaults: Set where there is none.
        """
        known = self.client.get_experiment(experiment).tags
        for key, value in {**defaults, **known, **tags}.items():
            if known.get(key) != value:
                self.client.set_experiment_tag(experiment, key, value)

    def find(self, experiment: str, key: str, value: str) -> FoundRun | None:
        """The run that carries a tag; the oldest, if there are several."""
        runs = self.client.search_runs(
            [experiment],
            filter_string=f"tags.`{key}` = '{value}'",
            order_by=["attributes.start_time ASC"],
            max_results=1,
        )
        if not runs:
            return None
        run = runs[0]
        inputs = run.inputs.dataset_inputs if run.inputs is not None else []
        outputs = run.outputs.model_outputs if run.outputs is not None else []
        data = run.data
        return FoundRun(
            run.info.run_id, dict(data.tags), dict(data.params), dict(data.metrics),
            bool(inputs), bool(outputs),
        )  # fmt: skip

    def find_or_create(
        self, experiment: str, key: str, value: str, name: str, tags: dict[str, str], started: int
    ) -> FoundRun:
        """The run that carries ``key: value``; made under the lock, so never twice.

        Args:
            experiment: The experiment's id.
            key: The tag's name.
            value: The tag's value.
            name: The name of a new run.
            tags: More tags of a new run.
            started: Unix milliseconds at which a new run starts; 0 for now.
        """
        with self.lock:
            found = self.find(experiment, key, value)
            if found is not None:
                return found
            tags = {key: value, **tags}
            run = self.client.create_run(
                experiment, start_time=started or None, tags=_short(tags), run_name=name
            )
            return FoundRun(run.info.run_id, dict(run.data.tags), is_new=True)

    def log(
        self,
        run_id: str,
        points: Sequence[Point] = (),
        params: dict[str, str] | None = None,
        tags: dict[str, str] | None = None,
        scores: Sequence[Metric] = (),
    ) -> None:
        """Log in as few calls as MLflow allows; the tags go with the last, after the metrics.

        Args:
            run_id: The run.
            points: Metrics of the run.
            params: Parameters, which are written once.
            tags: Tags.
            scores: Metrics of the run that are its model's too.
        """
        metrics = [*(Metric(*point) for point in points), *scores]
        batches = [metrics[start : start + BATCH] for start in range(0, len(metrics), BATCH)]
        entries = [Param(key, value) for key, value in list((params or {}).items())[:PARAMS]]
        marks = [RunTag(key, value) for key, value in _short(tags or {}).items()]
        *first, last = batches or [[]]
        for batch in first:
            self.client.log_batch(run_id, metrics=batch)
        if last or entries or marks:
            self.client.log_batch(run_id, metrics=last, params=entries, tags=marks)

    def log_data(self, run_id: str, name: str, digest: str, source: str) -> None:
        """Record the data set of a run, for training and for testing.

        Args:
            run_id: The run.
            name: The data set's name.
            digest: A hash of its images.
            source: Where it was read from.
        """
        inputs = [
            DatasetInput(
                Dataset(
                    name=name[:500],
                    digest=data_digest(digest, context),
                    source_type="local",
                    source=source or name,
                ),
                [InputTag("mlflow.data.context", context)],
            )
            for context in ("train", "test")
        ]
        self.client.log_inputs(run_id, inputs)

    def log_file(self, run_id: str, path: Path) -> None:
        """Log a file as an artifact."""
        self.client.log_artifact(run_id, str(path))

    def rename(self, run_id: str, name: str) -> None:
        """Give a run another name."""
        self.client.update_run(run_id, name=name)

    def delete(self, run_id: str) -> None:
        """Move a run to MLflow's trash."""
        self.client.delete_run(run_id)

    def resume(self, run_id: str, name: str) -> None:
        """Set a run's status to running, and its name."""
        self.client.update_run(run_id, status=RunStatus.to_string(RunStatus.RUNNING), name=name)

    def end(self, run_id: str, status: str, milliseconds: int = 0) -> None:
        """End a run as ``FINISHED``, ``FAILED`` or ``KILLED``; 0 milliseconds stand for now."""
        self.client.set_terminated(run_id, status, milliseconds or None)

    def remove_tags(self, run: FoundRun, *keys: str) -> None:
        """Remove tags where they are."""
        for key in keys:
            if run.tags.pop(key, None) is not None:
                self.client.delete_tag(run.run_id, key)


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn what libraries raise about a store into one sentence.

    Raises:
        UsageError: In place of any other exception; it shows no password.
    """
    try:
        yield
    except UsageError:
        raise
    except Timeout:
        raise UsageError(
            f"the tracking store {mask(uri)} is locked by another process; wait until it ends"
        ) from None
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = lines[0].replace(uri, mask(uri)).rstrip(".")
        raise UsageError(
            f"the tracking store {mask(uri)} cannot be used: {reason}; correct tracking.uri, or "
            "set tracking.enabled=false"
        ) from None


def data_digest(digest: str, context: str) -> str:
    """What MLflow calls one part of a data set: of two equal digests it drops one."""
    return f"{digest[:12]}-{context}"


def _probe_database(uri: str) -> None:
    """Connect once, since MLflow tries ten times with growing pauses."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri)
    try:
        sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()


def _short(tags: dict[str, Any]) -> dict[str, str]:
    return {key: str(value)[:5000] for key, value in tags.items()}  # MLflow's limit is 8000 bytes
