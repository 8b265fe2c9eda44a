"""Post-training: which inputs a layer is fitted to, and trials that train nothing."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from qbench.datasets.loader import Loader, make_loader
from qbench.datasets.prepare import open_images
from qbench.deployment.load import read_deployed
from qbench.estimate import estimate_costs
from qbench.models.convert import initialize, quantize
from qbench.models.layers import quantized_layers
from qbench.quantizers.gpfq import GPFQ
from qbench.quantizers.parq import PARQ
from qbench.quantizers.ste import STE
from qbench.store import TrialFolder
from qbench.study.load import load_study
from qbench.study.plan import Cell, Plan
from qbench.study.trial import Trial
from qbench.training.post_training import calibration_images, fit_layers, patches
from qbench.training.run import run_trial
from qbench.training.setup import prepare_experiment
from qbench.training.site import Site

MakeTrial = Callable[..., Trial]
SAME = ("trial.json", "history.parquet", "layers.parquet", "points.parquet", "deployed.safetensors")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "padding": 1},
        {"padding": (0, 2), "dilation": 2},
        {"padding": "same", "groups": 2},
        {"padding": 1, "padding_mode": "circular"},
    ],
)
def test_patches_times_the_weight_are_the_convolution(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 6, 3, bias=False, **options)
    x = torch.randn(2, 4, 7, 9)
    expected = layer(x)
    quantize(nn.Sequential(layer), weights=None, activations=none, keep_float=[])
    found = patches(layer, x)
    assert found.shape[0] == layer.groups
    weight = layer.weight.flatten(1).unflatten(0, (layer.groups, -1))
    output = torch.cat([a @ b.T for a, b in zip(found, weight, strict=True)], 1)
    height, width = expected.shape[2:]
    output = output.view(2, height, width, 6).permute(0, 3, 1, 2)
    assert torch.allclose(output, expected, atol=1e-5)  # another order of 18 to 36 products


def none() -> STE:
    return STE(bit_width=8, target="activation")


def test_patches_of_a_linear_layer_are_its_inputs() -> None:
    layer = nn.Linear(5, 3)
    quantize(nn.Sequential(layer), weights=None, activations=none, keep_float=[])
    x = torch.randn(2, 4, 5)
    assert torch.equal(patches(layer, x), x.view(1, 8, 5))


class Doubling(STE):
    """Writes down what it is fitted to; fitted, its weight counts twice."""

    seen: ClassVar[list[tuple[Tensor, Tensor, Tensor]]] = []
    fitted = 1.0

    def fit(self, weight: Tensor, x_float: Tensor, x_quantized: Tensor) -> None:
        self.seen.append((weight, x_float, x_quantized))
        self.fitted = 2.0

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        codes, levels = super().codes(x)
        return codes, self.fitted * levels


class Net(nn.Module):
    """Layers that are registered in another order than they are reached."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(16, 5)
        self.norm = nn.BatchNorm1d(16)
        self.first = nn.Linear(64, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.norm(self.first(x.flatten(1)))))


@pytest.fixture
def loader(images: Path, make_trial: MakeTrial) -> Loader:
    return make_loader(open_images(images), make_trial().data, 16, 60, None, seed=0, device="cpu")


@pytest.fixture
def network(loader: Loader) -> nn.Module:
    torch.manual_seed(0)
    Doubling.seen.clear()
    net = Net()
    with torch.no_grad():
        net.norm.running_mean.normal_()
    quantize(
        net,
        weights=lambda: Doubling(bit_width=2, target="weight"),
        activations=lambda: STE(bit_width=3, target="activation"),
        keep_float=[],
    )
    initialize(net, next(iter(loader.plain_training(1)))[0])
    return net


def test_layers_are_fitted_in_the_order_of_the_forward(network: Net, loader: Loader) -> None:
    fit_layers(network, loader, seed=0)
    assert [weight for weight, _, _ in Doubling.seen] == [network.first.weight, network.last.weight]


