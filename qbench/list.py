"""``python -m qbench.list``: what a study file can name."""

import json
import sys
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qbench import registry
from qbench.errors import UsageError
from qbench.registry import Entry
from qbench.study.names import bit_ranges, space_words
from qbench.study.recipes import Recipe, recipes
from qbench.study.schema import options_text

__all__ = ["command"]

KINDS = {
    "quantizers": registry.quantizers,
    "models": registry.models,
    "datasets": registry.datasets,
    "diagnostics": registry.diagnostics,
}

EXAMPLES = """\b
Examples:
  python -m qbench.list quantizers         what there is, with the bits that each can do
  python -m qbench.list quantizers -v      options, and each method's equations
  python -m qbench.list models --json      for other programs
  python -m qbench.list recipes            training settings by name, with their sources
  python -m qbench.list published --method daq --data cifar10
"""
DEFAULTS = {"family": "surrogate", "provenance": "verified"}
"""What the contract says of a quantizer that does not say it itself; a test compares them."""
PUBLISHED = "published"
RECIPES = "recipes"
SHOWN = ("method", "model", "data", "bits", "top1", "drop", "kind", "tag", "source")
"""Columns of published results for eyes; the rest is in JSON and in the packaged table."""


@click.command(name="list", epilog=EXAMPLES)
@click.argument("kind", type=click.Choice((*KINDS, RECIPES, PUBLISHED)))
@click.option("-v", "--verbose", is_flag=True, help="Print options and whole docstrings too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list for other programs.")
@click.option("--method", help="Of published results: those of this method only.")
@click.option("--model", help="Of published results: those of this model only.")
@click.option("--data", help="Of published results: those of this data set only.")
def command(
    kind: str,
    verbose: bool,
    as_json: bool,
    method: str | None,
    model: str | None,
    data: str | None,
) -> None:
    """List the names that a study file can use, recipes included, or results of papers."""
    if kind == PUBLISHED:
        _published(method, model, data, as_json=as_json)
        return
    if method or model or data:
        click.echo(f"error: --method, --model and --data choose among '{PUBLISHED}'", err=True)
        sys.exit(2)
    if kind == RECIPES:
        _recipes(verbose=verbose, as_json=as_json)
        return
    try:
        entries = list(KINDS[kind].entries().values())
    except UsageError as error:  # an installed plug-in that cannot be found
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    if as_json:
        click.echo(json.dumps([_facts(entry) for entry in entries], indent=1))
        return
    console = _console()
    if verbose:
        for entry in entries:
            console.print(_details(entry))
    else:
        console.print(_table(entries))
        if any(entry.options for entry in entries):
            click.echo(f"\nOptions and details: python -m qbench.list {kind} -v")


