"""``qbench run|report|track|list|export|bench …``: the same commands under one name."""

import importlib

import click

__all__ = ["main"]

COMMANDS = {
    "bench": "qbench.bench.__main__",
    "export": "qbench.export",
    "list": "qbench.list",
    "report": "qbench.report",
    "run": "qbench.run",
    "track": "qbench.track",
}
"""Name to module."""


class _Commands(click.Group):
    """Imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = importlib.import_module(COMMANDS[cmd_name]).command
        return found


@click.command(cls=_Commands)
@click.version_option(package_name="qbench-harness", prog_name="qbench")
def main() -> None:
    """Compare the ways of training a neural network into 1 to 8 bits."""


if __name__ == "__main__":
    main(prog_name="qbench")
