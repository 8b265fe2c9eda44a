"""What only a drawing needs of a trial, read when it is drawn: layers over epochs, and points."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from qbench.reporting.collect import TrialResult
from qbench.storage import remembering
from qbench.store import TrialFolder

__all__ = ["LAYER_MEASURES", "Traces"]

LAYER_MEASURES = (
    "discretization/latent_error", "discretization/train_deploy_gap",
    "gradient/flip_set_r_1pct", "dynamics/oscillation_rate", "dynamics/flip_rate",
)  # fmt: skip
"""What is drawn of single layers; a file is read once for all of them."""


class Traces:
    """Reads the long tables of single trials; of thousands of trials few are drawn."""

    def __init__(self, results: Path) -> None:
        """Read from the result store ``results``; nothing is opened before it is asked for."""
        self.results = results
        self.damaged: dict[str, None] = {}
        """Names of trials of which a table could not be read; their drawings lack it."""
        self._layers: dict[str, dict[str, pd.DataFrame]] = {}

    def layers(self, result: TrialResult, name: str) -> pd.DataFrame:
        """The values of one of ``LAYER_MEASURES`` by layer and epoch.

        Returns:
            Columns ``epoch``, ``layer``, ``name``, ``value``, in the order of the file.
        """
        trial = result.trial.name
        if trial not in self._layers:
            whole = self._read(result, "layers.parquet", LAYER_MEASURES, ("value",))
            parts = {str(name): part for name, part in whole.groupby("name", sort=False)}
            self._layers[trial] = {"": whole.iloc[:0], **parts}
        found = self._layers[trial]
        return found.get(name, found[""])

    def points(self, result: TrialResult, name: str) -> pd.DataFrame:
        """The points of one name at their last measurement.

        Returns:
            Columns ``epoch``, ``layer``, ``name``, ``x``, ``y``, in the order of the file.
        """
        found = self._read(result, "points.parquet", [name], ("x", "y"))
        return found[found["epoch"] == found["epoch"].max()]

    def _read(
        self, result: TrialResult, file: str, names: Sequence[str], values: tuple[str, ...]
    ) -> pd.DataFrame:
        columns = ["epoch", "layer", "name", *values]
        folder = TrialFolder(remembering(self.results), result.trial.name)
        try:
            if folder.damaged(names=[file]):
                raise ValueError(f"{file} is not as recorded")
            table = folder.read_table(file).select(columns)
            wanted = pc.is_in(table.column("name"), pa.array(names, pa.string()))
            frame: pd.DataFrame = table.filter(wanted).to_pandas()
        except (OSError, ValueError, TypeError, KeyError, pa.ArrowException):
            self.damaged[result.trial.name] = None
            return pd.DataFrame({column: [] for column in columns})
        return frame
