"""What a visitor of the study's page in MLflow reads first: a description and a table view."""

import json
from pathlib import Path

from qbench.study.schema import Study

__all__ = ["COLUMNS", "description", "table_view"]

COLUMNS = (
    "attributes.`Duration`",
    "params.`quantizer`",
    "params.`model`",
    "params.`data`",
    "params.`weight_bits`",
    "params.`activation_bits`",
    "params.`seed`",
    "metrics.`final/test/accuracy`",
    "metrics.`final/test/gap`",
    "metrics.`discretization_error`",
    "metrics.`cost/total_seconds`",
    "tags.`qbench.state`",
)
"""The columns of the saved view, as MLflow's page names them."""


def description(study: Study, report: Path | None) -> str:
    """The experiment's description, in Markdown.

    Args:
        study: The study.
        report: The folder of its tables and figures, once there is one.
    """
    first = study.quantizers[0].name
    bits = study.bits[0]
    where = (
        f"Tables and figures: `{report.resolve()}`, and the artifacts of the run "
        f"*{study_run_name(study.study)}*."
        if report is not None
        else "Tables and figures follow when the study has run."
    )
    return f"""{study.question.strip()}

{where}

This page is a view of the result files; `python -m qbench.run` on the study file makes it again.
The view *qbench* (menu **Views**) shows one row a trial with its deployed test accuracy.

| to see | search for |
|---|---|
| one quantizer | `params.quantizer = '{first}'` |
| one setting | `params.weight_bits = '{bits.weight}' and params.activation_bits = \
'{bits.activation}'` |
| one row of the report | `tags.`qbench.label` = '{study.quantizers[0].label or first}'` |
| what failed | `tags.`qbench.state` = 'failed'` |
| trials only | `tags.`qbench.kind` = 'trial'` |
| good ones | `metrics.`final/test/accuracy` > 0.9` |
"""


def study_run_name(study: str) -> str:
    """The name of the parent run."""
    return f"study · {study}"


def table_view(milliseconds: int) -> tuple[str, str]:
    """The tag that makes a saved view of the table of runs: its name and its value.

    Args:
        milliseconds: Unix time of the view.
    """
    state = {
        "searchFilter": "tags.`qbench.kind` = 'trial'",
        "orderByKey": "metrics.`final/test/accuracy`",
        "orderByAsc": False,
        "selectedColumns": list(COLUMNS),
        "columnOrder": list(COLUMNS),
    }
    view = {
        "name": "qbench",
        "createdAt": milliseconds,
        "updatedAt": milliseconds,
        "state": json.dumps(state),
    }
    return "mlflow.sharedViewState.qbench", json.dumps(view)
