"""`dagy-control orphans`: the scanner by hand."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from prometheus_client import CollectorRegistry
from rich.table import Table

from dagy_control.entrypoints.command import (
    EXIT_UNAVAILABLE,
    ConfigOption,
    JsonOption,
    console,
    errors_as_sentences,
    exit_code_of,
    read_settings,
    run_with_ports,
)
from dagy_control.entrypoints.orphan_scans import environment_of, orphan_loop, scan_input
from dagy_control.entrypoints.policies import orphan_policy
from dagy_control.entrypoints.wiring import Ports
from dagy_control.errors import DagyError, Permanent
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.ticker import Tick
from dagy_control.model.tasks import short_id
from dagy_control.orphans.report import failure_report
from dagy_control.orphans.request import BadInput, ScanInput, read_input

app = typer.Typer(name="orphans", help="Find tasks that run and should not.", no_args_is_help=True)


@app.command()
def scan(
    dry_run: Annotated[
        bool | None, typer.Option("--dry-run/--no-dry-run", help="Only report, or stop too. Default: orphans.dry_run.")
    ] = None,
    max_runtime_hours: Annotated[
        str | None, typer.Option(metavar="H", help="Default: orphans.max_runtime_hours.")
    ] = None,
    document: Annotated[
        str | None,
        typer.Option("--input", metavar="JSON", help="""Both as a schedule's rule sends them: '{"dry_run": true}'."""),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Scan once, safe beside a running daemon. "No record" and "another task" become orphans only in a second scan."""
    told = Told(environment_of(os.environ))
    with failures_as_json(told) if as_json else errors_as_sentences():
        settings = read_settings(config)
        told.environment = settings.environment
        asked = _asked(dry_run, max_runtime_hours, document)
        if not settings.ecs.cluster_arn:
            raise Permanent("the scanner needs ecs.cluster_arn (ECS_CLUSTER or DAGY_ECS_CLUSTER_ARN)")

        async def work(ports: Ports) -> dict[str, Any]:
            loop = orphan_loop(settings, ports, CollectorRegistry())
            tick = Tick(now=ports.clock.now(), drain=Drain())
            return await loop.scan(tick, policy=asked.applied(loop.policy), alert=True)

        report = run_with_ports(settings, work)
    for name in orphan_policy(settings).switched_off:
        print(f"note: the state table '{name}' has no name: tasks with its tag are not judged", file=sys.stderr)
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        _print_report(report)
    if not report["success"]:
        raise typer.Exit(EXIT_UNAVAILABLE)


@dataclass
class Told:
    """What a failure is told with, as far as it is known by then."""

    environment: str


@contextmanager
def failures_as_json(told: Told) -> Iterator[None]:
    """End the command with the documented output of a failure instead of a sentence, by the same exit codes."""
    try:
        yield
    except DagyError as error:
        print(json.dumps(failure_report(str(error), told.environment), indent=2))
        raise typer.Exit(exit_code_of(error)) from None


def _asked(dry_run: bool | None, max_runtime_hours: str | None, document: str | None) -> ScanInput:
    """The options, read as the document is: what one refuses the other refuses too."""
    if document is None:
        return read_input({"dry_run": dry_run, "max_runtime_hours": max_runtime_hours})
    if dry_run is not None or max_runtime_hours is not None:
        raise BadInput("give either --input, or --dry-run and --max-runtime-hours")
    return scan_input(document)


def _print_report(report: dict[str, Any]) -> None:
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
    for line in [report.get("error"), *report.get("not_reached", {}).get("why", ())]:
        if line:
            print(f"note: {line}", file=sys.stderr)
