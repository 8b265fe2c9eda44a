"""A study with planted diagnostics: eight ways to train, of which it is known what ails them."""

import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from synthetic_results import make_plan, write_trial

from qbench.store import LayerRow, PointRow, Row, TrialFolder
from qbench.study.plan import Cell, Plan
from qbench.study.trial import Trial

LAYERS = tuple(
    f"stage{stage}.{block}.conv{number}"
    for stage in (1, 2, 3)
    for block, number in ((0, 1), (1, 2))
)
CHECKPOINTS = (0, 5, 10, 15, 20)
BITS = ("W1A32", "W1A1", "W2A2")
SETS = 64


class Plant(NamedTuple):
    """What is planted of a method at its last measurement, for 1-bit weights."""

    gap: float
    """In dB; minus infinity for a hard forward."""
    r: float
    slope: float
    accuracy: float
    temperature: float = 0.0
    """At the end; 0 for a method that has none."""
    self_consistency: float = math.nan


PLANTS = {
    "ste": Plant(-math.inf, 0.93, 0.95, 0.88),
    "dorefa": Plant(-math.inf, 0.90, 0.70, 0.885),
    "lsq": Plant(-math.inf, 0.95, 1.02, 0.91),
    "daq": Plant(-math.inf, 0.92, 1.1, 0.905),
    "metaquant": Plant(-math.inf, 0.62, 1.3, 0.84),
    "quantnet": Plant(-9.0, 0.38, 1.6, 0.71, 40.0, 0.9998),
    "quantization_networks": Plant(-36.0, 0.88, 0.97, 0.895, 200.0, 0.9996),
    "quantization_networks (released backward)": Plant(-18.0, 0.58, 1.2, 0.80, 60.0, 0.83),
}
ROWS = tuple(PLANTS)


def planted(label: str, bits: str) -> Plant:
    """What is planted in a row at some bits: binary activations hurt the gradient most."""
    plant, lost = PLANTS[label], {"W1A32": 0.0, "W1A1": 0.35, "W2A2": 0.08}[bits]
    return plant._replace(r=plant.r * (1 - lost), accuracy=plant.accuracy - 0.3 * lost)


def diagnostics_plan(seeds: tuple[int, ...] = (0, 1), bits: tuple[str, ...] = BITS) -> Plan:
    """Eight rows and float, three bits, two seeds."""
    return make_plan(("float", *ROWS), bits=bits, seeds=seeds)


def write_diagnosed(results: Path, cell: Cell, *, only: tuple[str, ...] = ("",)) -> TrialFolder:
    """A finished trial with the diagnostics whose names begin with one of ``only``."""
    if cell.is_float:
        return write_trial(results, cell.trial, 0.93)
    plant = planted(cell.label, str(cell.trial.bits))
    noise = np.random.default_rng(zlib.crc32(cell.trial.name.encode()))
    folder = write_trial(results, cell.trial, plant.accuracy + noise.normal(0, 0.004))
    layers = [row for row in _layers(cell.trial, plant, noise) if row.name.startswith(only)]
    means: dict[tuple[int, str], list[float]] = {}
    for row in layers:
        means.setdefault((row.epoch, row.name), []).append(row.value)
    old = folder.read_table("history.parquet").to_pylist()
    history = [Row(**row) for row in old if not row["name"].startswith("discretization/")]
    history += [Row(epoch, name, float(np.mean(v))) for (epoch, name), v in means.items()]
    history += [row for row in _network(cell.trial, plant, noise) if row.name.startswith(only)]
    points = list(_points(plant, noise)) if "gradient/flip_set_1pct".startswith(only) else []
    folder.write_rows("history.parquet", history, Row)
    folder.write_rows("layers.parquet", layers, LayerRow)
    folder.write_rows("points.parquet", points, PointRow)
    folder.finish()
    return folder


def fill_diagnosed(results: Path, plan: Plan, *, only: tuple[str, ...] = ("",)) -> None:
    """Finish every trial of a plan."""
    for cell in plan.cells:
        write_diagnosed(results, cell, only=only)


