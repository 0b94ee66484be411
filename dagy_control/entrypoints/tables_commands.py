"""`dagy-control tables`: make the tables, or say what is wrong with those that exist."""

import json
from collections.abc import Sequence

import typer

from dagy_control.adapters.table_admin import TableAdmin, TableResult
from dagy_control.entrypoints.command import ConfigOption, JsonOption, with_ports
from dagy_control.entrypoints.wiring import Ports

app = typer.Typer(name="tables", help="The DynamoDB tables.", no_args_is_help=True)


@app.callback()
def tables() -> None:
    """The DynamoDB tables."""


@app.command()
def create(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Create the tables that are missing, with their indexes and expiry. Safe to repeat; exit 1 if a table is unusable."""

    async def work(ports: Ports) -> Sequence[TableResult]:
        return await TableAdmin(ports.clients.dynamodb, ports.calls, ports.clock).create(
            ports.settings.tables.model_dump()
        )

    results = with_ports(config, work)
    if as_json:
        rows = [{"table": each.table, "outcome": each.outcome, "problem": each.problem} for each in results]
        print(json.dumps(rows, indent=2))
    else:
        for each in results:
            print(f"{each.table}: {each.outcome}" + (f": {each.problem}" if each.problem else ""))
    if any(each.problem for each in results):
        raise typer.Exit(1)
