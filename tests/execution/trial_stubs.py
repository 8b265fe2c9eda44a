"""Stands in for training: small generators that a worker can import."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from qbench.store import RESULT_FILES, Failure, TrialFolder
from qbench.study.trial import Trial
from qbench.training.site import Site


def finish(trial: Trial, site: Site) -> None:
    """Write the files of a trial that is done."""
    folder = TrialFolder(site.results, trial.name)
    for name in RESULT_FILES:
        folder.write_json(name, {"file": name, "seed": trial.seed})
    folder.finish()


def train(trial: Trial, site: Site) -> Iterator[dict[str, float | int]]:
    """Two epochs; the model's option ``act`` says what goes wrong."""
    folder = TrialFolder(site.results, trial.name)
    options: dict[str, Any] = trial.model.options
    act = options.get("act")
    checkpoint = folder.path / "checkpoint.pt"
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    with (site.results / "starts").open("a") as log:
        log.write(json.dumps({"name": trial.name, "pid": os.getpid(), "first": first}) + "\n")
    if trial.needs and TrialFolder(site.results, trial.needs).status() != "done":
        raise RuntimeError("started before the trial that it needs was done")
    try:
        for epoch in range(first, options.get("epochs", 2)):
            time.sleep(options.get("seconds", 0))
            folder.write("checkpoint.pt", str(epoch + 1).encode())
            if act == "die":
                print("last words", file=sys.stderr, flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            if act == "terminated once" and first == 0:  # as Ray ends workers when a run is stopped
                os.kill(os.getpid(), signal.SIGTERM)
            while act == "hang":
                time.sleep(1)
            if act == "exit":
                raise SystemExit(3)
            if act == "raise":
                raise ValueError("a defect")
            yield {"epoch": epoch, "epochs": 2, "first": first}
    except GeneratorExit:
        (site.results / "closed").write_text(trial.name)
        raise
    if act == "diverge":
        folder.fail(Failure("diverged", "the loss is not finite"))
    else:
        finish(trial, site)
    if act == "die later":  # the process, once the trial is over
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGKILL)).start()
