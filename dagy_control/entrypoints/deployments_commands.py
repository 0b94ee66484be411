"""`dagy-control deployments`: a flow under a name of its own, with defaults for its runs."""

import json
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from dagy_control.entrypoints.arguments import pairs_of, parameters_of
from dagy_control.entrypoints.command import ConfigOption, JsonOption, console, errors_as_sentences, with_ports
from dagy_control.entrypoints.records import hiding_defaults
from dagy_control.entrypoints.wiring import Ports
from dagy_control.model.deployments import Deployment
from dagy_control.requests.deployments import delete_deployment, set_deployment

app = typer.Typer(
    name="deployments", help="Flows under a name of their own, with defaults for their runs.", no_args_is_help=True
)

OrgOption = Annotated[str, typer.Option("--org", help="The organisation that the deployment belongs to.")]


@app.command("set")
def set_(
    name: Annotated[str, typer.Argument(help="The deployment's name.")],
    flow_name: Annotated[str, typer.Option("--flow", help="Name of a registered flow.")],
    org_id: OrgOption,
    flow_version: Annotated[str | None, typer.Option(help="Default: at each launch the newest one.")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("--param", "-p", help="NAME=VALUE; the value is JSON, else text.")
    ] = None,
    workload_profile: Annotated[str | None, typer.Option("--profile", help="As for a launch.")] = None,
    cpu: Annotated[int | None, typer.Option(help="CPU units, 1024 a vCPU.")] = None,
    memory: Annotated[int | None, typer.Option(help="MiB.")] = None,
    ephemeral_storage_gib: Annotated[int | None, typer.Option(help="21 to 200; every task has 20.")] = None,
    env: Annotated[list[str] | None, typer.Option("--env", "-e", help="NAME=VALUE for the worker.")] = None,
    package: Annotated[
        list[str] | None,
        typer.Option("--package", help="Slug of a dependency package; repeat in the order of their search."),
    ] = None,
    priority: Annotated[int | None, typer.Option(help="Higher goes first within the organisation.")] = None,
    max_attempts: Annotated[int | None, typer.Option(help="Attempts when the flow itself fails.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a deployment whole: what an earlier one of that name said, and this command does not, is gone."""
    with errors_as_sentences():
        parameters, environment = parameters_of(parameter or []), pairs_of(env or [], "--env")

    async def work(ports: Ports) -> Deployment:
        deployment = Deployment(
            org_id=org_id,
            deployment_name=name,
            flow_name=flow_name,
            flow_version=flow_version,
            parameters=parameters,
            workload_profile=workload_profile,
            cpu=cpu,
            memory=memory,
            ephemeral_storage_gib=ephemeral_storage_gib,
            environment=environment,
            dep_package_slugs=tuple(package or ()),
            priority=priority,
            max_attempts=max_attempts,
            updated_at=ports.clock.now(),
        )
        stored = await set_deployment(ports.launcher(), ports.dep_packages, deployment)
        return hiding_defaults(stored, ports.settings.worker.redact_keys)

    deployment = with_ports(config, work)
    launch = f"dagy-control runs launch --org {org_id} --deployment {name}"
    _print(deployment, f"deployment {name} of {org_id} is set; launch it with: {launch}", as_json=as_json)


@app.command("list")
def list_deployments(org_id: OrgOption, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List an organisation's deployments."""

    async def work(ports: Ports) -> Sequence[Deployment]:
        keys = ports.settings.worker.redact_keys
        return [hiding_defaults(each, keys) for each in await ports.deployments.of_org(org_id)]

    deployments = with_ports(config, work)
    if as_json:
        print(json.dumps([deployment_document(each) for each in deployments], indent=2))
        return
    table = Table("deployment", "flow", "version", "size", "parameters", "set", box=SIMPLE_HEAD, pad_edge=False)
    for each in deployments:
        table.add_row(
            each.deployment_name,
            each.flow_name,
            each.flow_version or "newest",
            _size(each),
            json.dumps(dict(each.parameters)),
            each.updated_at.strftime("%Y-%m-%d %H:%M:%S"),
        )
    console().print(table)


@app.command()
def show(name: str, org_id: OrgOption, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show what a deployment says."""

    async def work(ports: Ports) -> Deployment:
        deployment = await ports.launcher().deployment(org_id, name)
        return hiding_defaults(deployment, ports.settings.worker.redact_keys)

    deployment = with_ports(config, work)
    facts = (f"  {key:<22} {_plain(value)}" for key, value in deployment_document(deployment).items())
    _print(deployment, "\n".join((f"{name} of {org_id}", *facts)), as_json=as_json)


@app.command()
def delete(name: str, org_id: OrgOption, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Delete a deployment. Its runs stay as they are."""

    async def work(ports: Ports) -> Deployment:
        deleted = await delete_deployment(ports.launcher(), org_id, name)
        return hiding_defaults(deleted, ports.settings.worker.redact_keys)

    _print(with_ports(config, work), f"deployment {name} of {org_id} is deleted", as_json=as_json)


def deployment_document(deployment: Deployment) -> dict[str, Any]:
    """A deployment for programs: what it leaves open is absent."""
    values = {each.name: getattr(deployment, each.name) for each in fields(deployment)}
    return {name: _json(value) for name, value in values.items() if value is not None and value not in ({}, ())}


def _json(value: Any) -> Any:  # noqa: ANN401 - any attribute's value
    if isinstance(value, datetime):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else value


def _plain(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return value if isinstance(value, str) else json.dumps(value)


def _size(deployment: Deployment) -> str:
    numbers = [
        f"{deployment.cpu} CPU" if deployment.cpu else "",
        f"{deployment.memory} MiB" if deployment.memory else "",
    ]
    return " / ".join(filter(None, (deployment.workload_profile, *numbers))) or "default"


def _print(deployment: Deployment, sentence: str, *, as_json: bool) -> None:
    print(json.dumps(deployment_document(deployment), indent=2) if as_json else sentence)
