"""The networks of a study as MLflow's logged models: one for each trial that is done."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.exceptions import MlflowException

from qbench.storage import local_copy
from qbench.tracking.client import data_digest
from qbench.tracking.history import Point

if TYPE_CHECKING:
    from qbench.tracking.client import Store

__all__ = ["LoggedModels"]

PAGE = 1000  # models a call
TESTED = "final/test/"


class LoggedModels:
    """The logged models of an experiment, each found by the run that made it.

    They are looked up once, by a single call; a server that knows none of them has none.
    """

    def __init__(self, store: "Store", experiment: str) -> None:
        """Look up nothing so far.

        Args:
            store: The tracking store.
            experiment: The experiment's id.
        """
        self._store, self._experiment = store, experiment
        self._known: dict[str, LoggedModel] = {}
        self._looked = False
        self._unknown_here = False

    def write(
        self,
        run_id: str,
        name: str,
        params: dict[str, str],
        tags: dict[str, str],
        file: Path,
        *,
        upload: bool,
    ) -> str:
        """Make the model of a run where there is none.

        Args:
            run_id: The run that trained it.
            name: Its name in the list of models, which MLflow cannot change.
            params: The trial's axes, ``model`` among them.
            tags: What may change.
            file: The deployed network.
            upload: Whether the file becomes its artifact; its path is told in any case.

        Returns:
            The model's id; empty where the server has no logged models.
        """
        client = self._store.client
        model, tags = self._find(run_id), tags | {"file": str(file)}
        if model is None:
            if self._unknown_here:
                return ""
            model = client.create_logged_model(
                self._experiment,
                name=_model_name(name),
                source_run_id=run_id,
                tags=tags,
                params=params,
                model_type=params["model"],
            )
        elif not tags.items() <= model.tags.items():
            client.set_logged_model_tags(model.model_id, tags)
        if model.status != LoggedModelStatus.READY:  # new, or cut off before
            if upload:
                with local_copy(file) as copy:
                    client.log_model_artifact(model.model_id, str(copy))
            model = client.finalize_logged_model(model.model_id, "READY")
        self._known[run_id] = model
        return str(model.model_id)

    def link(self, run_id: str, model_id: str) -> None:
        """Name the model among the run's outputs; once, MLflow would keep a second mention."""
        self._store.client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])

    def scores(
        self, points: Sequence[Point], model_id: str, data: str, digest: str
    ) -> list[Metric]:
        """Metrics of a run; those of the test images are the model's too, on that data set.

        Args:
            points: Single values.
            model_id: The model; empty for none.
            data: The data set's name.
            digest: A hash of its images; empty where it is not known.
        """
        on = {"dataset_name": data, "dataset_digest": data_digest(digest, "test")} if digest else {}
        return [
            Metric(*point, model_id=model_id, **on)
            if model_id and point.key.startswith(TESTED)
            else Metric(*point)
            for point in points
        ]

    def delete(self, run_id: str) -> None:
        """Move the model of a run to MLflow's trash."""
        model = self._find(run_id)
        if model is not None:
            self._store.client.delete_logged_model(model.model_id)
            del self._known[run_id]

    def _find(self, run_id: str) -> LoggedModel | None:
        if not self._looked:
            self._known = {str(model.source_run_id): model for model in self._all()}
            self._looked = True
        return self._known.get(run_id)

    def _all(self) -> Iterator[LoggedModel]:
        token = None
        while True:
            try:
                page = self._store.client.search_logged_models(
                    [self._experiment], max_results=PAGE, page_token=token
                )
            except MlflowException as error:
                if error.error_code != "ENDPOINT_NOT_FOUND":
                    raise
                self._unknown_here = True  # a server older than MLflow 3
                return
            yield from page
            token = page.token
            if not token:
                return


def _model_name(name: str) -> str:
    """A name that MLflow takes, which refuses some signs."""
    return "".join("_" if sign in "/:.%\"'" else sign for sign in name)[:250]
