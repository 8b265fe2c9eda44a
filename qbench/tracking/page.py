"""What a visitor of the study's page in MLflow reads first: a description and a table view."""

import json
from pathlib import Path

from qbench.study.schema import Study

__all__ = ["description", "page_address", "study_run_name", "table_view"]

VIEW = "qbench"
RUN_NAME = "attributes.`Run Name`"
WIDTHS = {
    "metrics.`final/test/accuracy`": 160,
    "metrics.`final/test/gap`": 110,
    "metrics.`discretization/train_deploy_gap_db`": 150,
    "metrics.`cost/total_seconds`": 150,
    "params.`quantizer`": 120,
    "params.`model`": 110,
    "params.`data`": 100,
    "params.`weight_bits`": 100,
    "params.`activation_bits`": 120,
    "params.`seed`": 70,
    "tags.`qbench.state`": 110,
}
"""The columns of the saved view, as MLflow's page names them, and their widths in pixels."""


def page_address(experiment: str) -> str:
    """The part of the address after the server's, of the study's page in the saved view.

    Args:
        experiment: The experiment's id.
    """
    return f"/#/experiments/{experiment}/runs?viewStateShareKey={VIEW}"


def description(study: Study, experiment: str, report: Path | None) -> str:
    """The experiment's description, in Markdown.

    Args:
        study: The study.
        experiment: The experiment's id.
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

**[All trials, best first]({page_address(experiment)[1:]})** (also in the menu **Views**). \
This page is a view of the result files; running the study again makes it again.

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
        "selectedColumns": list(WIDTHS),
        "columnOrder": [RUN_NAME, *WIDTHS],
        "columnWidths": {RUN_NAME: 330, **WIDTHS},
    }
    view = {
        "name": VIEW,
        "createdAt": milliseconds,
        "updatedAt": milliseconds,
        "state": json.dumps(state),
    }
    return f"mlflow.sharedViewState.{VIEW}", json.dumps(view)
