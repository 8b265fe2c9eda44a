import itertools
import shutil

import pytest
import torch
from PIL import Image

from qbench.datasets.folder import ImageNet
from qbench.datasets.loader import StreamedLoader, make_loader
from qbench.datasets.prepare import open_images, prepare
from qbench.errors import UsageError
from qbench.study.trial import TrialData


@pytest.fixture
def images(image_folder, open_set):
    return open_set("folder", image_folder, size=16)


@pytest.fixture
def make(images):
    def made(augmentation=None, seed=0, **data):
        settings = TrialData(name="folder", **data)
        return make_loader(images, settings, 4, 5, augmentation, seed, "cpu")

    return made


def same(ours, theirs):
    pairs = list(itertools.zip_longest(ours, theirs))
    return bool(pairs) and all(
        torch.equal(a, b) for ours, theirs in pairs for a, b in zip(ours, theirs, strict=True)
    )


def test_a_folder_becomes_batches_of_the_asked_size(make, images):
    assert (images.classes, images.shape, images.streamed) == (2, (3, 16, 16), True)
    loader = make()
    assert isinstance(loader, StreamedLoader)
    batches = list(loader.training(0))
    assert [len(labels) for _, labels in batches] == [4, 4, 4]  # 14 images, the last 2 dropped
    pixels, labels = batches[0]
    assert (pixels.shape, pixels.dtype, labels.dtype) == (
        (4, 3, 16, 16),
        torch.float32,
        torch.int64,
    )
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    assert torch.cat([labels for _, labels in loader.test()]).tolist() == [0, 0, 0, 1, 1, 1]


def test_an_epoch_is_the_same_again_and_continues_at_any_batch(make, monkeypatch):
    whole = list(make().training(1))
    assert same(make().training(1, 1), whole[1:])
    assert list(make().training(1, 3)) == []  # the epoch had 3 batches
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)  # as many workers
    assert same(make().training(1), whole)


def test_seeds_and_epochs_differ(make):
    first = list(make().training(0))
    assert not same(first, make().training(1))
    assert not same(first, make(seed=1).training(0))


def test_evaluation_is_resize_and_centre_crop(make, image_folder):
    from torchvision.transforms import v2

    pixels, _ = next(make().test())
    with Image.open(image_folder / "folder" / "val" / "cat" / "0.png") as picture:
        steps = [
            v2.Resize(18),
            v2.CenterCrop(16),
            v2.PILToTensor(),
        ]  # 18 = 16 / 0.875, as 256 / 224
        wanted = v2.Compose(steps)(picture)
    back = (pixels[0] - make().shift[0]) / make().scale[0]
    assert torch.equal(back.round().to(torch.uint8), wanted)


def test_without_augmentation_seeds_differ_in_order_only(make):
    ours, theirs = (
        torch.cat([x for x, _ in make((), seed=s, limit=12).training(0)]) for s in (0, 1)
    )
    assert not torch.equal(ours, theirs)
    assert torch.equal(ours.flatten(1).sum(1).sort()[0], theirs.flatten(1).sum(1).sort()[0])


def test_torchs_generator_is_not_moved(make):
    before = torch.get_rng_state()
    list(make().training(0))
    make().diagnostic(3)
    assert torch.equal(torch.get_rng_state(), before)


def test_held_out_images_are_of_the_training_folder(make):
    loader = make(validation=5)
    assert sum(len(labels) for _, labels in loader.validation()) == 5
    assert loader.steps_per_epoch == 2  # 9 left, in batches of 4


def test_a_changed_folder_is_listed_anew(image_folder, tmp_path):
    data = TrialData(name="folder")
    first = open_images(prepare(data, image_folder, tmp_path / "cache"))
    again = open_images(prepare(data, image_folder, tmp_path / "cache"))
    assert again.digest == first.digest
    (image_folder / "folder" / "train" / "cat" / "0.png").unlink()
    changed = open_images(prepare(data, image_folder, tmp_path / "cache"))
    assert (len(first.train_labels), len(changed.train_labels)) == (14, 13)
    assert changed.digest != first.digest


def test_a_moved_folder_is_the_same_set(image_folder, tmp_path):
    data = TrialData(name="folder")
    first = open_images(prepare(data, image_folder, tmp_path / "cache"))
    shutil.move(image_folder, tmp_path / "elsewhere")
    second = open_images(prepare(data, tmp_path / "elsewhere", tmp_path / "cache"))
    assert second.digest == first.digest
    assert second.source == str(tmp_path / "elsewhere" / "folder")


def test_a_broken_image_is_named(make, image_folder):
    file = image_folder / "folder" / "val" / "dog" / "1.png"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(UsageError, match=r"^the image .*dog/1\.png cannot be read"):
        list(make().test())


def break_layout(folder, how):
    if how == "no train":
        shutil.rmtree(folder / "train")
    elif how == "no val":
        shutil.rmtree(folder / "val")
    elif how == "no classes":
        shutil.rmtree(folder / "train" / "cat")
        shutil.rmtree(folder / "train" / "dog")
    elif how == "empty class":
        (folder / "train" / "bird").mkdir()
    else:
        (folder / "val" / "bird").mkdir()


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("no train", "'folder' is missing: there is no train"),
        ("no val", "no val or test folder"),
        ("no classes", "no class folder in .*train"),
        ("empty class", "no valid file for the classes bird"),
        ("new class", "not in train: bird"),
    ],
)
def test_a_wrong_layout_is_one_sentence(image_folder, open_set, how, sentence):
    break_layout(image_folder / "folder", how)
    with pytest.raises(UsageError, match=sentence):
        open_set("folder", image_folder)


def test_test_is_preferred_to_val_and_the_folder_can_be_named(image_folder, open_set):
    (image_folder / "folder").rename(image_folder / "pets")
    shutil.copytree(image_folder / "pets" / "val" / "cat", image_folder / "pets" / "test" / "cat")
    assert open_set("folder", image_folder, folder="pets").test_labels.tolist() == [0, 0, 0]


def test_imagenet_must_have_its_classes(image_folder, open_set, monkeypatch):
    (image_folder / "folder").rename(image_folder / "imagenet")
    with pytest.raises(UsageError, match="has 2 class folders.*1000.*use 'folder'"):
        open_set("imagenet", image_folder)
    monkeypatch.setattr(ImageNet, "classes", 2)
    assert len(open_set("imagenet", image_folder).train_labels) == 14


def test_too_small_a_size_is_refused(image_folder, open_set):
    with pytest.raises(UsageError, match="size=4 is too small"):
        open_set("folder", image_folder, size=4)
