"""What only a drawing needs of a trial, read when it is drawn: layers over epochs, and points."""

from collections.abc import Iterable, Sequence
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
        self._layers: dict[str, pa.Table] = {}

    def layers(self, results: Iterable[TrialResult], name: str) -> pd.DataFrame:
        """The values of one of ``LAYER_MEASURES`` by trial, layer and epoch.

        Returns:
            Columns ``trial``, ``epoch``, ``layer``, ``value``: trial by trial, in the order of
            their files.
        """
        columns = ["trial", "epoch", "layer", "value"]
        tables = [self._whole(result) for result in results]
        if not tables:
            return pd.DataFrame({column: [] for column in columns})
        found: pd.DataFrame = _named(pa.concat_tables(tables), [name]).select(columns).to_pandas()
        return found

    def _whole(self, result: TrialResult) -> pa.Table:
        trial = result.trial.name
        if trial not in self._layers:
            table = self._read(result, "layers.parquet", LAYER_MEASURES, ("value",))
            names = pa.repeat(pa.scalar(trial), len(table))
            self._layers[trial] = table.append_column("trial", names)
        return self._layers[trial]

    def points(self, result: TrialResult, name: str) -> pd.DataFrame:
        """The points of one name at their last measurement.

        Returns:
            Columns ``epoch``, ``layer``, ``name``, ``x``, ``y``, in the order of the file.
        """
        found: pd.DataFrame = self._read(result, "points.parquet", [name], ("x", "y")).to_pandas()
        return found[found["epoch"] == found["epoch"].max()]

    def _read(
        self, result: TrialResult, file: str, names: Sequence[str], values: tuple[str, ...]
    ) -> pa.Table:
        kinds = {"epoch": pa.int64(), "layer": pa.string(), "name": pa.string()}
        schema = pa.schema(kinds | dict.fromkeys(values, pa.float64()))
        folder = TrialFolder(remembering(self.results), result.trial.name)
        try:
            if folder.damaged(names=[file]):
                raise ValueError(f"{file} is not as recorded")
            return _named(folder.read_table(file).select(schema.names).cast(schema), names)
        except (OSError, ValueError, TypeError, KeyError, pa.ArrowException):
            self.damaged[result.trial.name] = None
            return schema.empty_table()


def _named(table: pa.Table, names: Sequence[str]) -> pa.Table:
    return table.filter(pc.is_in(table.column("name"), pa.array(names, pa.string())))
