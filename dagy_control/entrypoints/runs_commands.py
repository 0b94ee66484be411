"""`dagy-control runs`: launch, retry, batch, list, show, cancel."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from dagy_control.entrypoints.arguments import pairs_of, parameters_of
from dagy_control.entrypoints.batch_view import batch_document, batch_exit_code, batch_page
from dagy_control.entrypoints.command import (
    ConfigOption,
    JsonOption,
    console,
    errors_as_sentences,
    with_ports,
)
from dagy_control.entrypoints.records import hiding, run_document, task_run_document
from dagy_control.entrypoints.runs_view import key_used_before, replay_note, run_page, runs_table
from dagy_control.entrypoints.wiring import Ports, new_id
from dagy_control.model.runs import Run
from dagy_control.model.task_runs import TaskRun
from dagy_control.requests.batch import BatchOutcome, launch_batch
from dagy_control.requests.batch_file import BATCH_FILE_MAX_BYTES, read_batch
from dagy_control.requests.cancel import cancel as cancel_run
from dagy_control.requests.known_run import known_run
from dagy_control.requests.listing import LOOKED_AT_MAX, Listing, list_batch
from dagy_control.requests.orders import LaunchOrder
from dagy_control.requests.refusals import RequestRefused
from dagy_control.requests.retry import retry as retry_run

app = typer.Typer(name="runs", help="Launch runs, and see what became of them.", no_args_is_help=True)


@app.command()
def launch(
    org_id: Annotated[str, typer.Option("--org", help="The organisation that the run belongs to.")],
    flow_name: Annotated[str | None, typer.Argument(help="Name of a registered flow.")] = None,
    deployment_name: Annotated[
        str | None, typer.Option("--deployment", help="In the place of a flow: its deployment, with its defaults.")
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("--param", "-p", help="NAME=VALUE; the value is JSON, else text.")
    ] = None,
    flow_version: Annotated[str | None, typer.Option(help="Default: the newest registered version.")] = None,
    workload_profile: Annotated[
        str | None, typer.Option("--profile", help="small, medium, large, xlarge, or as configured.")
    ] = None,
    cpu: Annotated[int | None, typer.Option(help="CPU units, 1024 a vCPU.")] = None,
    memory: Annotated[int | None, typer.Option(help="MiB.")] = None,
    ephemeral_storage_gib: Annotated[int | None, typer.Option(help="21 to 200; every task has 20.")] = None,
    env: Annotated[list[str] | None, typer.Option("--env", "-e", help="NAME=VALUE for the worker.")] = None,
    correlation_id: Annotated[str | None, typer.Option(help="Default: the run's id.")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key gives the same run.")] = None,
    priority: Annotated[int | None, typer.Option(help="Higher goes first within the organisation. Default: 0.")] = None,
    max_attempts: Annotated[int | None, typer.Option(help="Attempts when the flow itself fails. Default: 1.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Queue a run; the daemon launches it within a second or two."""
    with errors_as_sentences():
        order = LaunchOrder(
            flow_name=flow_name,
            deployment_name=deployment_name,
            org_id=org_id,
            parameters=parameters_of(parameter or []),
            flow_version=flow_version,
            workload_profile=workload_profile,
            cpu=cpu,
            memory=memory,
            ephemeral_storage_gib=ephemeral_storage_gib,
            extra_env_vars=pairs_of(env or [], "--env"),
            correlation_id=correlation_id,
            idempotency_key=idempotency_key,
            priority=priority,
            max_attempts=max_attempts,
        )

    async def work(ports: Ports) -> tuple[Run, Run]:
        run = await ports.launcher().submit(order)
        return run, hiding(run, ports.settings.worker.redact_keys)

    run, shown = with_ports(config, work)
    if note := replay_note(run, order):
        print(note, file=sys.stderr)
    _print_launched(shown, as_json=as_json)


