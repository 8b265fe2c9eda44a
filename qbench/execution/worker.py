"""The Ray actor that runs one trial after the other; the process and its imports stay."""

import os
import threading
import time
from typing import Any

from ray import get_runtime_context
from ray.tune import Trainable

from qbench.execution.jobs import Job, Values, run_job
from qbench.store import Failure, TrialFolder

__all__ = ["Worker"]

SECONDS_PER_REPORT = 1.0  # a report costs about 0.1 s of the driver's loop


class Worker(Trainable):  # type: ignore[misc]
    """Runs the trial of its configuration; ``reset_config`` brings the next one."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take the trial; it starts with the first ``step``, since Tune may yet withdraw it."""
        os.environ["QBENCH_NODE"] = get_runtime_context().get_node_id()  # for environment.json
        job = Job.from_json(config["job"])
        self._epochs = run_job(job, config["run"])
        self._alarm = threading.Timer((job.site.timeout_minutes or 0) * 60, _end, (job,))
        if job.site.timeout_minutes is not None:
            self._alarm.daemon = True
            self._alarm.start()

    def step(self) -> dict[str, Any]:
        """Train for about a second, at least an epoch; say what the last epoch said."""
        values: Values = {}
        until = time.monotonic() + SECONDS_PER_REPORT
        for values in self._epochs:
            if time.monotonic() >= until:
                return {"values": values, "done": False}
        self._alarm.cancel()
        return {"values": values, "done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another trial in the same process."""
        self.cleanup()
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        """Close the trial, so that it lets go of its files."""
        self._alarm.cancel()
        self._epochs.close()


def _end(job: Job) -> None:
    """End this process, in which a trial has run too long: nothing less stops a plug-in's loop."""
    message = f"it ran for more than resources.timeout_minutes={job.site.timeout_minutes:g}"
    TrialFolder(job.site.results, job.trial.name).fail(Failure("timeout", message))
    os._exit(1)
