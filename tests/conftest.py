"""The order of all tests, and what tests of several folders share."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before torch is imported, here and in what tests start: processes share the cores, and tensors are
# small, so that threads which wait for each other would take longer than one.
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files come first: at the end the other worker would wait for them."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_collection_finish() -> None:
    """Seek garbage seldom, and not among thousands of tests."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture
def own_registries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a study's plug-ins add in this process is gone after the test, their modules too."""
    from qbench import registry

    registries = (registry.quantizers, registry.models, registry.datasets, registry.diagnostics)
    for one in registries:
        monkeypatch.setattr(one, "_added", {})
    before = list(sys.path)
    monkeypatch.setattr(sys, "path", list(before))
    yield
    added = {
        file.stem for place in set(sys.path) - set(before) for file in Path(place).glob("*.py")
    }
    for module in added:
        sys.modules.pop(module, None)
    for one in registries:  # what was imported from qbench meanwhile stays
        for name, declared in list(one._objects.items()):
            if declared.__module__ in added:
                del one._objects[name]


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database without experiments; making one takes seconds, copying it does not."""
    from qbench.tracking.client import Store

    folder = tmp_path_factory.mktemp("migrated")
    store = Store(f"sqlite:///{folder / 'mlflow.db'}", folder)
    store.client._tracking_client.store.engine.dispose()
    return folder / "mlflow.db"
