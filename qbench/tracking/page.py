"""What a visitor of the study's page in MLflow reads first: descriptions and saved views."""

import json
from dataclasses import dataclass
from pathlib import Path

from qbench.study.schema import Study
from qbench.tracking.content import escaped

__all__ = ["Page", "study_run_name", "table_views"]

TRIALS, MEANS = "qbench", "qbench-means"  # keys of the saved views
RUN_NAME = "attributes.`Run Name`"
WIDTHS = {
    "metrics.`final/test/accuracy`": 150,
    "metrics.`final/test/gap`": 110,
    "metrics.`cost/train_seconds`": 150,
    "metrics.`cost/deployed_bytes`": 155,
    "tags.`quantizer`": 110,
    "tags.`bits`": 75,
    "tags.`seed`": 60,
    "tags.`state`": 70,
    "tags.`model`": 90,
    "tags.`data`": 90,
}
"""The columns of the saved views, as MLflow's page names them, and their widths in pixels."""
EVERY = "tags.kind = 'trial'"
FINALS = f"{EVERY} and tags.tuning IS NULL"
SEARCHES = "tags.tuning LIKE 'round%'"
SECTIONS = (
    "accuracy and cost", "validation", "train", "discretization", "gradient", "dynamics", "codes",
    "output", "final/test", "final/validation", "cost",
)  # fmt: skip
"""Groups of charts in the order of reading; others follow."""


@dataclass(frozen=True)
class Page:
    """The study's page."""

    study: Study
    experiment: str
    """The experiment's id."""
    parent: str
    """The id of the study's run."""

    def address(self, view: str = TRIALS, *, charts: bool = False) -> str:
        """The part of the address after the server's, of a saved view of the runs."""
        mode = "&compareRunsMode=CHART" if charts else ""
        return f"/#/experiments/{self.experiment}/runs?{_query(view)}{mode}"

    def description(self, report: Path | None, headline: str) -> str:
        """The experiment's description, in Markdown.

        Args:
            report: The folder of tables and figures, once there is one.
            headline: The report's answer, as plain text.
        """
        rows = self.study.quantizers
        first = next((row for row in rows if row.name != "float"), rows[0])
        where = (
            f"{self._report_link(report)} · also in `{report}`"
            if report is not None
            else "Tables and figures follow when the study has run."
        )
        return f"""{self.study.question.strip()}{_strong(headline)}

{where}

[All trials, best first]({self.address()[1:]}) · \
[means over seeds]({self.address(MEANS)[1:]}) · \
[curves, means over seeds]({self.address(MEANS, charts=True)[1:]}) · \
[networks](#/experiments/{self.experiment}/models?{QUERY})

| to see | search runs for |
|---|---|
| trials only | `tags.kind = 'trial'` |
| one quantizer | `tags.quantizer = '{first.name}'` |
| one setting | `tags.bits = '{self.study.bits[0]}' and tags.seed = '{self.study.seeds[0]}'` |
| one row of the report | `tags.row = '{first.label or first.name}'` |
| what failed | `tags.state = 'failed'` |
{_searches(self.study)}| good ones | `` metrics.`final/test/accuracy` > 0.9 `` |

This page is a view of the result files; running the study again makes it again.
"""

    def parent_note(self, report: Path, headline: str) -> str:
        """The description of the study's run, in Markdown: the answer, the report, a figure.

        Args:
            report: The folder of tables and figures.
            headline: The report's answer, as plain text.
        """
        parts = [self.study.question.strip() + _strong(headline), self._report_link(report)]
        figure = next(iter(sorted((report / "figures").glob("accuracy*.png"))), None)
        if figure is not None:
            path = f"report/figures/{figure.name}"
            parts.append(f"![{figure.stem}](get-artifact?path={path}&run_uuid={self.parent})")
        return "\n\n".join(parts)

    def _report_link(self, report: Path) -> str:
        names = [name for name in ("report.html", "report.md") if (report / name).is_file()]
        start = f"#/experiments/{self.experiment}/runs/{self.parent}/artifacts/report"
        links = [f"[{name}]({start}/{name}?{QUERY})" for name in names]
        return f"**Tables and figures:** {' · '.join([*links, f'[all files]({start}?{QUERY})'])}"


def _searches(study: Study) -> str:
    """The line about searches, of a study that is tuned."""
    return f"| trials of searches | `{SEARCHES}` |\n" if study.tuning is not None else ""


def study_run_name(study: str) -> str:
    """The name of the parent run."""
    return f"study · {study}"


def table_views(study: Study, milliseconds: int) -> dict[str, str]:
    """Saved views of the runs, as tags of the experiment: their names and values.

    Args:
        study: Of one that is tuned, they leave out the trials of searches.
        milliseconds: Unix time of the views.
    """
    shown = FINALS if study.tuning is not None else EVERY
    groups = [{"mode": "tag", "groupByData": "group"}]
    grouped = {"groupBy": {"aggregateFunction": "average", "groupByKeys": groups}}
    return {
        f"mlflow.sharedViewState.{key}": json.dumps(
            {
                "name": name,
                "createdAt": milliseconds,
                "updatedAt": milliseconds,
                "state": json.dumps(_state(shown) | more),
            }
        )
        for key, name, more in (
            (TRIALS, "trials, best first", {}),
            (MEANS, "means over seeds", grouped),
        )
    }


def _state(shown: str) -> dict[str, object]:
    return {
        "searchFilter": shown,
        "orderByKey": "metrics.`final/test/accuracy`",
        "orderByAsc": False,
        "selectedColumns": list(WIDTHS),
        "columnOrder": [RUN_NAME, *WIDTHS],
        "columnWidths": {RUN_NAME: 320, **WIDTHS},
        "runsHiddenMode": "FIRST_20_RUNS",
        "compareRunCharts": [
            {
                "uuid": f"qbench-scatter-{name}",
                "type": "SCATTER",
                "metricSectionId": f"qbench-{SECTIONS[0]}",
                "xaxis": {"key": name, "type": "METRIC"},
                "yaxis": {"key": "final/test/accuracy", "type": "METRIC"},
                "runsCountToCompare": 100,
                "deleted": False,
                "isGenerated": False,
            }
            for name in ("cost/deployed_bytes", "cost/train_seconds")
        ],
        "compareRunSections": [
            {"uuid": f"qbench-{name}", "name": name, "display": True, "isReordered": False}
            for name in SECTIONS
        ],
        "isAccordionReordered": True,
    }


QUERY = "workflowType=machine_learning"  # without it the page shows what is for language models


def _query(view: str) -> str:
    return f"{QUERY}&viewStateShareKey={view}"


def _strong(headline: str) -> str:
    return f"\n\n**{escaped(headline.strip())}**" if headline.strip() else ""
