import itertools

import numpy as np
import pytest
import torch

from qbench.datasets.augmentation import normalise
from qbench.datasets.batches import split
from qbench.datasets.loader import make_loader
from qbench.errors import UsageError
from qbench.study.trial import TrialData

BOTH = ("crop", "flip")


@pytest.fixture
def images(open_set):
    return open_set("synthetic", train=70, test=33, noise=0.5)


@pytest.fixture
def make(images):
    def made(*, batch=16, evaluation_batch=10, augmentation=BOTH, seed=0, **data):
        settings = TrialData(name="synthetic", **data)
        return make_loader(images, settings, batch, evaluation_batch, augmentation, seed, "cpu")

    return made


def same(ours, theirs):
    pairs = list(itertools.zip_longest(ours, theirs))
    return bool(pairs) and all(
        torch.equal(a, b) for ours, theirs in pairs for a, b in zip(ours, theirs, strict=True)
    )


def rows(batches):
    """The images of batches as a set of bytes; noise makes each image unique."""
    return [image.contiguous().numpy().tobytes() for pixels, _ in batches for image in pixels]


def test_batches_have_the_promised_form(make):
    pixels, labels = next(make().training(0))
    assert (pixels.shape, pixels.dtype) == ((16, 3, 8, 8), torch.float32)
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    assert (labels.shape, labels.dtype) == ((16,), torch.int64)


def test_two_loaders_of_one_seed_agree(make):
    assert same(make().training(3), make().training(3))


@pytest.mark.parametrize("augmentation", [(), ("crop",), ("flip",), BOTH])
def test_order_does_not_depend_on_the_augmentation(make, augmentation):
    labels = [labels for _, labels in make(augmentation=augmentation).training(1)]
    assert same([labels], [[labels for _, labels in make(augmentation=()).training(1)]])


def test_crops_do_not_depend_on_flips(make):
    cropped = torch.cat([pixels for pixels, _ in make(augmentation=("crop",)).training(0)])
    both = torch.cat([pixels for pixels, _ in make(augmentation=BOTH).training(0)])
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(cropped, both, strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(cropped, both, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 10 < sum(mirrored) < 54  # 64 fair coins: outside with a chance of 1e-8


def test_seeds_and_epochs_differ(make):
    assert not same(make(seed=0).training(0), make(seed=1).training(0))
    assert not same(make().training(0), make().training(1))


@pytest.mark.parametrize("start", [0, 1, 3, 4])
def test_an_epoch_continues_at_any_batch(make, start):
    whole = list(make().training(2))
    assert len(whole) == 4  # 70 images in batches of 16
    rest = list(make().training(2, start))
    assert len(rest) == 4 - start
    assert start == 4 or same(rest, whole[start:])


def test_an_epoch_shows_each_image_once(make, images):
    loader = make(batch=14, augmentation=())
    assert loader.steps_per_epoch == 5  # 70 in batches of 14
    seen = rows(loader.training(0))
    known = rows(
        [(normalise(torch.from_numpy(images.train_images), loader.scale, loader.shift),) * 2]
    )
    assert sorted(seen) == sorted(known)


@pytest.mark.parametrize(("batch", "steps", "size"), [(32, 2, 32), (70, 1, 70), (100, 1, 70)])
def test_the_last_batch_is_dropped_unless_it_is_the_only_one(make, batch, steps, size):
    loader = make(batch=batch)
    sizes = [len(labels) for _, labels in loader.training(0)]
    assert sizes == [size] * steps
    assert loader.steps_per_epoch == steps


def test_training_validation_and_test_images_never_overlap(make):
    loader = make(validation=20, batch=10, augmentation=())
    training, validation = set(rows(loader.training(0))), set(rows(loader.validation()))
    test = set(rows(loader.test()))
    assert (len(training), len(validation), len(test)) == (50, 20, 33)
    assert len(training | validation | test) == 103


def test_the_split_does_not_depend_on_the_seed(make):
    assert same(make(seed=0, validation=9).validation(), make(seed=5, validation=9).validation())


def test_no_validation_images_no_validation(make):
    assert make().validation() is None


@pytest.mark.parametrize("validation", [70, 71])
def test_nothing_left_to_train_on_is_refused(make, validation):
    with pytest.raises(UsageError, match=f"data.validation is {validation}.*70 training images"):
        make(validation=validation)


def test_a_limit_takes_a_part_of_what_a_larger_one_takes():
    small, held = split(100, 10, 20)
    large, also_held = split(100, 10, 50)
    every, _ = split(100, 10, None)
    np.testing.assert_array_equal(held, also_held)
    assert set(small) < set(large) < set(every)
    assert (len(small), len(large), len(every)) == (20, 50, 90)


def test_test_images_come_whole_and_in_order(make, images):
    sizes, labels = zip(*((len(x), y) for x, y in make().test()), strict=True)
    assert sizes == (10, 10, 10, 3)
    np.testing.assert_array_equal(torch.cat(labels).numpy(), images.test_labels)


def test_evaluation_batch_changes_no_pixel(make):
    parts = [torch.cat([x for x, _ in make(evaluation_batch=n).test()]) for n in (7, 33)]
    assert torch.equal(*parts)


def test_plain_and_diagnostic_batches_are_the_same_for_every_seed(make):
    ours, theirs = make(seed=0, limit=50), make(seed=9, limit=50)
    plain = list(ours.plain_training(2))
    assert [len(labels) for _, labels in plain] == [16, 16]
    assert same(plain, theirs.plain_training(2))
    assert same([ours.diagnostic(20)], [theirs.diagnostic(20)])
    assert torch.equal(ours.diagnostic(20)[0][:16], plain[0][0])  # unaugmented both
    assert set(rows(plain)) <= set(rows(make(limit=50, batch=50, augmentation=()).training(0)))


def test_plain_batches_end_with_the_epoch(make):
    assert len(list(make().plain_training(100))) == make().steps_per_epoch
    assert [len(y) for _, y in make(limit=5).plain_training(3)] == [5]
    assert len(make(limit=5).diagnostic(64)[1]) == 5


def test_the_sets_own_augmentation_is_the_default(make, images):
    assert images.augmentation == ()
    assert same(make(augmentation=None).training(0), make(augmentation=()).training(0))


def test_torchs_generator_is_neither_read_nor_moved(make):
    torch.manual_seed(1)
    first = list(make(validation=5).training(0))
    torch.manual_seed(2)
    before = torch.get_rng_state()
    loader = make(validation=5)
    assert same(loader.training(0), first)
    for batches in (loader.validation(), loader.test(), loader.plain_training(2)):
        list(batches)
    assert torch.equal(torch.get_rng_state(), before)


def test_images_on_a_cpu_are_the_mapped_pages(make, images):
    pixels, _ = make()._parts["train"]
    assert pixels.data_ptr() == images.train_images.ctypes.data


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gets_the_bits_of_a_cpu(make, images):
    settings = TrialData(name="synthetic", validation=9)
    on_gpu = make_loader(images, settings, 16, 10, BOTH, 0, "cuda")
    moved = [(pixels.cpu(), labels.cpu()) for pixels, labels in on_gpu.training(0)]
    assert same(moved, make(validation=9).training(0))
