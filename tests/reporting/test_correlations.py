"""Rank correlations against scipy's, and what the table says of them."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr
from synthetic_diagnostics import diagnostics_plan, fill_diagnosed

from qbench.reporting.compare import Comparison
from qbench.reporting.correlations import correlation_table, spearman
from qbench.reporting.figure_forest import draw_forest


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [5, 24])
def test_rho_is_that_of_scipy(n: int, ties: bool) -> None:
    random = np.random.default_rng(n)
    x = random.normal(size=n)
    y = x + random.normal(size=n)
    if ties:
        x, y = np.round(x), np.round(y)
    found = spearman([(x, y)])
    assert found.rho == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)
    assert found.n == n
    assert found.low <= found.rho <= found.high


def test_the_interval_is_that_of_resampled_runs() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=30)
    y = x + random.normal(size=30)
    draws = []
    for _ in range(2000):  # the quantiles of 2000 draws scatter by about 0.02
        chosen = random.integers(30, size=30)
        draws.append(spearmanr(x[chosen], y[chosen]).statistic)
    found = spearman([(x, y)])
    assert (found.low, found.high) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.05)


def test_one_run_that_differs_from_the_others_shows_nothing() -> None:
    x = np.array([1.0] + [0.0] * 11)
    y = -np.arange(12.0)
    found = spearman([(x, y)])
    assert found.rho > 0.4
    assert found.low <= 0 <= found.high  # without that run, 35 % of the draws, there is no relation


def test_differences_between_blocks_explain_nothing() -> None:
    random = np.random.default_rng(1)
    blocks = [(random.normal(size=40) + shift, random.normal(size=40) + shift) for shift in (0, 9)]
    pooled = [np.concatenate(side) for side in zip(*blocks, strict=True)]
    assert spearmanr(*pooled).statistic > 0.6  # of the shifts alone
    found = spearman(blocks)
    assert abs(found.rho) < 0.3
    assert found.n == 80
    inside = [spearmanr(*block).statistic for block in blocks]
    assert found.rho == pytest.approx(np.mean(inside))  # blocks of one size without ties


def test_what_does_not_vary_has_no_correlation() -> None:
    found = spearman([(np.ones(6), np.arange(6.0))])
    assert math.isnan(found.rho)


def test_the_table_says_what_it_is_over(tmp_path: Path) -> None:
    plan = diagnostics_plan(seeds=(0,), bits=("W1A32", "W1A1"))
    fill_diagnosed(tmp_path, plan)
    comparison = Comparison(plan, tmp_path)
    table = correlation_table(comparison)
    assert table is not None
    assert "over runs" in table.caption
    assert "With 8 runs" in table.caption
    assert f"{2 / math.factorial(8):.1g}" in table.caption
    assert [column[0][:6] for column in table.columns] == ["pooled", "resnet", "resnet"]
    rows = dict(table.rows)
    x, y = [], []
    for group in comparison.groups.values():
        if group.setting.bits == "W1A32" and not group.is_float:
            x.append(group.values("gradient/flip_set_r_1pct")[0])
            y.append(group.accuracy[0])
    text = rows["gradient/flip_set_r_1pct"][1].text
    assert text.startswith(f"{spearmanr(x, y).statistic:.2f} [")
    assert text.endswith("(8)")
    assert "dynamics/flip_efficiency" not in rows  # 0.3 in every run
    assert any("dynamics/flip_efficiency" in note for note in table.notes)


def test_too_few_runs_are_not_correlated(tmp_path: Path) -> None:
    plan = diagnostics_plan(seeds=(0,), bits=("W1A32",))
    cells = [cell for cell in plan.cells if cell.label in ("float", "ste", "lsq", "quantnet")]
    plan = type(plan)(plan.study, tuple(cells))
    fill_diagnosed(tmp_path, plan)
    comparison = Comparison(plan, tmp_path)
    assert correlation_table(comparison) is None
    assert draw_forest(comparison, comparison.pairs[0], {}) is None
