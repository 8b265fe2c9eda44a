"""Write docs/diagnostics.md from docstrings: ``python docs/make_diagnostics.py``."""

import re
from pathlib import Path

from qbench.registry import Entry, diagnostics
from qbench.study.bundles import BUNDLES

PAGE = Path(__file__).with_name("diagnostics.md")
SECTIONS = ("Formula", "Meaning", "Range", "Cost", "Misleads", "Source")
HEAD = """# Diagnostics

What qbench measures while a network trains, to tell why one quantizer wins. Accuracy says who
wins; these say where it is lost: in what deployment changes (*discretization*), in what the
gradient gets wrong (*gradient*), or in codes that move without getting anywhere (*dynamics*).
This page is made from the docstrings by `python docs/make_diagnostics.py`.

**Symbols.** theta: a layer's latent weights, d of them. W = Q(theta): the deployed weights. W~:
the weights of the training forward. gamma = dL/dW~: what backpropagation gives at the quantizer's
output. g: what the method takes for dL/dtheta. F(theta) = L(Q(theta)): the deployed loss of the
diagnostic batch. p: a share of codes that change. K: how many flip sets or directions.

**Fair by construction.** One batch of training images without augmentation, the same for every
quantizer, seed and checkpoint; the same flip sets and directions for every quantizer of a seed:
differences are paired. Batch norm uses the batch's statistics, dropout is off. Losses are
float32, their differences are taken image by image and averaged in float64. The network, its
buffers and the random state are bit for bit as before afterwards. Scales are shares of codes that
change, not distances, since latents have units of their own in each method.

**Class of a quantizer.** Nobody declares it. A gap of exactly 0 is a *hard forward*. A gap above
0 with a self-consistency of at least 0.99 and a gain within 0.05 of 1 is a *soft forward with
its exact backward*; below, *with a modified backward*.

**In a study:** `diagnostics: economy`, `standard` or `full`, or a list of bundles and diagnostics
with options and schedules; see [studies/README.md](../studies/README.md). **On a network of one's
own:** `qbench.diagnose(model, batch)`. Values of layers are in `layers.parquet` of a trial's
folder, scatters and curves in `points.parquet`, means over layers in `history.parquet`; a name
that ends in `_se` is a standard error.

"""


def page() -> str:
    """The page's whole text."""
    entries = diagnostics.entries()
    return HEAD + _table(entries) + "".join(_section(entry) for entry in entries.values())


def _table(entries: dict[str, Entry]) -> str:
    rows = [
        f"| [`{name}`](#{name}) | {entry.summary} | {_bundle(name)} |\n"
        for name, entry in entries.items()
    ]
    return (
        "| diagnostic | what it tells | smallest bundle |\n|---|---|---|\n" + "".join(rows) + "\n"
    )


def _bundle(name: str) -> str:
    found = (key for key, of in BUNDLES.items() if any(one["name"] == name for one in of))
    return next(found, "none")


def _section(entry: Entry) -> str:
    parts = dict(
        re.findall(r"^([A-Z][a-z]+): (.*?)(?=\n\n[A-Z][a-z]+: |\Z)", entry.doc, re.M | re.S)
    )
    lines = [f"## {entry.name}", "", entry.summary, ""]
    for section in SECTIONS:
        text = parts[section].strip().replace("``", "`")
        lines += [f"**{section}:** {' '.join(text.split())}", ""]
    options = ", ".join(f"`{name}` = {default}" for name, (_, default) in entry.options.items())
    return "\n".join([*lines, f"**Options:** {options or 'none'}", "", ""])


if __name__ == "__main__":
    PAGE.write_text(page().rstrip() + "\n", encoding="utf-8")
