"""``python -m qbench.export TRIAL --to FORMAT``: a trial's network as a file to take away."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from qbench.commands import answered
from qbench.errors import UsageError
from qbench.registry import load_plugin

if TYPE_CHECKING:
    from qbench.exporting import Exported

__all__ = ["command"]

EXAMPLES = """
\b
Examples:
  python -m qbench.export 3fa9c1d20b7e --to safetensors
  python -m qbench.export resnet8-digits-lsq-w2a2-s0-3fa9c1d20b7e --to onnx --batch-norm fold
  python -m qbench.export results/resnet8-digits-lsq-w2a2-s0-3fa9c1 --to onnx --output lsq.onnx

\b
Exit codes: 0 the file computes what the trial's deployed network does, 2 the command is wrong or
the network cannot be written, 3 the file was written and computes something else.
"""


@click.command(name="export", epilog=EXAMPLES)
@click.argument("trial")
@click.option(
    "--to", "to", type=click.Choice(("safetensors", "onnx")), required=True,
    help="Codes to the bit for qbench's reader, or operators for any ONNX runtime.",
)  # fmt: skip
@click.option(
    "--batch-norm", type=click.Choice(("keep", "fold")), default="keep", show_default=True,
    help="Fold it into the layer before; sums are then rounded in another order.",
)  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path), help="The file; in exports/ by default.")
@click.option(
    "--results", metavar="FOLDER", default="results", show_default=True,
    help="The folder of all result files, such as s3://bucket/folder.",
)  # fmt: skip
@click.option("--plugin", "plugins", multiple=True, help="A module or file that its study names.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
@answered
def command(
    trial: str,
    to: Literal["safetensors", "onnx"],
    batch_norm: Literal["keep", "fold"],
    output: Path | None,
    results: Path,
    plugins: tuple[str, ...],
    as_json: bool,
) -> int:
    """Write the deployed network of a finished TRIAL, and compare what the file computes."""
    for plugin in plugins:
        load_plugin(plugin)
    from qbench.exporting import export, find_trial

    folder = find_trial(results, trial)
    exported = export(folder, to, fold=batch_norm == "fold")
    path = output or Path("exports") / f"{folder.name}.{to}"
    _write(path, exported.data)
    if as_json:
        facts = {"trial": folder.name, "file": str(path), "bytes": len(exported.data)}
        told = {key: value for key, value in asdict(exported).items() if key != "data"}
        click.echo(json.dumps(facts | told))
    else:
        click.echo("\n".join(_lines(path, to, exported)))
    return 0 if exported.well else 3


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error}; name another --output") from None


def _lines(path: Path, to: str, found: "Exported") -> list[str]:
    ideal = found.code_bytes + found.float_bytes
    lines = [
        f"{path}: {len(found.data):,} bytes; codes to the bit are {found.code_bytes:,}, float "
        f"numbers {found.float_bytes:,} ({len(found.data) / ideal - 1:+.1%})"
    ]
    if to == "onnx":
        lines.append("codes take a byte each: ONNX has no smaller integers that all runtimes read")
    if found.folded:
        lines.append(f"{found.folded} batch norms are folded")
    if found.difference == 0:
        computed = "the same logits, bit for bit"
    else:
        computed = (
            f"the same class for {found.same_top1} of {found.images}, logits within 1e-4 of the "
            f"largest for {found.close}, {found.difference:.1e} at most"
        )
    lines.append(f"read back, on {found.images} random images: {computed}")
    if not found.well:
        lines.append("this is too far from the trial's deployed network: do not use the file")
    if found.other_code:
        lines.append("the trial was made by other code of its method; run its study with --fresh")
    return lines


if __name__ == "__main__":
    command(prog_name="python -m qbench.export")
