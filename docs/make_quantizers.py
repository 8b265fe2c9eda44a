"""Write docs/quantizers.md from the registry: ``python docs/make_quantizers.py``."""

from pathlib import Path
from typing import get_args

from qbench.quantizers.contract import Family, Provenance
from qbench.registry import quantizers
from qbench.study.names import bit_ranges, space_words
from qbench.study.schema import options_text

PAGE = Path(__file__).with_name("quantizers.md")
FAMILIES = {
    "reference": "What every loss of accuracy is measured from.",
    "control": "No method: what a diagnostic must call bad, and a table must show as bad.",
    "surrogate": "The forward is hard; only the backward differs.",
    "annealed": "The forward is soft, and hard at the end.",
    "learned levels": "Steps, clips, thresholds or levels are trained, or fitted as it trains.",
    "meta": "A second network makes the update or the codes.",
    "regulariser": "A term of the loss, on top of another method.",
    "proximal": "A map pulls the weights to the levels.",
    "latent-free": "The weights are the levels; there is nothing behind them.",
    "stochastic": "The forward is sampled.",
    "post-training": "Nothing is trained.",
}
RESTS = {
    "verified": "the paper's text, its authors' code or their own words were read",
    "recalled": "the equations are known, but were not seen again when the file was written",
    "reconstruction": "filled in from an abstract or from notes; not to be quoted as the paper's",
}
HEAD = """# Quantizers

What a study file can name under `quantizers`. Equations, starts, schedules and deviations from the
paper or its published code stand in each one's docstring (`python -m qbench.list quantizers -v`).
Weights by one method and activations by another: `{name: irnet, activations: pact}`. A method
with an activation width that takes signs needs a network whose layers read signed values:
`models: [{name: resnet20, options: {activation: hardtanh}}]`. This page is made by
`python docs/make_quantizers.py`.
"""
TAIL = """## What is tuned, and what can be left out

The options of a method that are worth tuning, with what they are tuned over; the default lies
inside. The components that an ablation can leave out (`ablations: [{quantizer: daq, without:
[kernel]}]`), with the options that do it. A method that is not listed has neither.

| name | tuned | can be left out |
|---|---|---|"""


def page() -> str:
    """The page's whole text."""
    assert set(FAMILIES) == set(get_args(Family))
    assert set(RESTS) == set(get_args(Provenance))
    lines = [HEAD, "**Rests on.** " + " ".join(f"*{k}*: {v}." for k, v in RESTS.items()), ""]
    entries = [(entry, quantizers.load(name)) for name, entry in quantizers.entries().items()]
    for family, words in FAMILIES.items():
        lines += [f"## {family.capitalize()}", "", words, ""]
        lines += ["| name | weights | activations | what it is | rests on | paper |"]
        lines += ["|---|---|---|---|---|---|"]
        for entry, kind in entries:
            if kind.family == family:
                widths = [bit_ranges(kind.bits.get(t, ())) for t in ("weight", "activation")]
                widths = widths if kind.bits else ["the library's"] * 2
                summary = entry.summary.replace("|", "\\|").replace("``", "`")
                cells = [f"`{entry.name}`", *widths, summary, kind.provenance, kind.paper or "–"]
                lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    lines.append(TAIL)
    for entry, kind in entries:
        tuned = [f"`{name}`: {space_words(space)}" for name, space in kind.search.items()]
        parts = [f"`{name}`: {options_text(kind.components[name])}" for name in kind.components]
        if tuned or parts:
            cells = [f"`{entry.name}`", *("; ".join(words) or "–" for words in (tuned, parts))]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page().rstrip() + "\n", encoding="utf-8")
