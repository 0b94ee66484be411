"""`dagy-control orphans`: the scanner by hand."""

import json
from typing import Annotated, Any

import typer
from prometheus_client import CollectorRegistry
from rich.table import Table

from dagy_control.entrypoints.command import ConfigOption, JsonOption, console, with_ports
from dagy_control.entrypoints.control import orphan_loop
from dagy_control.entrypoints.wiring import Ports
from dagy_control.errors import Permanent
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.ticker import Tick
from dagy_control.model.tasks import short_id

app = typer.Typer(name="orphans", help="Find tasks that run and should not.", no_args_is_help=True)


@app.command()
def scan(
    dry_run: Annotated[
        bool | None, typer.Option("--dry-run/--no-dry-run", help="Only report, or stop too. Default: orphans.dry_run.")
    ] = None,
    max_runtime_hours: Annotated[
        float | None, typer.Option(min=0.01, help="Default: orphans.max_runtime_hours.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Scan once, safe beside a running daemon. "No record" and "another task" become orphans only in a second scan."""

    async def work(ports: Ports) -> dict[str, Any]:
        if not ports.settings.ecs.cluster_arn:
            raise Permanent("the scanner needs ecs.cluster_arn (ECS_CLUSTER or DAGY_ECS_CLUSTER_ARN)")
        loop = orphan_loop(
            ports.settings, ports, CollectorRegistry(), dry_run=dry_run, max_runtime_hours=max_runtime_hours
        )
        return await loop.scan(Tick(now=ports.clock.now(), drain=Drain()))

    report = with_ports(config, work)
    if as_json:
        print(json.dumps(report, indent=2))
        return
    summary = report["data"]["summary"]
    table = Table("task", "why", "hours")
    for orphan in report["data"]["orphans"]:
        table.add_row(short_id(orphan["task_arn"]), orphan["reason"], str(orphan.get("runtime_hours", "")))
    if report["data"]["orphans"]:
        console().print(table)
    mode = " (dry run)" if summary["dry_run"] else ""
    print(
        f"{summary['total_running']} running, {summary['orphans_found']} orphans, {summary['tasks_stopped']} stopped{mode}"
    )
