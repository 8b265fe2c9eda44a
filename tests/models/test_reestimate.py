"""Batch-norm re-estimation against the closed form."""

import pytest
import torch
from torch import nn

from qbench.models.reestimate import reestimate_batch_norm


def batches(sizes=(4, 4, 6)):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(size, 3, 2, 2, generator=generator) * 2 + 5 for size in sizes]


def test_statistics_are_the_plain_average_over_batches():
    norm = nn.BatchNorm2d(3, momentum=0.3)
    norm.running_mean.fill_(99)
    images = batches()
    reestimate_batch_norm(norm, iter(images))
    means = torch.stack([part.mean((0, 2, 3)) for part in images]).mean(0)
    variances = torch.stack([part.transpose(0, 1).flatten(1).var(1) for part in images]).mean(0)
    torch.testing.assert_close(norm.running_mean, means, rtol=1e-5, atol=0)  # float32, 3 steps
    torch.testing.assert_close(norm.running_var, variances, rtol=1e-5, atol=0)


def test_a_layer_reads_what_layers_before_it_make_with_the_batch_statistics():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3))
    nn.init.constant_(model[0].bias, 4.0)
    reestimate_batch_norm(model, batches())
    torch.testing.assert_close(model[1].running_mean, torch.full((3,), 4.0))


def test_momentum_flags_parameters_and_dropout_are_left_alone():
    model = nn.Sequential(nn.BatchNorm2d(3, momentum=0.3), nn.Dropout(0.5), nn.BatchNorm2d(3))
    model[1].eval()
    flags = [part.training for part in model.modules()]
    state = torch.get_rng_state()
    before = [part.clone() for part in model.parameters()]
    reestimate_batch_norm(model, batches())
    assert [part.training for part in model.modules()] == flags
    assert (model[0].momentum, model[2].momentum) == (0.3, 0.1)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(map(torch.equal, model.parameters(), before))
    assert all(part.grad is None and part.requires_grad for part in model.parameters())


def test_momentum_and_flags_are_restored_when_a_forward_fails():
    model = nn.Sequential(nn.BatchNorm2d(3, momentum=0.3), nn.Linear(5, 5)).eval()
    with pytest.raises(RuntimeError):
        reestimate_batch_norm(model, batches())
    assert model[0].momentum == 0.3
    assert not model[0].training


def test_layers_without_running_statistics_and_networks_without_batch_norm_pass():
    model = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.Conv2d(3, 1, 1))
    reestimate_batch_norm(model, batches())
    assert model[0].running_mean is None


def test_no_batches_are_refused_and_change_nothing():
    norm = nn.BatchNorm2d(3)
    norm.running_mean.fill_(2)
    with pytest.raises(ValueError, match="from no batches"):
        reestimate_batch_norm(norm, [])
    assert norm.running_mean.tolist() == [2, 2, 2]
