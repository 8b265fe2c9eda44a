"""What the README shows is what the repository holds."""

import re
from pathlib import Path

from qbench.registry import quantizers
from qbench.study.load import load_study

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_is_that_of_the_committed_report() -> None:
    report = (ROOT / "reports" / "quickstart" / "report.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| (.+?) +\| (\d+\.\d+ ± \d+\.\d+) \| (\d+\.\d+ ± \d+\.\d+) \|$", TEXT, re.M
    )
    assert len(rows) == 8
    for name, *cells in rows:
        start = name.removesuffix(" (a reconstruction)")
        (line,) = [line for line in report.splitlines() if line.startswith(f"| {start} ")][:1]
        assert all(f"{cell} (3)" in line for cell in cells), name


def test_every_quantizer_stands_in_the_list() -> None:
    for name in set(quantizers.entries()) - {"float"}:
        assert f"`{name}`" in TEXT


def test_the_example_study_is_one(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", TEXT, flags=re.DOTALL)
    path = tmp_path / "example.yaml"
    path.write_text(example)
    assert len(load_study(path).quantizers) == 4


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / target).exists(), target
