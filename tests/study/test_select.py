"""Parts of a plan keep what they start from, and together are the whole."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qbench.errors import UsageError
from qbench.study.expand import expand
from qbench.study.expressions import Expression
from qbench.study.plan import Plan
from qbench.study.schema import Study
from qbench.study.select import parse_shard, select, shard


@pytest.fixture
def plan(make_study: Callable[..., Study]) -> Plan:
    return expand(make_study(start="float"))


def test_selected_cells_bring_their_starts(plan: Plan) -> None:
    part = select(plan, "quantizer == 'ste' and model == 'mlp' and seed == 0")
    assert len(part.cells) == 2  # the bits
    (start,) = part.needed
    assert {cell.trial.needs for cell in part.cells} == {start.name}
    assert part.excluded == plan.excluded


def test_selected_starts_that_are_cells_stay_cells(plan: Plan) -> None:
    part = select(plan, "seed == 0 and quantizer in ('float', 'ste')")
    assert part.needed == ()
    assert len(part.trials()) == len(part.cells)
    assert select(part, "not quantizer == 'float'").needed  # a part of a part


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("seed == 7", "no trial matches 'seed == 7'; the rows of 'toy' are: float, ste, lsq"),
        ("quantizr == 'ste'", "there is no name 'quantizr'; did you mean 'quantizer'?"),
        ("quantizer = 'ste'", "is not an expression"),
        ("", "is not an expression"),
        ("seed", "neither true nor false"),
        ("seed + 'a' == 1", "cannot be computed"),
        ("__import__('os').system('true') == 0", "there is no name '__import__'"),
        ("''.__class__ == 1", "cannot be computed"),
        ("print(1) == 1", "there is no name 'print'"),
        ("9 ** 9 ** 9 == 1", "cannot be computed"),
        ("(" * 500, "is not an expression"),
    ],
)
def test_a_bad_expression_is_one_sentence(plan: Plan, expression: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        select(plan, expression)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text(st.sampled_from("sed=0'() notquanizr[],+<.9*"), max_size=20))
def test_any_text_is_an_expression_or_a_sentence(text: str) -> None:
    with suppress(UsageError):  # anything else is a traceback for the user
        Expression(text)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_shards_are_the_whole_plan_each_trial_once(plan: Plan, count: int) -> None:
    parts = [shard(plan, index, count) for index in range(1, count + 1)]
    names = [name for part in parts for name in part.trials()]
    assert sorted(names) == sorted(plan.trials())
    cells = [cell.trial.name for part in parts for cell in part.cells]
    assert sorted(cells) == sorted(cell.trial.name for cell in plan.cells)
    for part in parts:
        for trial in part.trials().values():
            assert trial.needs is None or trial.needs in part.trials()
    sizes = [len(part.trials()) for part in parts]
    assert max(sizes) - min(sizes) <= 5  # a float trial with its 2 quantizers x 2 bits


def test_shards_bring_starts_that_no_row_asks_for(make_study: Callable[..., Study]) -> None:
    plan = expand(make_study(start="float", quantizers=["ste"]))
    parts = [shard(plan, index, 2) for index in (1, 2)]
    assert [len(part.needed) for part in parts] == [2, 2]  # of 2 models x 2 seeds


def test_shards_do_not_depend_on_the_order_of_the_study(make_study: Callable[..., Study]) -> None:
    one = expand(make_study(start="float"))
    other = expand(make_study("seeds=[1,0]", "models=[resnet8, mlp]", start="float"))
    for index in (1, 2, 3):
        assert shard(one, index, 3).trials().keys() == shard(other, index, 3).trials().keys()


def test_parse_shard() -> None:
    assert parse_shard("2/4") == (2, 4)
    assert parse_shard(" 1/1 ") == (1, 1)


@pytest.mark.parametrize("text", ["", "1", "0/4", "5/4", "1/0", "a/b", "1/4/2", "-1/4", "1.0/2"])
def test_a_bad_shard_is_one_sentence(text: str) -> None:
    with pytest.raises(UsageError, match=r"write i/n with i from 1 to n, such as 1/4"):
        parse_shard(text)