def _console() -> Console:
    console = Console(file=sys.stdout, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = 10_000  # lines are as long as they are: for grep, not for a screen
    return console


def _published(method: str | None, model: str | None, data: str | None, *, as_json: bool) -> None:
    from qbench.reporting.published import listing

    try:
        rows = listing(method, model, data)
    except UsageError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in SHOWN:
        table.add_column(name, no_wrap=name != "source")
    for row in rows:
        bits = f"W{row['weight_bits']}A{row['activation_bits']}"
        table.add_row(*(Text((row | {"bits": bits})[name]) for name in SHOWN))
    _console().print(table)


def _recipes(*, verbose: bool, as_json: bool) -> None:
    if as_json:
        rows = [
            {"name": name, "source": one.source, "note": one.note, "training": one.settings}
            for name, one in recipes().items()
        ]
        click.echo(json.dumps(rows, indent=1))
        return
    if verbose:
        for name, one in recipes().items():
            lines = [f"source: {one.source}", *([f"note: {one.note}"] if one.note else [])]
            lines += [f"{key}: {_words(value)}" for key, value in one.settings.items()]
            text = Text(f"{name}\n", style="bold")
            text.append("".join(f"  {line}\n" for line in lines), style="not bold")
            _console().print(text)
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("name", "epochs", "batch", "optimizer", "schedule", "source"):
        table.add_column(title, no_wrap=title != "source")
    for name, one in recipes().items():
        table.add_row(name, *map(Text, _recipe_cells(one)))
    _console().print(table)
    click.echo(f"\nAll settings and notes: python -m qbench.list {RECIPES} -v")


def _recipe_cells(recipe: Recipe) -> tuple[str, ...]:
    """Epochs, batch, optimizer, schedule and source; empty where the study's own count."""
    said, optimizer = recipe.settings, recipe.training.optimizer
    moved = f"{optimizer.name} {optimizer.learning_rate:g}, decay {optimizer.weight_decay:g}"
    return (
        str(said.get("epochs", "")),
        str(said.get("batch", "")),
        moved if "optimizer" in said else "",
        recipe.training.schedule.name if "schedule" in said else "",
        recipe.source,
    )


def _words(value: Any) -> str:
    return options_text(value) if isinstance(value, dict) else json.dumps(value)


def _facts(entry: Entry) -> dict[str, Any]:
    """An entry as JSON values."""
    bits = entry.facts.get("bits", {})
    return {
        "name": entry.name,
        "summary": entry.summary,
        "bits": {target: list(widths) for target, widths in bits.items()},
        "family": entry.facts.get("family", DEFAULTS["family"]) if bits else "",
        "rests_on": entry.facts.get("provenance", DEFAULTS["provenance"]) if bits else "",
        "paper": entry.facts.get("paper", ""),
        "options": {
            name: {"type": _type(kind), "default": default}
            for name, (kind, default) in entry.options.items()
        },
        "search": entry.facts.get("search", {}),
        "components": entry.facts.get("components", {}),
        "documentation": entry.doc,
        "module": entry.module,
    }


def _table(entries: list[Entry]) -> Table:
    """One line an entry; columns that no entry fills are left out."""
    rows = [_facts(entry) for entry in entries]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("name", no_wrap=True, style="bold")
    columns = [
        ("weight bits", [_bits(row, "weight") for row in rows]),
        ("activation bits", [_bits(row, "activation") for row in rows]),
        ("family", [row["family"] for row in rows]),
        ("rests on", [row["rests_on"] for row in rows]),
        ("what it is", [row["summary"].replace("``", "") for row in rows]),
        ("paper", [row["paper"] for row in rows]),
    ]
    shown = [(title, cells) for title, cells in columns if any(cells)]
    for title, _ in shown:
        table.add_column(title, no_wrap=title not in ("what it is", "paper"))
    for index, row in enumerate(rows):
        table.add_row(row["name"], *(Text(cells[index]) for _, cells in shown))
    return table


def _bits(row: dict[str, Any], target: str) -> str:
    return bit_ranges(row["bits"].get(target, ())) if row["bits"] else ""


def _details(entry: Entry) -> Text:
    """Name, facts, options and docstring of one entry."""
    facts = _facts(entry)
    text = Text(f"{entry.name}\n", style="bold")
    lines = []
    if facts["bits"]:
        widths = (f"{bit_ranges(value)} ({target})" for target, value in facts["bits"].items())
        lines.append(f"bits: {', '.join(widths)}")
    for name in ("family", "rests_on", "paper"):
        if facts[name]:
            lines.append(f"{name.replace('_', ' ')}: {facts[name]}")
    for name, option in facts["options"].items():
        lines.append(f"option {name}: {option['type']} = {json.dumps(option['default'])}")
    for name, space in facts["search"].items():
        lines.append(f"tune {name}: {space_words(space)}")
    for name, removal in facts["components"].items():
        lines.append(f"without {name}: {options_text(removal)}")
    lines += ["", *entry.doc.replace("``", "").splitlines(), ""]
    text.append("\n".join(f"  {line}".rstrip() for line in lines), style="not bold")
    return text


def _type(kind: Any) -> str:
    """A type as a study's author reads it: ``'a' | 'b'``, ``int``, ``float | None``."""
    if isinstance(kind, type):
        return kind.__name__
    return str(kind).replace("typing.", "")


if __name__ == "__main__":
    command(prog_name="python -m qbench.list")