@app.command()
def retry(
    run_id: str,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key gives the same run.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Queue a run that is over once more, as a new run: same flow version, parameters, executor, size and environment."""

    async def work(ports: Ports) -> Run:
        run = await retry_run(ports.launcher(), run_id, idempotency_key=idempotency_key)
        return hiding(run, ports.settings.worker.redact_keys)

    run = with_ports(config, work)
    if run.retry_of != run_id:
        made = f"retry_of {run.retry_of or 'nothing'}, not {run_id}"
        print(key_used_before(run, made), file=sys.stderr)
    _print_launched(run, as_json=as_json)


@app.command()
def batch(
    file: Annotated[
        str, typer.Argument(help="JSON lines or one JSON array of orders, 1,000 at most; - for standard input.")
    ],
    parent: Annotated[
        str | None, typer.Option(help="Correlation id over all of them; the same one again launches none twice.")
    ] = None,
    org_id: Annotated[str | None, typer.Option("--org", help="For the orders that name no org_id.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Queue up to 1,000 runs at once. Each order is launched or refused for itself; exit 1 if any was refused, 3 to repeat."""
    with errors_as_sentences():
        items = read_batch(_content(file))
    parent_id = f"batch-{new_id()}" if parent is None else parent

    async def work(ports: Ports) -> BatchOutcome:
        defaults = {"org_id": org_id}
        return await launch_batch(ports.launcher(), items, parent_correlation_id=parent_id, defaults=defaults)

    if parent is None:
        print(f"parent correlation id: {parent_id}", file=sys.stderr)  # before the first write: it is what repeats them
    outcome = with_ports(config, work)
    if as_json:
        print(json.dumps(batch_document(outcome), indent=2))
    else:
        print(batch_page(outcome))
    raise typer.Exit(batch_exit_code(outcome))


@app.command("list")
def list_runs(
    org_id: Annotated[str | None, typer.Option("--org", help="Runs of this organisation.")] = None,
    flow_name: Annotated[
        str | None, typer.Option("--flow", help="Only of this flow (with --org, or of the batch).")
    ] = None,
    correlation_id: Annotated[str | None, typer.Option("--correlation-id", help="Runs of this batch.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The newest so many.")] = 20,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List runs, newest first: of an organisation, of one of its flows, or of a batch."""

    async def work(ports: Ports) -> Listing:
        listing = await look(ports)
        keys = ports.settings.worker.redact_keys
        return Listing([hiding(run, keys) for run in listing.runs], listing.complete)

    async def look(ports: Ports) -> Listing:
        if correlation_id is not None:
            return await list_batch(ports.runs, correlation_id, limit=limit, org_id=org_id, flow_name=flow_name)
        if org_id is None:
            raise RequestRefused("org_id", "say whose runs: --org ORGANISATION, or --correlation-id BATCH")
        if flow_name is not None:
            return Listing(await ports.runs.by_flow(org_id, flow_name, limit=limit), complete=True)
        return Listing(await ports.runs.by_org(org_id, limit=limit), complete=True)

    listing = with_ports(config, work)
    if not listing.complete:
        print(f"note: only the newest {LOOKED_AT_MAX:,} runs of {correlation_id} were looked at", file=sys.stderr)
    if as_json:
        print(json.dumps([run_document(run) for run in listing.runs], indent=2))
        return
    console().print(runs_table(listing.runs))


@app.command()
def show(run_id: str, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show one run: its state, its story, its tasks, and what to do if it failed."""

    async def work(ports: Ports) -> tuple[Run, Sequence[TaskRun]]:
        run = hiding(await known_run(ports.runs, run_id), ports.settings.worker.redact_keys)
        return run, await ports.task_runs.of_run(run_id)

    run, task_runs = with_ports(config, work)
    if as_json:
        document = {**run_document(run), "task_runs": [task_run_document(each) for each in task_runs]}
        print(json.dumps(document, indent=2))
        return
    console().print(run_page(run, task_runs))


@app.command()
def cancel(run_id: str, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Cancel a run: recorded at once; its task is stopped by the daemon. Repeating is harmless."""

    async def work(ports: Ports) -> Run:
        run = await cancel_run(ports.runs, ports.writer, ports.clock, run_id)
        return hiding(run, ports.settings.worker.redact_keys)

    run = with_ports(config, work)
    if as_json:
        print(json.dumps(run_document(run), indent=2))
    elif run.status.is_terminal:
        print(f"{run.run_id} is {run.status}")
    else:
        print(f"{run.run_id} is {run.status}; its cancel is on record")


def _print_launched(run: Run, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(run_document(run), indent=2))
    else:
        print(f"{run.run_id} is {run.status}; follow it with: dagy-control runs show {run.run_id}")


def _content(file: str) -> bytes:
    try:
        if file == "-":
            return sys.stdin.buffer.read(BATCH_FILE_MAX_BYTES + 1)
        with Path(file).open("rb") as opened:
            return opened.read(BATCH_FILE_MAX_BYTES + 1)
    except OSError as error:
        raise RequestRefused("batch", f"{file} cannot be read: {error.strerror or error}") from error
