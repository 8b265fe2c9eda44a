"""D3: paired standard errors against the bootstrap, exact values where nothing differs."""

import math

import numpy as np
import pytest
import torch
from layer_networks import Factory, batch, convolutions, measured
from test_train_deploy_gap import SoftSign

from qbench.diagnostics.contract import Measurement
from qbench.diagnostics.measure import Chosen, measure
from qbench.diagnostics.output_gap import accuracy_error, compare_outputs
from qbench.diagnostics.probe import Probe
from qbench.models.evaluation import evaluate
from qbench.quantizers.ste import STE

QUANTITIES = ("accuracy_gap", "loss_gap", "kl", "disagreement")


def soft(target: str) -> Factory:
    return lambda: SoftSign(bit_width=1, target=target)


def values(model: torch.nn.Module, **options: object) -> dict[str, float]:
    found = measured(model, ["output_gap"], **options)
    assert not found.layers
    return {row.name.removeprefix("output/"): row.value for row in found.network}


def test_the_paired_error_of_accuracy_is_that_of_the_bootstrap() -> None:
    images, worse, better = 2000, 70, 40
    change = np.zeros(images)
    change[:worse], change[worse : worse + better] = 1, -1
    random = np.random.default_rng(0)
    again = change[random.integers(images, size=(4000, images))].mean(1)
    expected = accuracy_error(worse, better, images)
    # a standard error over 4000 resamples is itself known to 1.1 %
    assert again.std() == pytest.approx(expected, rel=0.04)
    assert expected == pytest.approx(math.sqrt(110 - 900 / 2000) / 2000)


def test_errors_of_loss_and_divergence_are_those_of_the_bootstrap() -> None:
    torch.manual_seed(0)
    trained, labels = torch.randn(600, 5), torch.randint(0, 5, (600,))
    deployed = trained + 0.7 * torch.randn(600, 5)
    found = compare_outputs([trained], [deployed], [labels])
    random, again = np.random.default_rng(0), []
    for _ in range(1000):
        drawn = torch.from_numpy(random.integers(600, size=600))
        one = compare_outputs([trained[drawn]], [deployed[drawn]], [labels[drawn]])
        again.append([getattr(one, quantity)[0] for quantity in QUANTITIES])
    for quantity, spread in zip(QUANTITIES, np.std(again, axis=0), strict=True):
        # 1000 resamples know the error to 2.2 %
        assert getattr(found, quantity)[1] == pytest.approx(spread, rel=0.08)


def test_values_are_those_of_the_definition() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 1.0], [0.0, 3.0]])
    labels = torch.tensor([0, 1])
    found = compare_outputs([logits[0]], [logits[1]], [labels])
    p, q = (part.double().softmax(1) for part in logits)
    assert found.kl[0] == pytest.approx(float((p * (p / q).log()).sum(1).mean()))
    losses = [-float(part[[0, 1], labels].log().mean()) for part in (p, q)]
    assert found.loss_gap[0] == pytest.approx(losses[1] - losses[0])
    assert (found.accuracy_gap[0], found.disagreement[0]) == (0.5, 0.5)
    assert (found.worse, found.better) == (1, 0)


def test_certain_outputs_have_a_finite_divergence() -> None:
    certain = torch.tensor([[2000.0, 0.0]])
    found = compare_outputs([certain], [certain.clone()], [torch.tensor([0])])
    assert found.kl == (0.0, 0.0)


def test_a_hard_forward_loses_nothing() -> None:
    model = convolutions(
        lambda: STE(bit_width=2, target="weight"), lambda: STE(bit_width=2, target="activation")
    )
    found = values(model)
    assert found.pop("mcnemar_p") == 1.0
    fixed = {name: value for name, value in found.items() if "reestimated" not in name}
    assert len(fixed) == 3 * len(QUANTITIES) * 2  # both, weights, activations
    assert set(fixed.values()) == {0.0}
    assert found["kl_reestimated"] > 0  # the statistics of a fresh network are far from its data


def test_parts_are_told_apart() -> None:
    both = values(convolutions(soft("weight"), soft("activation")))
    assert len({both["kl"], both["kl_weights"], both["kl_activations"]}) == 3
    assert min(both["kl"], both["kl_weights"], both["kl_activations"]) > 0
    alone = values(convolutions(soft("weight"), None))
    assert alone["kl"] == alone["kl_weights"]
    assert "kl_activations" not in alone


def test_the_gap_is_that_of_two_evaluations_and_mcnemars_test() -> None:
    model = convolutions(soft("weight"), soft("activation"))
    data = [batch(model, seed, 64) for seed in range(1, 5)]
    probe = Probe(model, *batch(model), seed=0)
    measurement = Measurement(
        probe=probe, epoch=0, layers=(), held_out=lambda: data, training=lambda: data
    )
    with torch.no_grad():
        model[7].weight.mul_(0.02)  # soft and hard now differ in much
        results = {mode: evaluate(model, data, mode) for mode in ("training", "deployed")}
    found = {
        row.name: row.value for row in measure([Chosen("output_gap", {})], measurement).network
    }
    (loss, accuracy), (hard_loss, hard_accuracy) = results["training"], results["deployed"]
    assert found["output/accuracy_gap"] == pytest.approx(accuracy - hard_accuracy)
    assert found["output/loss_gap"] == pytest.approx(hard_loss - loss, rel=1e-5)  # float32 losses
    assert found["output/disagreement"] > 0
    assert 0 < found["output/mcnemar_p"] <= 1


def test_reestimation_gets_the_batches_that_it_asks_for_and_leaves_no_trace() -> None:
    model = convolutions(soft("weight"), soft("activation"))
    before = {name: part.clone() for name, part in model.state_dict().items()}
    flags = [part.training for part in model.modules()]
    one, four = (values(model, reestimation_batches=count) for count in (1, 4))
    assert one["kl_reestimated"] != four["kl_reestimated"]
    assert one["kl"] == four["kl"]
    assert all(torch.equal(before[name], part) for name, part in model.state_dict().items())
    assert [part.training for part in model.modules()] == flags


def test_what_is_measured_afterwards_is_the_same() -> None:
    model = convolutions(soft("weight"), soft("activation"))
    alone = measured(model, ["train_deploy_gap"]).layers
    after = measured(model, ["output_gap", "train_deploy_gap"]).layers
    assert after == alone


def test_a_network_without_batch_norm_has_nothing_to_reestimate() -> None:
    model = convolutions(soft("weight"), None)
    model[1], model[4] = torch.nn.Identity(), torch.nn.Identity()
    assert not any("reestimated" in name for name in values(model))
