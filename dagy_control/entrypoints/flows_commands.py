"""`dagy-control flows`: build a flow's artifact, register it, list what is registered."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from dagy_control.entrypoints.command import ConfigOption, JsonOption, console, errors_as_sentences, with_ports
from dagy_control.entrypoints.wiring import Ports
from dagy_control.errors import DagyError
from dagy_control.flow_engine.calls import import_flow_module
from dagy_control.model.flows import FlowRecord
from dagy_control.requests.refusals import RequestRefused
from dagy_control.requests.registration import register_flow
from dagy_control.sdk.artifact import Artifact, build_artifact
from dagy_control.sdk.flow import Flow
from dagy_control.sdk.places import place_of_error
from dagy_control.sdk.task import Task

app = typer.Typer(name="flows", help="Build and register flows, and see what is registered.", no_args_is_help=True)


@app.command("build")
def build_only(
    target: Annotated[str, typer.Argument(help="MODULE:FLOW, importable from the source folder.")],
    source: Annotated[
        Path, typer.Option(help="The folder that holds the flow's top-level package or module.")
    ] = Path(),
    output: Annotated[
        Path | None, typer.Option(help="Write the artifact (a ZIP) here; without it, nothing is written.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Build the flow's artifact and say what is in it: no cloud is asked. With --json, print the flow as data."""
    with errors_as_sentences():
        artifact = build(target, source)
        if output is not None:
            _write(output, artifact.data)
    spec = artifact.spec
    if as_json:
        print(spec.to_json())
        return
    print(
        f"built {spec.name} {spec.version}: {len(spec.tasks)} tasks, {len(artifact.data):,} bytes, sha256 {artifact.sha256}"
    )


@app.command()
def register(
    target: Annotated[str, typer.Argument(help="MODULE:FLOW, importable from the source folder.")],
    org_id: Annotated[str, typer.Option("--org", help="The organisation that the flow belongs to.")],
    source: Annotated[
        Path, typer.Option(help="The folder that holds the flow's top-level package or module.")
    ] = Path(),
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build the flow's artifact, upload it, and register the flow's version."""
    with errors_as_sentences():
        artifact = build(target, source)

    async def work(ports: Ports) -> FlowRecord:
        return await register_flow(
            ports.flows,
            ports.artifacts,
            ports.clock,
            org_id=org_id,
            spec=artifact.spec,
            artifact=artifact.data,
            prefix=ports.settings.storage.artifact_prefix,
        )

    record = with_ports(config, work)
    if as_json:
        print(json.dumps(_document(record), indent=2))
    else:
        tasks = len(record.spec.tasks)
        print(
            f"registered {record.flow_name} {record.flow_version} of {org_id}: {tasks} tasks, {record.artifact_s3_uri}"
        )


@app.command("list")
def list_flows(
    org_id: Annotated[str, typer.Option("--org", help="The organisation.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List an organisation's registered flows."""

    async def work(ports: Ports) -> Sequence[FlowRecord]:
        return await ports.flows.of_org(org_id)

    records = with_ports(config, work)
    if as_json:
        print(json.dumps([_document(record) for record in records], indent=2))
        return
    table = Table("flow", "version", "status", "tasks", "registered", "artifact")
    for record in records:
        registered = record.registered_at.strftime("%Y-%m-%d %H:%M:%S")
        tasks = str(len(record.spec.tasks))
        table.add_row(record.flow_name, record.flow_version, record.status, tasks, registered, record.artifact_s3_uri)
    console().print(table)


def build(target: str, source: Path) -> Artifact:
    """The artifact of `MODULE:FLOW`, imported from the source folder. Raises `RequestRefused` when it is not found there."""
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise RequestRefused("target", f"{target!r} must look like MODULE:FLOW, for instance reports.daily:daily_sales")
    folder = source.resolve()
    sys.path.insert(0, str(folder))
    try:
        module = import_flow_module(module_name)
    except (Exception, SystemExit) as error:  # importing runs the author's code: anything may come out
        raise RequestRefused("target", f"{module_name} cannot be imported from {folder}: {_told(error)}") from error
    finally:
        sys.path.remove(str(folder))
    flow = getattr(module, attribute, None)
    if not isinstance(flow, Flow):
        raise RequestRefused("target", _no_flow(module_name, attribute, vars(module)))
    try:
        return build_artifact(flow, folder)
    except DagyError:
        raise
    except Exception as error:  # the flow's body is the author's code too
        raise RequestRefused(
            "target", f"flow {attribute!r} of {module_name} cannot be built: {_told(error)}"
        ) from error


def _write(output: Path, data: bytes) -> None:
    try:
        output.write_bytes(data)
    except OSError as error:
        raise RequestRefused("output", f"{output} cannot be written: {error.strerror}") from error


def _told(error: BaseException) -> str:
    """An error of the author's code, and the line that raised it."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    if not isinstance(error, ImportError | SyntaxError | DagyError):
        text = f"{type(error).__name__}: {text}"
    place = place_of_error(error)
    return text if place is None or str(place) in text else f"{text} ({place})"


def _no_flow(module_name: str, attribute: str, names: Mapping[str, object]) -> str:
    flows = [name for name, value in names.items() if isinstance(value, Flow)]
    if isinstance(names.get(attribute), Task):
        text = f"{attribute!r} of {module_name} is a task; a flow is what calls it"
    else:
        text = f"{module_name} has no flow {attribute!r}"
    return f"{text}. It has: {', '.join(flows)}" if flows else f"{text}; decorate a function with @flow"


def _document(record: FlowRecord) -> dict[str, object]:
    return {
        "org_id": record.org_id,
        "flow_name": record.flow_name,
        "flow_version": record.flow_version,
        "status": record.status,
        "import_path": record.import_path,
        "artifact_s3_uri": record.artifact_s3_uri,
        "artifact_sha256": record.artifact_sha256,
        "artifact_size_bytes": record.artifact_size_bytes,
        "registered_at": record.registered_at.isoformat(),
        "tasks": [task.key for task in record.spec.tasks],
    }
