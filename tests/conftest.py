"""The order of all tests, and what tests of several folders share."""

import os
from pathlib import Path

import pytest

# Before torch is imported, here and in what tests start: processes share the cores, and tensors are
# small, so that threads which wait for each other would take longer than one.
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share one worker come first: at the end the other worker would wait for them."""
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database without experiments; making one takes seconds, copying it does not."""
    from qbench.tracking.client import Store

    folder = tmp_path_factory.mktemp("migrated")
    store = Store(f"sqlite:///{folder / 'mlflow.db'}", folder)
    store.client._tracking_client.store.engine.dispose()
    return folder / "mlflow.db"
