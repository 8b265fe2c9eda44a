"""A fingerprint follows what code does, into the helper files beside it."""

from pathlib import Path

import pytest

from qbench.study.fingerprint import code_fingerprint

METHOD = (
    '"""A method."""\nfrom somewhere.helper import half\n\n\ndef value(x):\n    return half(x)\n'
)
HELPER = "def half(x):\n    return x / 2\n"


@pytest.fixture
def method(tmp_path: Path) -> Path:
    (tmp_path / "method.py").write_text(METHOD)
    (tmp_path / "helper.py").write_text(HELPER)
    return tmp_path / "method.py"


def digits(path: Path) -> str:
    code_fingerprint.cache_clear()
    return code_fingerprint((path,))


def test_comments_docstrings_and_layout_do_not_count(method: Path) -> None:
    before = digits(method)
    method.write_text("# a comment\n" + METHOD.replace("A method", "The method") + "\n\n")
    assert digits(method) == before


def test_what_says_how_to_tune_or_ablate_a_method_does_not_count(method: Path) -> None:
    plain = METHOD + "\n\nclass Method:\n    bits = 2\n    share = 0.5\n"
    method.write_text(plain)
    before = digits(method)
    said = (
        '    search = {"share": [0.5, 0.7]}\n    """Told."""\n    components: dict = {}\n    share'
    )
    method.write_text(plain.replace("    share", said))
    assert digits(method) == before
    method.write_text(plain.replace("bits = 2", "bits = 3"))
    assert digits(method) != before


@pytest.mark.parametrize("name", ["method.py", "helper.py"])
def test_code_counts_also_that_of_a_helper_file(method: Path, name: str) -> None:
    before = digits(method)
    path = method.with_name(name)
    path.write_text(
        path.read_text().replace("x / 2", "x / 3").replace("half(x)\n", "half(x) + 1\n")
    )
    assert digits(method) != before


def test_other_files_beside_it_do_not_count(method: Path) -> None:
    before = digits(method)
    method.with_name("other.py").write_text("x = 1\n")
    assert digits(method) == before
