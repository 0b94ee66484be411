"""`dagy-control runs`: launch, retry, list, show, cancel."""

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from dagy_control.entrypoints.command import ConfigOption, JsonOption, console, errors_as_sentences, with_ports
from dagy_control.entrypoints.records import run_document, task_run_document
from dagy_control.entrypoints.runs_view import key_used_before, replay_note, run_page, runs_table
from dagy_control.entrypoints.wiring import Ports
from dagy_control.model.flow_templates import Json
from dagy_control.model.runs import Run
from dagy_control.model.task_runs import TaskRun
from dagy_control.requests.cancel import cancel as cancel_run
from dagy_control.requests.orders import LaunchOrder
from dagy_control.requests.refusals import RequestRefused
from dagy_control.requests.retry import retry as retry_run

app = typer.Typer(name="runs", help="Launch runs, and see what became of them.", no_args_is_help=True)


@app.command()
def launch(
    flow_name: Annotated[str, typer.Argument(help="Name of a registered flow.")],
    org_id: Annotated[str, typer.Option("--org", help="The organisation that the run belongs to.")],
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
    priority: Annotated[int, typer.Option(help="Higher goes first within the organisation.")] = 0,
    max_attempts: Annotated[int, typer.Option(help="Attempts when the flow itself fails.")] = 1,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Queue a run; the daemon launches it within a second or two."""
    with errors_as_sentences():
        order = LaunchOrder(
            flow_name=flow_name,
            org_id=org_id,
            parameters=_parameters(parameter or []),
            flow_version=flow_version,
            workload_profile=workload_profile,
            cpu=cpu,
            memory=memory,
            ephemeral_storage_gib=ephemeral_storage_gib,
            extra_env_vars=_pairs(env or [], "--env"),
            correlation_id=correlation_id,
            idempotency_key=idempotency_key,
            priority=priority,
            max_attempts=max_attempts,
        )

    async def work(ports: Ports) -> Run:
        return await ports.launcher().submit(order)

    run = with_ports(config, work)
    if note := replay_note(run, order):
        print(note, file=sys.stderr)
    _print_launched(run, as_json=as_json)


@app.command()
def retry(
    run_id: str,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key gives the same run.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Queue a run that is over once more, as a new run: same flow version, parameters, executor, size and environment."""

    async def work(ports: Ports) -> Run:
        return await retry_run(ports.launcher(), run_id, idempotency_key=idempotency_key)

    run = with_ports(config, work)
    if run.retry_of != run_id:
        print(key_used_before(run), file=sys.stderr)
    _print_launched(run, as_json=as_json)


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

    async def work(ports: Ports) -> Sequence[Run]:
        if correlation_id is not None:
            runs = await ports.runs.by_correlation(correlation_id, limit=limit)
            return [run for run in runs if org_id in (None, run.org_id) and flow_name in (None, run.flow_name)]
        if org_id is None:
            raise RequestRefused("org_id", "say whose runs: --org ORGANISATION, or --correlation-id BATCH")
        if flow_name is not None:
            return await ports.runs.by_flow(org_id, flow_name, limit=limit)
        return await ports.runs.by_org(org_id, limit=limit)

    runs = with_ports(config, work)
    if as_json:
        print(json.dumps([run_document(run) for run in runs], indent=2))
        return
    console().print(runs_table(runs))


@app.command()
def show(run_id: str, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show one run: its state, its story, its tasks, and what to do if it failed."""

    async def work(ports: Ports) -> tuple[Run, Sequence[TaskRun]]:
        run = await ports.runs.get(run_id)
        if run is None:
            raise RequestRefused("run_id", f"there is no run {run_id}")
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
        return await cancel_run(ports.runs, ports.writer, ports.clock, run_id)

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


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise RequestRefused(option, f"{option} {text!r} must look like NAME=VALUE")
    return name, value


def _parameters(texts: list[str]) -> dict[str, Json]:
    return {name: _value(value) for name, value in _pairs(texts, "--param").items()}


def _pairs(texts: list[str], option: str) -> dict[str, str]:
    """Each name once: a second value is a slip of the pen, and either could be meant."""
    pairs: dict[str, str] = {}
    for name, value in (_pair(text, option) for text in texts):
        if name in pairs:
            raise RequestRefused(option, f"{option} gives {name!r} twice, {pairs[name]!r} and {value!r}; give it once")
        pairs[name] = value
    return pairs


def _value(text: str) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return json.loads(text)
    except ValueError:
        return text