def _layers(trial: Trial, plant: Plant, noise: np.random.Generator) -> Iterator[LayerRow]:
    binary = trial.bits.activation == 1
    for epoch in CHECKPOINTS:
        done = epoch / CHECKPOINTS[-1]
        for depth, layer in enumerate(LAYERS):
            soft = 10 ** ((plant.gap + 14 * (1 - done) + depth) / 10)  # 0 for a hard forward
            r = float(np.clip(plant.r * (0.75 + 0.25 * done) - 0.02 * depth + 0.05, -1, 0.99))
            jumps = (0.02 if binary else 0.01) * (1 + depth) * (1 - done / 2)
            values = {
                "discretization/latent_error": 0.36 + 0.02 * depth,
                "discretization/train_deploy_gap": soft,
                "codes/near_threshold": 0.05 + 0.1 * (1 - plant.r),
                "codes/entropy": 0.97 - 0.01 * depth,
                "gradient/flip_set_r_0.2pct": min(r + 0.03, 0.99),
                "gradient/flip_set_r_1pct": r + noise.normal(0, 0.01),
                "gradient/flip_set_r_5pct": r - 0.12,
                "gradient/flip_set_slope_1pct": plant.slope + noise.normal(0, 0.03),
                "gradient/flip_set_offset_1pct": 0.1 + noise.normal(0, 0.03),
                "gradient/jacobian_alignment_1pct": 0.25 + 0.3 * plant.r,
                "gradient/jacobian_alignment_5pct": 0.45 + 0.45 * plant.r,
                "gradient/jacobian_alignment_20pct": 0.4 + 0.4 * plant.r,
                "gradient/jacobian_alignment_0.2pct": 0.15 + 0.1 * plant.r,
                "gradient/jacobian_alignment_0.5pct": 0.2 + 0.2 * plant.r,
                "gradient/jacobian_alignment_2pct": 0.33 + 0.4 * plant.r,
                "gradient/jacobian_alignment_10pct": 0.45 + 0.43 * plant.r,
                "gradient/jacobian_alignment_40pct": 0.3 + 0.35 * plant.r,
                "gradient/jacobian_alignment_max": 0.45 + 0.45 * plant.r,
                "gradient/jacobian_alignment_at": 0.05,
                "gradient/smoothed_alignment_1pct": plant.r * 0.4,
                "gradient/smoothed_alignment_5pct": plant.r * 0.6,
                "gradient/descent_ratio_1pct": 0.9 if plant.r > 0.5 else -0.4,
                "gradient/signal_to_noise": 0.02 * plant.r,
                "dynamics/flip_rate": 10 ** (-2 - 2 * done + 0.1 * depth - 0.5 * plant.r),
                "dynamics/oscillation_rate": jumps,
                "dynamics/oscillating": 0.16 if binary else 0.04,
                "dynamics/flip_efficiency": 0.3,
                "dynamics/window_change": 10 ** (-1 - done + 0.1 * depth - plant.r),
                "gradient/weight_norm": 0.3 * (1 - 0.6 * done),
            }  # fmt: skip
            if trial.bits.activation < 32:
                values["discretization/activation_gap"] = 2 * soft
            for share in ("0.2", "1", "5"):
                values[f"gradient/flip_set_r_{share}pct_se"] = (1 - r**2) / math.sqrt(SETS)
            hard = 1 + (plant.temperature - 1) * done if plant.temperature else 1.0
            values["gradient/latent_norm"] = values["gradient/weight_norm"] / hard
            if plant.temperature:
                values["weight/temperature"] = hard
            if not math.isnan(plant.self_consistency):
                values["gradient/self_consistency"] = plant.self_consistency
                values["gradient/self_consistency_gain"] = 1.002
            yield from (LayerRow(epoch, layer, name, value) for name, value in values.items())


def _network(trial: Trial, plant: Plant, noise: np.random.Generator) -> Iterator[Row]:
    lost = 0.0 if plant.gap == -math.inf else 0.15 * 10 ** (plant.gap / 20)
    both = {"weights": 0.6, "activations": 0.5, "": 1.0, "reestimated": 0.35}
    for epoch in (0, 10, 20):
        for part, share in both.items():
            if part == "activations" and trial.bits.activation == 32:
                continue
            name = "output/accuracy_gap" + (f"_{part}" if part else "")
            shown = lost * share + (noise.normal(0, 0.002) if lost else 0.0)
            yield Row(epoch, name, shown)
            yield Row(epoch, f"{name}_se", 0.004 if lost else 0.0)
        yield Row(epoch, "output/kl", 3 * lost)


def _points(plant: Plant, noise: np.random.Generator) -> Iterator[PointRow]:
    for epoch in (0, 20):
        for depth, layer in enumerate(LAYERS):
            x = noise.normal(0, 10.0 ** -(2 + depth / 3), SETS)
            spread = plant.slope * math.sqrt(1 / plant.r**2 - 1) * x.std()
            y = plant.slope * x + noise.normal(0.1 * x.std(), spread, SETS)
            yield from (
                PointRow(epoch, layer, "gradient/flip_set_1pct", float(a), float(b))
                for a, b in zip(x, y, strict=True)
            )
