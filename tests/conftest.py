"""The order of all tests."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share one worker come first: at the end the other worker would wait for them."""
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)
