"""Every registered set, on small files in its own format."""

import gzip

import numpy as np
import pytest

from qbench.datasets.digits import Digits, held_out
from qbench.datasets.prepare import prepare
from qbench.datasets.vision import torchvision_module
from qbench.errors import UsageError
from qbench.registry import datasets
from qbench.study.trial import TrialData

FACTS = ("classes", "shape", "mean", "std", "augmentation", "streamed")


@pytest.mark.parametrize("name", datasets.entries())
def test_every_set_declares_its_facts_for_the_listing(name):
    entry = datasets.entry(name)
    # Only the files of a folder tell how many classes it has.
    assert set(FACTS) - ({"classes"} if name == "folder" else set()) <= set(entry.facts)
    assert len(entry.facts["mean"]) == len(entry.facts["std"]) == entry.facts["shape"][0]
    assert set(entry.facts["augmentation"]) <= {"crop", "flip"}
    assert entry.summary.endswith(".")
    made = datasets.load(name)()
    assert {fact: getattr(made, fact) for fact in entry.facts} == dict(entry.facts)


def test_digits_keeps_a_fifth_of_each_class_for_the_test(open_set):
    images = open_set("digits")
    assert len(images.train_images) + len(images.test_images) == 1797  # as scikit-learn has
    assert images.train_images.max() == 255  # 16, the brightest
    every = np.bincount(images.train_labels) + np.bincount(images.test_labels)
    np.testing.assert_allclose(np.bincount(images.test_labels), every / 5, atol=0.5)
    pixels = images.train_images / 255
    assert (round(pixels.mean(), 4), round(pixels.std(), 4)) == (Digits.mean[0], Digits.std[0])


def test_held_out_is_sorted_unique_and_fixed():
    labels = np.arange(100) % 4
    chosen = held_out(labels)
    assert len(chosen) == 20  # a fifth of 100
    assert np.all(np.diff(chosen) > 0)
    np.testing.assert_array_equal(chosen, held_out(labels))


def test_synthetic_images_can_be_learned_by_the_nearest_mean(open_set):
    images = open_set("synthetic", classes=4, size=12, channels=1, train=80, test=40)
    assert images.train_images.shape == (80, 1, 12, 12)
    assert np.bincount(images.train_labels).tolist() == [20] * 4
    means = np.stack([images.train_images[images.train_labels == c].mean(0) for c in range(4)])
    distances = ((images.test_images[:, None] - means[None]) ** 2).sum((2, 3, 4))
    assert (distances.argmin(1) == images.test_labels).all()


def test_synthetic_seeds_differ_and_bad_options_are_refused(open_set):
    assert open_set("synthetic").digest != open_set("synthetic", seed=1).digest
    with pytest.raises(UsageError, match="size=10.*multiple of 4"):
        open_set("synthetic", size=10)


@pytest.mark.parametrize(("name", "train"), [("cifar10", 20), ("cifar100", 8)])
@pytest.mark.parametrize("own_folder", [True, False])
def test_cifar_is_as_torchvision_reads_it(cifar_root, open_set, name, train, own_folder):
    from torchvision import datasets as torchvision_sets

    images = open_set(name, cifar_root if own_folder else cifar_root / name)
    kind = getattr(torchvision_sets, name.upper())
    theirs = kind(cifar_root / name, train=True)
    assert len(images.train_images) == len(theirs) == train
    for index in (0, train - 1):
        picture, label = theirs[index]
        np.testing.assert_array_equal(
            images.train_images[index], np.asarray(picture).transpose(2, 0, 1)
        )
        assert images.train_labels[index] == label
    assert images.test_images.shape == (6, 3, 32, 32)


@pytest.mark.parametrize(("name", "kind"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
@pytest.mark.parametrize("own_folder", [True, False])
def test_mnist_is_as_torchvision_reads_it(mnist_root, open_set, name, kind, own_folder):
    from torchvision import datasets as torchvision_sets

    images = open_set(name, mnist_root if own_folder else mnist_root / name)
    theirs = getattr(torchvision_sets, kind)(mnist_root / name, train=False)
    assert images.train_images.shape == (7, 1, 28, 28)
    assert len(theirs) == 3
    for index, (picture, label) in enumerate(theirs):
        np.testing.assert_array_equal(images.test_images[index, 0], np.asarray(picture))
        assert images.test_labels[index] == label


FILES = [
    ("cifar10", "CIFAR10", "cifar-10-batches-py/data_batch_3"),
    ("cifar100", "CIFAR100", "cifar-100-python/meta"),
    ("mnist", "MNIST", "MNIST/raw/t10k-labels-idx1-ubyte"),
    ("fashion_mnist", "FashionMNIST", "FashionMNIST/raw/train-images-idx3-ubyte"),
]


@pytest.mark.parametrize(("name", "kind", "file"), FILES)
def test_a_missing_set_is_one_sentence(tmp_path, name, kind, file):
    with pytest.raises(UsageError) as caught:
        prepare(TrialData(name=name), tmp_path / "nowhere", tmp_path / "cache")
    sentence = str(caught.value)
    assert "\n" not in sentence
    for part in (f"'{name}' is missing", str(tmp_path / "nowhere" / name), f"datasets.{kind}("):
        assert part in sentence
    assert not (tmp_path / "cache").exists()


@pytest.mark.fault
@pytest.mark.parametrize(("name", "kind", "file"), FILES)
def test_a_missing_file_is_named(cifar_root, mnist_root, name, kind, file, open_set):
    (cifar_root / name / file).unlink()
    with pytest.raises(UsageError, match=rf"not whole: {file} missing; .*datasets\.{kind}\("):
        open_set(name, cifar_root)


@pytest.mark.fault
@pytest.mark.parametrize(("name", "kind", "file"), FILES)
def test_a_damaged_file_is_named(cifar_root, mnist_root, name, kind, file, open_set):
    path = cifar_root / name / file
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UsageError, match=rf"damaged: {file} has a wrong checksum; delete it"):
        open_set(name, cifar_root)


def test_packed_mnist_files_alone_are_missing_files(mnist_root, open_set):
    for file in (mnist_root / "mnist" / "MNIST" / "raw").iterdir():
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    with pytest.raises(UsageError, match=r"download=True"):  # which unpacks them
        open_set("mnist", mnist_root)


def test_a_torchvision_of_another_build_is_explained(monkeypatch):
    def broken(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("qbench.datasets.vision.importlib.import_module", broken)
    with pytest.raises(UsageError, match="nms does not exist.*CPU.*CUDA.*same index"):
        torchvision_module("datasets")