def test_each_layer_sees_its_float_input_and_that_of_the_fitted_network(
    network: Net, loader: Loader
) -> None:
    fit_layers(network, loader, seed=0)
    images = calibration_images(loader)
    assert images.shape[0] == 128
    x = images.flatten(1)
    first, last = network.first, network.last
    (_, x_float, x_quantized), (_, y_float, y_quantized) = Doubling.seen
    assert torch.equal(x_float, x[None])
    assert torch.equal(x_quantized, first.activation_quantizer.deployed(x)[None])

    def hidden(values: Tensor, weight: Tensor) -> Tensor:
        sums = nn.functional.linear(values, weight, first.bias)
        norm = network.norm
        scale = torch.rsqrt(norm.running_var + norm.eps)
        return torch.relu((sums - norm.running_mean) * scale)

    assert torch.allclose(y_float[0], hidden(x, first.weight), atol=1e-5)
    doubled = first.weight_quantizer.deployed(first.weight)  # as fitted: twice the level of ste
    expected = last.activation_quantizer.deployed(hidden(x_quantized[0], doubled))
    assert ((y_quantized[0] - expected).abs() > 1e-5).double().mean() < 1e-3  # beside a threshold


def test_the_network_is_left_as_it_was(network: Net, loader: Loader) -> None:
    network.train()
    network.norm.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    parts = dict(network.named_modules())
    fit_layers(network, loader, seed=0)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert network.training
    assert not network.norm.training
    assert dict(network.named_modules()) == parts
    for layer in quantized_layers(network).values():
        assert layer.fixed_weight is None
        assert layer.mode == "training"
        assert not layer._forward_pre_hooks


