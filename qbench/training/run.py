"""Running a trial to its end, whatever happens: a result, or the reason why there is none."""

import traceback
from collections.abc import Iterator

import torch

from qbench.diagnostics.precision import products_in
from qbench.registry import load_plugin
from qbench.store import Failure, TrialFolder, is_full
from qbench.study.trial import Trial
from qbench.training.allocator import keep_freed_memory
from qbench.training.environment import peak_memory, reset_peak_memory
from qbench.training.loop import DivergedError, train
from qbench.training.peers import peers
from qbench.training.setup import StartError
from qbench.training.site import Site

__all__ = ["run_trial"]


def run_trial(trial: Trial, site: Site) -> Iterator[dict[str, float]]:
    """Train a trial and write its files; ``done`` or ``failed.json`` comes last.

    Args:
        trial: What to train; continued from its last checkpoint.
        site: Where.

    Raises:
        StorageError: The store of the results is away; nothing is recorded.

    Yields:
        After each epoch ``{"epoch": …, "epochs": …}`` with the epoch's values by name.

    Raises:
        OSError: The trial's files cannot be written.
    """
    folder = TrialFolder(site.results, trial.name)
    (folder.path / "failed.json").unlink(missing_ok=True)
    try:
        for plugin in site.plugins:
            load_plugin(plugin)
        _set_process(site)
        # torch's convolutions have TF32 by default
        with peers(trial, site), products_in("ieee"):
            for rows in train(trial, site):
                values: dict[str, float] = {row.name: row.value for row in rows}
                epoch = rows[-1].epoch if rows else trial.last_epoch
                yield {"epoch": epoch, "epochs": trial.last_epoch} | values
        folder.finish()
    except Exception as error:  # whatever a plug-in raises: the study goes on, the reason is kept
        if is_full(error):
            raise
        folder.fail(_explain(error, site.device))


def _set_process(site: Site) -> None:
    torch.set_num_threads(site.threads)
    torch.backends.cudnn.benchmark = False
    keep_freed_memory()
    reset_peak_memory(site.device)


def _explain(error: Exception, device: str) -> Failure:
    text = str(error) or type(error).__name__
    details = "".join(traceback.format_exception(error))
    if isinstance(error, DivergedError):
        return Failure("diverged", text)
    if isinstance(error, StartError):
        return Failure("start failed", text)
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in text:
        message = (
            f"{text.splitlines()[0]}; the trial held {peak_memory(device) / 2**30:.1f} GiB at its "
            "peak; make training.batch smaller, or give the trial a larger share of the device"
        )
        return Failure("out of memory", message, details)
    return Failure("error", f"{type(error).__name__}: {text.splitlines()[0]}", details)
