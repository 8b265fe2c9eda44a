"""A training step of each method, against the float step and that of ``ste``."""

from dataclasses import dataclass

from qbench.bench.cases import Case, cases, images_of, make, models_of
from qbench.bench.outcome import Outcome, Setting, Table
from qbench.bench.timing import Timing, measure, watch_of

__all__ = ["Steps", "rounds_of", "run", "time_steps"]

_BATCH = 128
_WIDE = "vgg_small"


@dataclass(frozen=True)
class Steps:
    """The steps of one network."""

    model: str
    batch: int
    cases: tuple[Case, ...]
    timing: Timing

    def table(self) -> Table:
        """Milliseconds, and ratios to float and to ``ste`` at the same bits."""
        rows = []
        for case in self.cases:
            base = f"ste {case.bits}"
            rows.append(
                (
                    case.quantizer,
                    case.bits,
                    1000 * self.timing.seconds[case.name],
                    self.timing.ratio(case.name, "float"),
                    self.timing.ratio(case.name, base) if base in self.timing.seconds else "",
                )
            )
        columns = ("quantizer", "bits", "ms a step", "times float", "times ste")
        return Table(
            f"Steps of {self.model}, batch {self.batch}",
            columns,
            tuple(rows),
            f"A/A ratio {self.timing.error:.3f}.",
        )


def rounds_of(model: str, setting: Setting) -> int:
    """How often a step is timed; wide networks are slow, and less disturbed."""
    if setting.quick:
        return 1
    return 40 if setting.device != "cpu" else 5 if model == _WIDE else 15


def time_steps(model: str, setting: Setting, engine: str = "eager") -> Steps:
    """Time the steps of every method in ``model``, in turns."""
    batch = 4 if setting.quick else _BATCH
    images = images_of(batch, 1, 8 if setting.quick else 32)
    wanted = cases(model, batch)
    made = {case.name: make(case, images, setting.device, engine=engine) for case in wanted}
    timing = measure(
        {name: one.step for name, one in made.items()},
        rounds=rounds_of(model, setting),
        watch=watch_of(setting.device),
        warmup=1 if setting.quick else 3,
    )
    return Steps(model, batch, tuple(wanted), timing)


def run(setting: Setting) -> Outcome:
    """Time every network."""
    found = [time_steps(model, setting) for model in models_of(setting)]
    first = found[0].timing
    figures = {"daq_over_float": first.ratio("daq W4A4", "float")}
    return Outcome(tuple(steps.table() for steps in found), figures)
