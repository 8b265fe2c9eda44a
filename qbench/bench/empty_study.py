"""``python -m qbench.bench.empty_study FACTS STUDY…``: the run command with trials that do nothing.

What it took is written to the file FACTS: ``before`` and ``running``, seconds until the trials
start and until the last has ended.
"""

import json
import runpy
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from qbench.execution.execute import execute
from qbench.execution.jobs import Outcome

__all__ = ["main"]


def main() -> None:
    """Run the study, and write the facts whatever its exit code."""
    begin, facts = time.monotonic(), Path(sys.argv.pop(1))
    times: dict[str, float] = {}

    def execute_empty(*arguments: Any, **options: Any) -> Outcome:
        times["before"] = time.monotonic() - begin
        outcome = execute(*arguments, **options, run="qbench.bench.scaling:train")
        times["running"] = time.monotonic() - begin - times["before"]
        return outcome

    try:
        with patch("qbench.session.execute", execute_empty):
            runpy.run_module("qbench.run", run_name="__main__")
    finally:  # the command ends in an exit
        facts.write_text(json.dumps(times), encoding="utf-8")


if __name__ == "__main__":
    main()
