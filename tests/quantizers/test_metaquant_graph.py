"""MetaQuant's step against the paper's: the whole update in one graph, in float64."""

from typing import Any

import pytest
import torch
from metaquant_toy import Paper, batches, network, run

RATES = [0.05, 0.04, 0.0, 0.03, 0.02, 0.05, 0.01]  # a schedule, with a step that stands still
CASES: list[tuple[int, dict[str, Any]]] = [
    (1, {"refinement": "sgd"}),
    (2, {}),
    (3, {"meta": "multifc", "depth": 3, "refinement": "adam", "weight_decay": 5e-4}),
    (1, {"activation": "relu", "refinement": "adam"}),
    (1, {"activation": "tanh", "hidden": 7, "refinement": "sgd"}),
    (2, {"meta": "multifc", "activation": "tanh"}),
    (1, {"meta": "multifc", "activation": "relu", "base": "bwn"}),
    (1, {"meta": "lstmfc", "hidden": 9, "refinement": "adam"}),
    (1, {"base": "bwn", "weight_decay": 1e-2}),
    (1, {"phi_path": "meta"}),
    (1, {"phi_path": "meta", "meta": "multifc", "activation": "tanh", "refinement": "adam"}),
    (1, {"order": "released", "refinement": "sgd"}),
    (2, {"order": "released", "refinement": "adam", "weight_decay": 5e-4}),
    (1, {"order": "released", "base": "bwn"}),
    (1, {"order": "released", "meta": "lstmfc", "hidden": 5, "phi_path": "ste"}),
    (1, {"order": "released", "phi_path": "meta", "meta": "multifc"}),
]


@pytest.mark.parametrize(("bits", "options"), CASES, ids=lambda case: str(case))
def test_weights_and_phi_are_those_of_the_literal_graph(bits: int, options: dict) -> None:
    """Spec 4.1-4.3: the step at the end of t equals the paper's inside the forward of t + 1."""
    data = batches(len(RATES))
    expected = list(Paper(network(bits, **options), options, bits).run(data, RATES))
    found = list(run(network(bits, **options), data, RATES))
    # float64 rounds to 2e-16; Adam divides an error of that size by as little as 1e-8
    tolerance = 1e-8 if options.get("refinement") == "adam" else 1e-12
    for (points, phi, _), (paper_points, paper_phi) in zip(found, expected, strict=True):
        for ours, theirs in zip(points + phi, paper_points + paper_phi, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)
    first, last = found[0][0][0], found[-1][0][0]
    assert not torch.allclose(first, last)  # it moved, or the comparison says nothing
    assert not torch.equal(found[0][1][0], found[-1][1][0])