def test_a_convolution_is_fitted_to_a_share_of_its_patches(loader: Loader) -> None:
    def seen(seed: int) -> tuple[Tensor, Tensor]:
        torch.manual_seed(0)
        Doubling.seen.clear()
        net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 4))
        quantize(
            net,
            weights=lambda: Doubling(bit_width=2, target="weight"),
            activations=None,
            keep_float=["last"],
        )
        initialize(net, next(iter(loader.plain_training(1)))[0])
        fit_layers(net, loader, seed)
        _, x_float, x_quantized = Doubling.seen[0]
        return x_float, x_quantized

    x_float, x_quantized = seen(0)
    assert x_float.shape == (1, 128 * 36 // 4, 9)  # 36 places an image, a quarter of them
    assert torch.equal(x_float, x_quantized)  # the same places; nothing before is quantized
    assert torch.equal(x_float, seen(0)[0])
    assert not torch.equal(x_float, seen(1)[0])


def test_nothing_happens_where_no_method_has_a_fit(
    loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Net, "forward", None)
    net = Net()
    quantize(
        net,
        weights=lambda: STE(bit_width=2, target="weight"),
        activations=None,
        keep_float=["first"],
    )
    fit_layers(net, loader, seed=0)


# --- trials ---------------------------------------------------------------------------------------


def finish(trial: Trial, site: Site) -> TrialFolder:
    for _ in run_trial(trial, site):
        pass
    folder = TrialFolder(site.results, trial.name)
    assert folder.status() == "done", folder.failure()
    return folder


def values(folder: TrialFolder) -> dict[str, float]:
    rows = folder.read_table("history.parquet").to_pylist()
    return {row["name"]: row["value"] for row in rows}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture
def site(store: Path, images: Path) -> Site:
    """One store for all tests here, so that the float network is trained once."""
    return Site(results=store, images=images)


@pytest.fixture
def trained(site: Site, make_trial: MakeTrial) -> Trial:
    reference = make_trial("float", "W32A32")
    if TrialFolder(site.results, reference.name).status() != "done":
        finish(reference, site)
    return reference


def untrained(make_trial: MakeTrial, quantizer: str, bits: str, start: Trial) -> Trial:
    base = make_trial(quantizer, bits, start=f"trial:{start.name}")
    return base.model_copy(update={"training": base.training.model_copy(update={"epochs": 0})})


@pytest.mark.parametrize("name", ["ste", "lsq", "gpfq", "parq"])
def test_a_trial_of_no_epochs_deploys_its_start(
    site: Site, make_trial: MakeTrial, trained: Trial, name: str
) -> None:
    folder = finish(untrained(make_trial, name, "W4A32", trained), site)
    found = values(folder)
    assert found["test/accuracy"] > 0.6  # four classes: 0.25 by chance
    assert found["test/gap"] == 0  # a schedule stands at its end
    assert 0 < found["validation/accuracy"] <= 1
    assert "train/loss" not in found
    rows = folder.read_table("history.parquet").to_pylist()
    assert {row["epoch"] for row in rows} == {0}
    assert any(row["name"] == "discretization/latent_error" for row in rows)
    assert not any(row["name"] == "dynamics/flip_rate" for row in rows)  # no step was made
    assert folder.read_json("audit.json")["cost"]["kernels"] is None


def test_fitting_keeps_what_rounding_on_the_same_grid_loses(
    site: Site, make_trial: MakeTrial, trained: Trial, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    trial = untrained(make_trial, "gpfq", "W3A32", trained)
    fitted = values(finish(trial, site))["test/loss"]
    monkeypatch.setattr(GPFQ, "fit", lambda *_: None)
    other = dataclasses.replace(site, results=tmp_path)
    (tmp_path / trained.name).symlink_to(site.results / trained.name)
    assert fitted < values(finish(trial, other))["test/loss"]


def test_a_trial_of_no_epochs_is_the_same_each_time_and_when_continued(
    site: Site, make_trial: MakeTrial, trained: Trial
) -> None:
    trial = untrained(make_trial, "gpfq", "W3A3", trained)
    trial = trial.model_copy(update={"activations": make_trial("lsq").quantizer})
    folder = finish(trial, site)
    first = {name: (folder.path / name).read_bytes() for name in SAME}
    (folder.path / "done").unlink()  # a checkpoint is left: cut off while it was deployed
    again = finish(trial, site)
    assert {name: (again.path / name).read_bytes() for name in SAME} == first


def test_schedules_stand_at_their_end_where_a_finished_training_is_continued(
    site: Site, make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = make_trial().training.model_copy(update={"epochs": 1})
    trial, seen = make_trial("parq", "W2A32", training=short), []
    finish(trial, site)
    (site.results / trial.name / "done").unlink()
    monkeypatch.setattr(PARQ, "set_progress", lambda _, progress: seen.append(progress))
    finish(trial, site)
    assert seen[0].fraction == 1


def test_codes_stand_while_the_rest_is_trained(
    site: Site, make_trial: MakeTrial, trained: Trial
) -> None:
    still = untrained(make_trial, "gpfq", "W3A32", trained)
    moving = make_trial("gpfq", "W3A32", start=still.start)
    files = [
        read_deployed((finish(trial, site).path / "deployed.safetensors").read_bytes())
        for trial in (still, moving)
    ]
    for name, value in files[0].items():
        if ".weight." in name and "bn" not in name:
            assert torch.equal(value, files[1][name]), name
    assert not torch.equal(files[0]["bn1.weight"], files[1]["bn1.weight"])


def test_fitted_layers_keep_their_float_weights(
    site: Site, make_trial: MakeTrial, trained: Trial
) -> None:
    made = prepare_experiment(untrained(make_trial, "gpfq", "W2A32", trained), site)
    start = read_deployed((site.results / trained.name / "deployed.safetensors").read_bytes())
    for name, value in start.items():
        assert torch.equal(made.model.state_dict()[name], value), name


def test_no_epochs_cost_nothing_in_an_estimate_and_teach_it_nothing(
    site: Site, make_trial: MakeTrial, trained: Trial
) -> None:
    trial = untrained(make_trial, "ste", "W4A32", trained)
    finish(trial, site)
    longer = make_trial("ste", "W4A32")
    plan = Plan(study=None, cells=tuple(Cell(one, "") for one in (trained, trial, longer)))
    alone = estimate_costs(plan, site.results, (trial.name,))
    assert longer.name not in alone
    both = estimate_costs(plan, site.results, (trained.name, trial.name))
    assert both[trial.name].training == 0
    assert both[longer.name].training > 0


STUDY = """
study: none
question: What is lost without training?
quantizers: [{row}, ste]
models: [resnet8]
data: {{sets: [digits]}}
bits: [W4A32]
start: {start}
training: {{epochs: 0}}
"""


@pytest.mark.parametrize(
    ("row", "start", "label"),
    [
        ("gpfq", "scratch", "gpfq"),
        ("{name: float, training: {epochs: 3}}", "scratch", "ste"),
        ("float", "float", "float"),
        ("gpfq", "float", "float"),
    ],
)
def test_an_untrained_network_is_not_deployed(
    tmp_path: Path, row: str, start: str, label: str
) -> None:
    path = tmp_path / "none.yaml"
    path.write_text(STUDY.format(row=row, start=start))
    with pytest.raises(Exception, match=f"'{label}' starts from random weights") as refused:
        load_study(path)
    assert "float" in str(refused.value)


def test_no_epochs_from_a_trained_network_are_a_study(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    row = "{name: float, training: {epochs: 3}}"
    path.write_text(STUDY.format(row=row, start="float"))
    assert load_study(path).training.epochs == 0
