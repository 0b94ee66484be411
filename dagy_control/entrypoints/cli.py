"""`dagy-control`: one command for people and programs."""

import os
from typing import Annotated

import typer

from dagy_control import __version__
from dagy_control.config import config_location
from dagy_control.entrypoints import (
    config_commands,
    deployments_commands,
    events_commands,
    explain_commands,
    flows_commands,
    local_commands,
    orphans_commands,
    packages_commands,
    reconcile_commands,
    runs_commands,
    tables_commands,
)
from dagy_control.entrypoints.command import ConfigOption, errors_as_sentences, quiet_logs
from dagy_control.entrypoints.control import serve as serve_daemon

app = typer.Typer(
    name="dagy-control",
    help="The control plane of Dagy runs on ECS Fargate.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for commands in (
    runs_commands,
    flows_commands,
    deployments_commands,
    packages_commands,
    orphans_commands,
    events_commands,
    tables_commands,
    config_commands,
):
    app.add_typer(commands.app)
app.command()(reconcile_commands.reconcile)
runs_commands.app.command("explain")(explain_commands.explain_run)
app.command()(local_commands.local)
app.command()(local_commands.demo)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"dagy-control {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """The control plane of Dagy runs on ECS Fargate."""


@app.command()
def serve(config: ConfigOption = None) -> None:
    """Run the daemon, against AWS or any endpoint (AWS_ENDPOINT_URL), until SIGTERM. Edits of the file take effect while it runs."""
    with errors_as_sentences():
        code = serve_daemon(config or config_location(os.environ), os.environ)
    raise typer.Exit(code)


def main() -> None:
    """The console script."""
    quiet_logs()  # until a command says otherwise: the configuration itself may be read from AWS
    app()


if __name__ == "__main__":
    main()
