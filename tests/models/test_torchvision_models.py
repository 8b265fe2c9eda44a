"""torchvision's networks by name, and weights from local files."""

import pytest
import torch
from safetensors.torch import save_file

from qbench.errors import UsageError
from qbench.models.build import build_model
from qbench.models.convert import layers_kept
from qbench.models.torchvision_import import classification_models, import_torchvision
from qbench.study.schema import Component


def make(name="torchvision/resnet18", channels=3, classes=4, **options):
    torch.manual_seed(0)
    component = Component(name=name, options=options)
    return build_model(component, channels=channels, classes=classes, size=32)


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(1)
    component = Component(name="torchvision/resnet18")
    return build_model(component, channels=3, classes=4, size=32)


def test_the_names_read_from_the_source_are_the_registered_ones():
    models = import_torchvision().models
    assert list(classification_models()) == sorted(models.list_models(module=models))


def test_a_network_has_its_classes_and_its_layers_are_found():
    model = make(classes=5)
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 5)
    kept = layers_kept(model, ("first", "last", "shortcut"))
    shortcuts = {f"layer{stage}.0.downsample.0" for stage in (2, 3, 4)}
    assert kept == {"conv1", "fc"} | shortcuts


def test_auxiliary_classifiers_are_left_out():
    model = make("torchvision/googlenet")
    assert model.train()(torch.randn(2, 3, 64, 64)).shape == (2, 4)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_are_loaded_from_a_file(trained, tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    state = trained.state_dict()
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    loaded = make(weights=str(path)).state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_another_number_of_classes_starts_the_head_anew(trained, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(trained.state_dict(), path)
    fresh, loaded = make(classes=6), make(classes=6, weights=str(path))
    assert torch.equal(loaded.fc.weight, fresh.fc.weight)
    assert torch.equal(loaded.layer4[1].conv2.weight, trained.layer4[1].conv2.weight)


def test_a_missing_file_names_the_file_that_torchvision_publishes(tmp_path):
    with pytest.raises(UsageError, match=r"none\.pth.*resnet18-f37072fd\.pth") as caught:
        make(weights=str(tmp_path / "none.pth"))
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_a_damaged_file_is_one_sentence(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"not weights at all")
    with pytest.raises(UsageError, match="cannot be read as a dictionary of tensors"):
        make(weights=str(path))


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("ran",))

    path = tmp_path / "weights.pth"
    torch.save({"conv1.weight": Evil()}, path)
    with pytest.raises(UsageError, match="cannot be read"):
        make(weights=str(path))


@pytest.mark.parametrize("missing", ["fc.bias", "layer1.0.conv1.weight"])
def test_weights_of_another_network_are_refused(trained, tmp_path, missing):
    path = tmp_path / "weights.pth"
    state = trained.state_dict()
    del state[missing]
    torch.save(state, path)
    with pytest.raises(UsageError, match=f"does not belong to.*'{missing}' with nothing"):
        make(weights=str(path))


def test_an_unknown_name_and_a_wrong_number_of_channels_are_one_sentence():
    with pytest.raises(UsageError, match="no torchvision model 'resnet19'; did you mean 'resnet1"):
        make("torchvision/resnet19")
    with pytest.raises(UsageError, match="3 channels, the data set has 1"):
        make(channels=1)
