"""The report as one page: whole, closed, sorted and filtered by its own script alone."""

import base64
import hashlib
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from qbench.reporting.document import Entry, Figure, Heading, Items, Part, Table, Text
from qbench.reporting.html import render_html

VOID = {"meta", "img", "input", "col", "br", "hr", "link"}
FETCHING = {"src", "href", "srcset", "poster", "data", "action", "background"}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TABLE = Table(
    key="main",
    caption="Accuracy.",
    head="row",
    columns=[("m1", "a"), ("m1", "b"), ("m2", "b")],
    rows=[
        ("lsq 10", [Entry("9.5 ± 1", value=9.5), Entry("x10"), Entry("—")]),
        ("lsq 9", [Entry("10.0 ± 1", bold=True, value=10.0), Entry("x9"), Entry("z", mark="bad")]),
        ("ste", [Entry("failed"), Entry("—"), Entry("y", mark="good")]),
        ("daq", [Entry("−1.0", value=-1.0), Entry("n/a", mark="none"), Entry("x")]),
    ],
    legend="Legend.",
    notes=["First note.", "Second note."],
)


class Page(HTMLParser):
    """The tags of a page, with what was not closed and what it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every such tag."""
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report")
    (path / "figures").mkdir()
    drawing = plt.figure(figsize=(4, 2))
    drawing.savefig(path / "figures" / "v1.5.png", dpi=100)
    plt.close(drawing)
    (path / "figures" / "broken.png").write_bytes(b"no image")
    return path


@pytest.fixture(scope="module")
def parts() -> list[Part]:
    return [
        Heading("study", level=1),
        Text("The answer.", strong=True),
        Items(("one", "two")),
        Heading("Comparison"),
        TABLE,
        Heading("Below", level=3),
        Figure(Path("figures/v1.5"), "A drawing"),
        Figure(Path("figures/broken"), "No drawing"),
        Figure(Path("figures/none"), "Nothing"),
        Heading("Comparison"),
        TABLE,
    ]


@pytest.fixture(scope="module")
def text(parts: list[Part], folder: Path) -> str:
    return render_html(parts, "study", folder)


def test_every_tag_is_closed(text: str) -> None:
    assert Page(text).open == []
    assert text.startswith("<!DOCTYPE html>")


def test_the_page_fetches_nothing(text: str) -> None:
    for _, attributes in Page(text).tags:
        for name in FETCHING & attributes.keys():
            assert str(attributes[name]).startswith(("#", "data:image/png;base64,"))
    assert "http:" not in text
    assert "https:" not in text
    assert "@import" not in text
    assert "url(" not in text


def test_no_other_script_or_style_may_run(text: str) -> None:
    (policy,) = [m["content"] for m in Page(text).all("meta") if "http-equiv" in m]
    assert "default-src 'none'" in str(policy)
    assert "unsafe" not in str(policy)
    for tag in ("style", "script"):
        (body,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in str(policy)
    assert not any("style" in attributes for _, attributes in Page(text).tags)


def test_figures_are_inside(text: str, folder: Path) -> None:
    (image,) = Page(text).all("img")
    data = base64.b64decode(str(image["src"]).split(",")[1])
    assert data == (folder / "figures" / "v1.5.png").read_bytes()
    assert image["alt"] == "A drawing"
    assert (image["width"], image["height"]) == ("300", "150")  # three quarters of 400 x 200


def test_a_missing_figure_is_said(text: str) -> None:
    assert "The file of this figure, figures/none.png, is missing" in text
    assert "The file of this figure, figures/broken.png, is missing or is no PNG" in text


def test_tables_and_figures_are_numbered(text: str) -> None:
    found = re.findall(r"<b>((?:Table|Figure) \d)\.</b>", text)
    assert found == ["Table 1", "Figure 1", "Figure 2", "Figure 3", "Table 2"]


def test_heads_say_what_they_head(text: str) -> None:
    heads = Page(text[: text.index("</table>")]).all("th")
    assert [h.get("colspan") for h in heads if h["scope"] == "colgroup"] == ["2", "1"]
    assert [h["data-column"] for h in heads if h["scope"] == "col"] == ["0", "1", "2", "3"]
    assert sum(h["scope"] == "row" for h in heads) == len(TABLE.rows)


def test_names_to_link_to_are_there_once(text: str) -> None:
    page = Page(text)
    names = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(names) == len(set(names))
    links = [str(link["href"])[1:] for link in page.all("a")]
    assert links == ["study", "comparison", "below", "comparison-2"]
    assert set(links) <= set(names)


def test_a_legend_stands_once_for_tables_that_follow_each_other(folder: Path) -> None:
    assert render_html([TABLE, TABLE], "s", folder).count("Legend.") == 1


def test_values_marks_and_notes(text: str) -> None:
    assert 'data-value="9.5"' in text
    assert "<strong>10.0 ± 1</strong>" in text
    assert ">z ✗<" in text
    assert ">y ✓<" in text
    assert "<p>Second note.</p>" in text


def test_a_report_without_a_title_gets_one(folder: Path) -> None:
    page = render_html([Text("words")], "<name>", folder)
    assert '<h1 id="top">&lt;name&gt;</h1>' in page


def test_an_empty_table_is_drawn(folder: Path) -> None:
    assert Page(render_html([Table("t", "c", "row", [], [])], "s", folder)).open == []


def test_the_same_parts_give_the_same_bytes(text: str, parts: list[Part], folder: Path) -> None:
    assert render_html(parts, "study", folder) == text


SCRIPT = """
const table = document.querySelector("table");
const shown = () => [...table.tBodies[0].rows].filter((row) => !row.hidden);
const names = () => shown().map((row) => row.cells[0].innerText);
const found = [];
const head = (column) => table.querySelector(`th[data-column="${column}"]`);
for (const column of [0, 1, 2])
  for (const turn of [1, 2, 3]) {
    head(column).querySelector("button").click();
    found.push(`${column} ${head(column).getAttribute("aria-sort")}: ${names().join(", ")}`);
  }
const box = document.querySelector("input[type=search]");
box.value = "LSQ x9";
box.dispatchEvent(new Event("input"));
found.push(`filter: ${names().join(", ")}; ${document.querySelector("output").value}`);
document.body.innerHTML = "<pre></pre>";
document.querySelector("pre").textContent = found.join("\\n");
"""


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_sorts_and_filters(text: str, tmp_path: Path) -> None:
    allowed = hashlib.sha256(SCRIPT.encode()).digest()
    words = f"script-src 'sha256-{base64.b64encode(allowed).decode()}' "
    page = text.replace("script-src ", words).replace(
        "</body>", f"<script>{SCRIPT}</script></body>"
    )  # the page's own policy stays, and lets the test's script in beside its own
    (tmp_path / "page.html").write_text(page)
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom", (tmp_path / "page.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    (lines,) = re.findall(r"<pre>(.*?)</pre>", done.stdout, flags=re.DOTALL)
    original = "lsq 10, lsq 9, ste, daq"
    assert lines.splitlines() == [
        "0 ascending: daq, lsq 9, lsq 10, ste",
        "0 descending: ste, lsq 10, lsq 9, daq",
        f"0 null: {original}",
        "1 ascending: daq, lsq 10, lsq 9, ste",  # the one without a value is last, both ways
        "1 descending: lsq 9, lsq 10, daq, ste",
        f"1 null: {original}",
        "2 ascending: lsq 9, lsq 10, ste, daq",  # so are those that have nothing
        "2 descending: lsq 10, lsq 9, ste, daq",
        f"2 null: {original}",
        "filter: lsq 9; 1 of 4 rows",
    ]
