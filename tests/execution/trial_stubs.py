"""Stands in for training: small generators that a worker can import."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

from qbench.store import RESULT_FILES, Failure, TrialFolder
from qbench.study.trial import Trial
from qbench.training.site import Site


def _finish(folder: TrialFolder, trial: Trial) -> None:
    for name in RESULT_FILES:
        folder.write_json(name, {"file": name, "seed": trial.seed})
    folder.finish()


def train(trial: Trial, site: Site) -> Iterator[dict[str, float | int]]:
    """Two epochs; the model's option ``act`` says what goes wrong."""
    folder = TrialFolder(site.results, trial.name)
    act: dict[str, Any] = trial.model.options
    with (site.results / "starts").open("a") as log:
        line = {"name": trial.name, "seed": trial.seed, "pid": os.getpid(), "time": time.time()}
        log.write(json.dumps(line) + "\n")
    if needs := trial.needs:
        assert TrialFolder(site.results, needs).status() == "done"
    first = 0
    if (folder.path / "checkpoint.pt").exists():
        first = int((folder.path / "checkpoint.pt").read_text())
    for epoch in range(first, int(act.get("epochs", 2))):
        time.sleep(act.get("seconds", 0))
        folder.write("checkpoint.pt", str(epoch + 1).encode())
        if act.get("die") == "always" or (act.get("die") == "once" and first == 0):
            os.kill(os.getpid(), signal.SIGKILL)
        if act.get("die") == "exit":
            raise SystemExit(3)
        if act.get("die") == "raise":
            raise ValueError("a defect")
        yield {"epoch": epoch, "epochs": 2, "first": first}
    if act.get("die") == "diverge":
        folder.fail(Failure("diverged", "the loss is not finite"))
        return
    if act.get("die") != "silently":
        _finish(folder, trial)
    if act.get("die") == "later":  # the process, once the trial is over
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGKILL)).start()
