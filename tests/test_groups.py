"""Tests that share a costly fixture run in one worker."""

import pytest

pytestmark = pytest.mark.xdist_group("groups")


def test_tests_of_a_group_stay_together(request: pytest.FixtureRequest) -> None:
    if not hasattr(request.config, "workerinput"):
        pytest.skip("runs in one process")
    assert request.node.nodeid.endswith("@groups"), "pytest-xdist does not see the group"
