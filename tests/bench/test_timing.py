"""The timing core, on a clock that the test moves."""

import gc
from collections.abc import Iterator

import pytest

from qbench.bench.timing import Arm, Spent, cpu_watch, measure


@pytest.fixture(autouse=True)
def _small_heap() -> Iterator[None]:
    """What other tests left takes a collection seconds."""
    gc.freeze()
    yield
    gc.unfreeze()


class Clock:
    """A watch; an arm moves it by what the list for its turn says."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []
        self.collecting: list[bool] = []

    def arm(self, name: str, *seconds: float) -> Arm:
        """Takes the seconds in turns, then the last of them."""
        left = list(seconds)

        def call() -> None:
            self.calls.append(name)
            self.collecting.append(gc.isenabled())
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return call

    def watch(self, call: Arm) -> Spent:
        begin = self.now
        call()
        return Spent(self.now - begin, 2 * (self.now - begin))


def test_an_arm_costs_its_smallest_round() -> None:
    clock = Clock()
    # The first of each is the warm-up.
    arms = {"a": clock.arm("a", 1, 4, 2, 3), "b": clock.arm("b", 1, 8, 6, 7)}
    found = measure({**arms, "c": clock.arm("c", 5)}, rounds=3, watch=clock.watch, twice="c")
    assert found.seconds == {"a": 2, "b": 6, "c": 5}
    assert found.wall == {"a": 4, "b": 12, "c": 10}
    assert found.error == 1
    assert found.ratio("b", "a") == 3


def test_the_same_arm_twice_gives_the_error() -> None:
    clock = Clock()
    # Warm-up, then in each round once as itself and once as its double.
    found = measure({"a": clock.arm("a", 9, 4, 5)}, rounds=1, watch=clock.watch)
    assert found.error == pytest.approx(5 / 4)
    swapped = measure({"a": clock.arm("a", 9, 5, 4)}, rounds=1, watch=clock.watch)
    assert swapped.error == pytest.approx(5 / 4), "at least 1, whichever is slower"


def test_arms_take_turns_and_each_begins_a_round() -> None:
    clock = Clock()
    arms = {name: clock.arm(name, 1) for name in "abc"}
    measure(arms, rounds=3, watch=clock.watch, twice="c", warmup=0)
    assert "".join(clock.calls) == "abcc" + "bcca" + "ccab"


def test_nothing_is_collected_while_an_arm_runs() -> None:
    clock = Clock()
    measure({"a": clock.arm("a", 1)}, rounds=2, watch=clock.watch, warmup=0)
    assert clock.collecting == [False] * 4  # two rounds, twice each
    assert gc.isenabled()


def test_collection_goes_on_after_an_arm_fails() -> None:
    with pytest.raises(ZeroDivisionError):
        measure({"a": lambda: 1 / 0}, rounds=1, watch=cpu_watch, warmup=0)
    assert gc.isenabled()
