import json
import multiprocessing
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from qbench.datasets.prepare import open_images, prepare
from qbench.datasets.synthetic import Synthetic
from qbench.errors import UsageError
from qbench.study.trial import TrialData

DATA = TrialData(name="synthetic", options={"train": 40, "test": 20})


@pytest.fixture
def reads(monkeypatch):
    """The list of calls that decoded the set."""
    calls, read = [], Synthetic.read

    def counted(self, root):
        calls.append(root)
        return read(self, root)

    monkeypatch.setattr(Synthetic, "read", counted)
    return calls


def test_a_prepared_set_is_what_was_read(tmp_path):
    images = open_images(prepare(DATA, tmp_path, tmp_path / "cache"))
    content = Synthetic(train=40, test=20).read(tmp_path)
    for name, array in content.arrays().items():
        np.testing.assert_array_equal(getattr(images, name), array)
    assert (images.name, images.classes, images.shape) == ("synthetic", 10, (3, 8, 8))
    assert (images.mean, images.std) == ((0.5,) * 3, (0.25,) * 3)
    assert isinstance(images.train_images, np.memmap)


def test_the_second_call_decodes_nothing(tmp_path, reads):
    first = prepare(DATA, tmp_path, tmp_path / "cache")
    assert prepare(DATA, tmp_path, tmp_path / "cache") == first
    assert len(reads) == 1


def test_other_options_are_another_set(tmp_path):
    other = TrialData(name="synthetic", options={"train": 40, "test": 20, "noise": 0.5})
    folders = {prepare(data, tmp_path, tmp_path / "cache") for data in (DATA, other)}
    assert len({open_images(folder).digest for folder in folders}) == 2


def test_held_out_images_do_not_make_another_cache(tmp_path):
    smaller = DATA.model_copy(update={"validation": 5, "limit": 10})
    assert prepare(DATA, tmp_path, tmp_path) == prepare(smaller, tmp_path, tmp_path)


def truncate(folder):
    file = folder / "train_images.npy"
    file.write_bytes(file.read_bytes()[:-1])


def change_a_pixel(folder):
    file = folder / "train_images.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def spoil_the_header(folder):
    file = folder / "train_labels.npy"
    file.write_bytes(b"x" * file.stat().st_size)


def delete_labels(folder):
    (folder / "test_labels.npy").unlink()


def cut_meta(folder):
    meta = folder / "meta.json"
    meta.write_text(meta.read_text()[:50])


def change_a_fact(folder):
    meta = json.loads((folder / "meta.json").read_text())
    meta["classes"] = 11
    (folder / "meta.json").write_text(json.dumps(meta))


DAMAGES = (
    truncate, change_a_pixel, spoil_the_header, delete_labels, cut_meta, change_a_fact
)  # fmt: skip


@pytest.mark.fault
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_rebuilt(tmp_path, reads, damage):
    folder = prepare(DATA, tmp_path, tmp_path / "cache")
    digest = open_images(folder).digest
    damage(folder)
    assert prepare(DATA, tmp_path, tmp_path / "cache") == folder
    assert open_images(folder).digest == digest
    assert len(reads) == 2
    prepare(DATA, tmp_path, tmp_path / "cache")
    assert len(reads) == 2  # and it is whole again


@pytest.mark.fault
@pytest.mark.parametrize("damage", [truncate, delete_labels, cut_meta, change_a_fact])
def test_a_worker_refuses_what_is_not_as_recorded(tmp_path, damage):
    folder = prepare(DATA, tmp_path, tmp_path / "cache")
    damage(folder)
    with pytest.raises(UsageError, match="damaged.*run the study again"):
        open_images(folder)


@pytest.mark.fault
def test_what_a_killed_process_left_is_cleared(tmp_path):
    folder = prepare(DATA, tmp_path, tmp_path / "cache")
    left = folder.with_name(f".{folder.name}.partial")
    folder.rename(left)  # as if it was killed before the last step
    truncate(left)
    assert open_images(prepare(DATA, tmp_path, tmp_path / "cache")).digest
    assert not left.exists()


def test_a_set_that_is_mapped_can_be_rebuilt(tmp_path):
    folder = prepare(DATA, tmp_path, tmp_path / "cache")
    images = open_images(folder)
    before = np.array(images.train_images)
    delete_labels(folder)
    prepare(DATA, tmp_path, tmp_path / "cache")
    np.testing.assert_array_equal(images.train_images, before)


def test_processes_at_once_leave_one_whole_set(tmp_path, monkeypatch):
    barrier, read = multiprocessing.get_context("fork").Barrier(3), Synthetic.read

    def together(self, root):
        barrier.wait(20)
        return read(self, root)

    monkeypatch.setattr(Synthetic, "read", together)
    context = multiprocessing.get_context("fork")  # keeps the patch
    processes = [
        context.Process(target=prepare, args=(DATA, tmp_path, tmp_path / "cache")) for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    monkeypatch.setattr(Synthetic, "read", None)  # nothing is left to decode
    assert open_images(prepare(DATA, tmp_path, tmp_path / "cache")).digest
    assert not list((tmp_path / "cache").glob("*.partial"))


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UsageError, match=r"cannot be prepared in .*data\.cache"):
        prepare(DATA, tmp_path, tmp_path / "file" / "cache")


def with_content(**changes):
    read = Synthetic.read
    return lambda self, root: replace(read(self, root), **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"train_images": np.zeros((40, 3, 8, 8), np.float32)},
        {"train_images": np.zeros((40, 1, 8, 8), np.uint8)},
        {"test_labels": np.zeros(19, np.int64)},  # of 20 images
        {"classes": 9},  # with labels of 0 to 9
    ],
)
def test_a_set_that_gives_wrong_arrays_is_named(tmp_path, monkeypatch, changes):
    monkeypatch.setattr(Synthetic, "read", with_content(**changes))
    with pytest.raises(UsageError, match="the data set 'synthetic' (gives|has)"):
        prepare(DATA, tmp_path, tmp_path / "cache")


WORKER = """
import sys
from pathlib import Path
from qbench.datasets.prepare import open_images
assert "torch" not in sys.modules, "opening needs no torch"
images = open_images(Path(sys.argv[1]))
from qbench.datasets.loader import make_loader
from qbench.study.trial import TrialData
loader = make_loader(images, TrialData(name="synthetic"), 8, 8, ("crop", "flip"), 0, "cpu")
assert len(list(loader.training(0))) == 5, "40 images in batches of 8"
print(sorted({name.split(".")[0] for name in sys.modules} & {"torchvision", "PIL", "sklearn"}))
"""


def test_a_worker_imports_no_torchvision(tmp_path):
    folder = prepare(DATA, tmp_path, tmp_path / "cache")
    command = [sys.executable, "-c", WORKER, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
