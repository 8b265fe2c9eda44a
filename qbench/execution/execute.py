"""The one entry: run jobs, in this process or through Ray."""

import os
from collections.abc import Sequence

from qbench.execution.address import check_address
from qbench.execution.environment import environment, settings
from qbench.execution.jobs import Job, More, Outcome, Queue, Watcher
from qbench.execution.local import run_here
from qbench.execution.resources import check_cpus, check_gpus, check_request
from qbench.study.schema import Resources

__all__ = ["RUN_TRIAL", "check", "execute"]

RUN_TRIAL = "qbench.training.run:run_trial"


def check(resources: Resources, *, local: bool, address: str | None) -> None:
    """Refuse, in seconds and without Ray, what cannot run; the arguments are those of ``execute``.

    Raises:
        UsageError: A trial asks for more than this machine has, or the cluster does not answer.
    """
    check_request(resources)
    if address and not local:
        check_address(address)
    else:
        check_cpus(resources)
        check_gpus(resources)


def execute(
    jobs: Sequence[Job],
    resources: Resources,
    watcher: Watcher,
    *,
    local: bool,
    address: str | None = None,
    run: str = RUN_TRIAL,
    more: More = lambda name: (),
) -> Outcome:
    """Run every job; one that fails is recorded in its folder, and the others go on.

    A job whose trial needs another one starts once that is done, and is recorded as failed if that
    failed. A Ray that this process is connected to already is used, and left running.

    Args:
        jobs: What to run; on the machines of a cluster, at the same paths.
        resources: What each trial asks for.
        watcher: Is told what happens.
        local: Run one after the other in this process, without Ray.
        address: A running Ray cluster, ``host:port`` or ``auto``; by default ``RAY_ADDRESS``,
            and where that is not set Ray is started on this machine, and stopped at the end.
        run: ``module:function`` of what trains a trial.
        more: Is asked, with the name of each trial that has ended, what is to be run because of it.

    Raises:
        UsageError: A trial asks for more than there is, or the cluster cannot be reached.
        KeyboardInterrupt: The user stopped; everything is stopped, and continues next time.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    check(resources, local=local, address=address)
    queue = Queue(jobs, watcher, more)
    if not len(queue):
        return queue.outcome()
    if local:
        run_here(queue, run)
    else:
        with environment(**settings(address)):
            from qbench.execution.cluster import run_on_ray  # ray's import takes seconds

            run_on_ray(queue, jobs[0].site.results, resources, address, run)
    return queue.outcome()
