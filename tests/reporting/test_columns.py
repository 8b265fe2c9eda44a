"""Numbers at the start of cells, columns of numbers, and heads over several columns."""

import pytest

from qbench.reporting.columns import Span, is_numeric, spans, split_number
from qbench.reporting.document import Entry


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("25.09 ± 1.10 (2)", ("25.09", " ± 1.10 (2)")),
        ("−6.04 [−7.1, −5.0]", ("-6.04", " [−7.1, −5.0]")),
        ("+0.50", ("+0.50", "")),
        ("1.22×", ("1.22", "×")),
        ("1.2e-05", ("1.2e-05", "")),
        ("2 of 3", ("2", " of 3")),
        ("failed: diverged (1 of 2)", None),
        ("2.13.0", None),  # a version
        ("0.9, 0.999", None),  # a list
        ("2026-01-02", None),
        ("8x8", None),
        ("—", None),
        ("", None),
    ],
)
def test_the_number_that_starts_a_text(text: str, parts: tuple[str, str] | None) -> None:
    assert split_number(text) == parts


@pytest.mark.parametrize(
    ("texts", "numeric"),
    [
        (["1.0", "2.0", "—"], True),
        (["1.0", "2.0", "3.0", "failed"], True),
        (["20", "0.1", "sgd", "cosine"], False),  # settings
        (["—", "—"], False),
        ([], False),
    ],
)
def test_a_column_of_numbers(texts: list[str], numeric: bool) -> None:
    assert is_numeric([Entry(text) for text in texts]) is numeric


def test_a_value_makes_a_column_one_of_numbers() -> None:
    assert is_numeric([Entry("1 of 3", value=1 / 3), Entry("failed"), Entry("failed")])


def test_heads_are_shared_only_below_the_same_head() -> None:
    outer, inner, last = spans([("a", "x", "1"), ("a", "y", "1"), ("b", "y", "1"), ("b", "y", "1")])
    assert outer == [Span("a", 0, 2), Span("b", 2, 2)]
    assert inner == [Span("x", 0, 1), Span("y", 1, 1), Span("y", 2, 2)]
    assert [span.size for span in last] == [1, 1, 1, 1]
