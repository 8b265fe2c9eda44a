"""The pinned costs of a step, and what a kernel, a byte and a host sync are."""

import json
from collections.abc import Callable

import pytest
import torch
from short_run import marks
from torch import Tensor, nn

from qbench.bench.counters import BATCH, FILE, count_step, read_rows, rows
from qbench.study.schema import Bits, Component, options_text
from qbench.training.operators import Counts, count

X = torch.arange(12.0).view(3, 4)
FLOATS = 12 * 4  # bytes of X
ADVICE = "if the change is meant, write the file again: python -m qbench.bench.counters"
PINNED = {(row.quantizer, row.options, row.bits): row.counts for row in read_rows()}


def key(method: Component, bits: Bits) -> tuple[str, str, str]:
    return method.name, options_text(method.options), str(bits)


def cases() -> list[object]:
    return [
        pytest.param(
            method,
            bits,
            id=" ".join(key(method, bits)),
            marks=[pytest.mark.slow] if long(method, bits) else marks(method.name),
        )
        for method, bits in rows()
    ]


def long(method: Component, bits: Bits) -> bool:
    """A form of a method, and its activations alone: what is counted with 4-bit weights too."""
    return bool(method.options) or str(bits) == "W32A4"


@pytest.mark.parametrize(("method", "bits"), cases())
def test_a_step_costs_what_is_pinned(method: Component, bits: Bits) -> None:
    counted_with = json.loads(FILE.read_text(encoding="utf-8"))["torch"]
    assert count_step(method.name, bits, method.options) == PINNED.get(key(method, bits)), (
        f"counted with torch {torch.__version__}, pinned with torch {counted_with}; {ADVICE}"
    )


def test_the_file_holds_every_row_and_no_other() -> None:
    assert list(PINNED) == [key(method, bits) for method, bits in rows()], ADVICE


def test_no_method_makes_the_host_wait() -> None:
    assert {name: counts for name, counts in PINNED.items() if counts.host_syncs} == {}


def test_no_method_costs_less_than_the_float_step() -> None:
    plain = PINNED["float", "", "W32A32"]
    for counts in PINNED.values():
        assert counts.kernels >= plain.kernels
        assert counts.bytes >= plain.bytes
        assert counts.flops >= plain.flops


@pytest.mark.parametrize(
    ("step", "kernels", "size"),
    [
        (lambda: X + 1, 1, 2 * FLOATS),  # one read, one written
        (lambda: X * X, 1, 3 * FLOATS),  # both arguments count
        (lambda: X.clone().add_(X), 2, 2 * FLOATS + 3 * FLOATS),  # what is changed counts twice
        (lambda: X[:, :1].expand(3, 4) + X, 1, 3 * 4 + 2 * FLOATS),  # 3 numbers, broadcast
        (lambda: X.t().reshape(12)[0], 1, 2 * FLOATS),  # the reshape copies, the rest is views
        (lambda: X.view(-1).detach().unsqueeze(0), 0, 0),
        (lambda: torch.empty_like(X), 0, 0),
        (lambda: torch.zeros_like(X), 1, 2 * FLOATS),
        (lambda: torch._foreach_add_([X.clone(), X.clone()], 1.0), 3, 4 * FLOATS + 4 * FLOATS),
    ],
)  # fmt: skip
def test_kernels_and_bytes_are_those_on_paper(
    step: Callable[[], object], kernels: int, size: int
) -> None:
    assert count(step) == Counts(kernels, size, host_syncs=0, flops=0)


def test_the_float_step_of_resnet20_is_that_on_paper() -> None:
    first, widths = 3 * 16 * 9 * 32**2, ((16, 16, 32), (16, 32, 16), (32, 64, 8))
    products = first + 64 * 10
    for inputs, outputs, side in widths:
        products += (inputs + 5 * outputs) * outputs * 9 * side**2
    # forward, and two products of that size backward; but no gradient of the images
    assert PINNED["float", "", "W32A32"].flops == 2 * BATCH * (3 * products - first)
    assert count(lambda: X @ X.T).flops == 2 * 3 * 4 * 3


def test_the_backward_is_counted_too() -> None:
    leaf = X.clone().requires_grad_()
    counts = count(lambda: leaf.exp().sum().backward())
    # exp, sum; ones_like of the loss, the sum's expand (a view), gradient times exp
    assert counts.kernels == 4


def assign(value: Tensor, index: Tensor) -> None:
    value.clone()[index] = value[0, 0]


@pytest.mark.parametrize(
    "step",
    [
        lambda: X[0, 0].item(), lambda: bool(X[0, 0] > 0), lambda: float(X.sum()),
        lambda: torch.equal(X, X), lambda: X.nonzero(), lambda: X.unique(), lambda: X[X > 3],
        lambda: X.masked_select(X > 3), lambda: assign(X, X > 3), lambda: X.tolist(),
        lambda: X.numpy(), lambda: X.cpu(), lambda: torch.tensor([1.0, 2.0]),
    ],
)  # fmt: skip
def test_what_makes_a_host_wait_is_seen(step: Callable[[], object]) -> None:
    assert count(step).host_syncs == 1


@pytest.mark.parametrize(
    "step",
    [
        lambda: X[torch.arange(2)], lambda: X.where(X > 3, 0.0), lambda: X.clone().fill_(0.5),
        lambda: X.index_select(0, torch.arange(2)), lambda: torch.full((2,), 1.0),
        lambda: X.masked_fill(X > 3, 0.0), lambda: torch.bucketize(X, X[0]),
    ],
)  # fmt: skip
def test_what_lets_the_host_go_on_is_not(step: Callable[[], object]) -> None:
    assert count(step).host_syncs == 0


def test_an_optimizers_own_step_count_is_the_hosts() -> None:
    weight = nn.Parameter(X.clone())
    weight.grad = torch.ones_like(weight)
    adam = torch.optim.Adam([weight])
    adam.step()
    assert count(adam.step).host_syncs > 0  # it reads its count
    known = count(adam.step, [adam])
    assert known.host_syncs == 0
    # The averages (lerp, mul, addcmul), the denominator (sqrt, div, add), the step (addcdiv)
    assert known.kernels == 7
