"""The table of the suites about faults: every call of every port that keeps records.

To add one, say what is there before, the call, and what it leaves behind. `name` is unique to the test and goes into every key, so
that tests share tables; nothing else in an answer or a record may differ from one test to the next.
"""

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

from dagy_control.errors import Gone
from dagy_control.model.alerts import Alert
from dagy_control.model.dep_packages import DepPackage
from dagy_control.model.deployments import Deployment
from dagy_control.model.flows import FlowRecord, FlowSpec, FlowStatus
from dagy_control.model.leases import Lease
from dagy_control.model.lifecycle import record_task
from dagy_control.model.runs import ACTIVE_SHARDS, Run, RunStatus
from dagy_control.model.suspicions import Suspicion
from dagy_control.model.task_runs import TaskRun
from dagy_control.model.tasks import SeenTask
from tests.builders import ARN, NOW, a_run, ago, launching, result
from tests.contract.ports import BUCKET, Ports

Step: TypeAlias = Callable[[Ports, str], Awaitable[Any]]


async def nothing(ports: Ports, name: str) -> None:
    """Neither is anything there before, nor does the call leave anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortCall:
    """One call of a port, as it is repeated: with the same op_id or nonce.

    `operation`: the AWS call that is to suffer, after `after` others of its kind. `in_parts`: what is done before is not undone.
    """

    operation: str
    call: Step
    before: Step = nothing
    left: Step = nothing
    after: int = 0
    in_parts: bool = False
    again: bool = False
    """Repeated, it does its work again: its port says so."""

    @property
    def writes(self) -> bool:
        """Whether it leaves anything."""
        return self.left is not nothing


async def every(pages: AsyncIterator[Sequence[Any]]) -> list[str]:
    """The run ids of a listing."""
    return sorted([run.run_id async for page in pages for run in page])


def runs_of(name: str) -> list[Run]:
    """Five queued runs of an organisation, executor and batch of this name."""
    values: dict[str, Any] = {"org_id": name, "executor": name, "correlation_id": name}
    return [a_run(run_id=f"{name}-{number}", created_at=ago(number), **values) for number in range(5)]


async def five_runs(ports: Ports, name: str) -> None:
    for run in runs_of(name):
        await ports.runs.create(run, "op")


async def queue_length(ports: Ports, name: str) -> int:
    counts = [
        await ports.runs.count_active(RunStatus.QUEUED, shard, executor=name, up_to=9) for shard in range(ACTIVE_SHARDS)
    ]
    return sum(counts)


def launching_run(name: str) -> Run:
    return launching(run_id=name, launch_token="t")  # otherwise it would be made of the name


async def a_launching_run(ports: Ports, name: str) -> None:
    await ports.runs.create(launching_run(name), "op-1")


async def record_the_task(ports: Ports, name: str) -> Run:
    return await ports.runs.change(
        record_task(launching_run(name), task_arn=ARN, why="started", now=NOW, by="a"), "op-2"
    )


def lease(name: str, nonce: str) -> Lease:
    return Lease(lease_name=name, holder="a", epoch=1, nonce=nonce, lease_s=2.5)


def flow(name: str, version: str = "1") -> FlowRecord:
    return FlowRecord(
        org_id=name,
        flow_name="etl",
        flow_version=version,
        spec=FlowSpec(name="etl", version=version, import_path="flows:etl", parameters=(), tasks=()),
        import_path="flows:etl",
        artifact_s3_uri=f"s3://b/{version}.zip",
        artifact_sha256="a" * 64,
        artifact_size_bytes=1234,
        status=FlowStatus.ACTIVE,
        registered_at=ago(int(version)),
    )


async def five_flows(ports: Ports, name: str) -> None:
    for version in "12345":
        await ports.flows.put(flow(name, version))


def deployment(name: str, number: int = 0) -> Deployment:
    return Deployment(org_id=name, deployment_name=f"d{number}", flow_name="etl", updated_at=NOW, cpu=256)


def dep_package(name: str) -> DepPackage:
    return DepPackage(slug=name, package_s3_uri="s3://b/k.zip", sha256="a" * 64, size=7, added_at=NOW)


async def three_packages(ports: Ports, name: str) -> None:
    for slug in task_names(name, 3):
        await ports.dep_packages.put(dep_package(slug))


async def packages_of(ports: Ports, name: str) -> list[DepPackage]:
    return [package for package in await ports.dep_packages.all() if package.slug.startswith(name)]


async def five_deployments(ports: Ports, name: str) -> None:
    for number in range(5):
        await ports.deployments.put(deployment(name, number))


def task_runs(name: str, rows: int) -> list[TaskRun]:
    return [
        TaskRun(run_id=name, task_run_id=f"{number:03}", task_name="t", status="RUNNING", attempts=1, run_attempt=1)
        for number in range(rows)
    ]


def suspicions(name: str, tasks: int) -> list[Suspicion]:
    expiry = NOW + timedelta(days=1)
    return [
        Suspicion(task_arn=arn, reason="no record", first_seen=ago(9), last_seen=NOW, expires_at=expiry)
        for arn in task_names(name, tasks)
    ]


def task_names(name: str, tasks: int) -> list[str]:
    return [f"{name}-{number:03}" for number in range(tasks)]


async def downloaded(ports: Ports, name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "content"
        await ports.artifacts.download(f"s3://{BUCKET}/artifacts/{name}", target, max_bytes=100)
        return target.read_bytes()


async def uploaded(ports: Ports, name: str) -> bytes | None:
    try:
        return await downloaded(ports, name)
    except Gone:
        return None


async def suspects(ports: Ports, name: str) -> list[str]:
    return sorted(await ports.suspicions.get_many(task_names(name, 120)))


async def three_states(ports: Ports, name: str) -> None:
    for slug in task_names(name, 3):
        await ports.put_state(slug)


async def three_events(ports: Ports, name: str) -> None:
    for arn in task_names(name, 3):
        await ports.send_event(SeenTask(arn=arn, cluster="main", last_status="STOPPED"))


async def receive(ports: Ports, name: str) -> list[str]:
    """What has been received and lost comes again."""
    ports.time_out_events()
    return sorted(event.task.arn for event in await ports.events.receive(wait_s=0) if event.task)


async def received_events(ports: Ports, name: str) -> None:
    await three_events(ports, name)
    ports.receipts.extend(event.receipt for event in await ports.events.receive(wait_s=0))


CALLS: Mapping[str, PortCall] = {
    "runs.create": PortCall(
        operation="PutItem",
        call=lambda ports, name: ports.runs.create(a_run(run_id=name), "op-1"),
        left=lambda ports, name: ports.runs.get(name),
    ),
    "runs.change": PortCall(
        operation="UpdateItem",
        before=a_launching_run,
        call=record_the_task,
        left=lambda ports, name: ports.runs.get(name),
    ),
    "runs.get": PortCall(operation="GetItem", before=a_launching_run, call=lambda ports, name: ports.runs.get(name)),
    "runs.glance_many": PortCall(
        operation="BatchGetItem",
        before=five_runs,
        call=lambda ports, name: ports.runs.glance_many([run.run_id for run in runs_of(name)] + task_names(name, 100)),
        after=1,
    ),
    "runs.active": PortCall(
        operation="Query",
        before=five_runs,
        call=lambda ports, name: every(ports.runs.active(RunStatus.QUEUED, executor=name)),
    ),
    "runs.active (a later page)": PortCall(
        operation="Query",
        before=five_runs,
        call=lambda ports, name: every(ports.runs.active(RunStatus.QUEUED, executor=name)),
        after=15,
    ),
    "runs.by_org": PortCall(
        operation="Query", before=five_runs, call=lambda ports, name: ports.runs.by_org(name, limit=4)
    ),
    "runs.by_org (the items)": PortCall(
        operation="BatchGetItem", before=five_runs, call=lambda ports, name: ports.runs.by_org(name, limit=4)
    ),
    "runs.by_flow": PortCall(
        operation="Query", before=five_runs, call=lambda ports, name: ports.runs.by_flow(name, "etl", limit=4)
    ),
    "runs.by_org (a later page)": PortCall(
        operation="Query",
        before=five_runs,
        call=lambda ports, name: ports.runs.by_org(name, limit=9),
        after=1,
    ),
    "runs.of_correlation (a later page)": PortCall(
        operation="Query",
        before=five_runs,
        call=lambda ports, name: every(ports.runs.of_correlation(name)),
        after=1,
    ),
    "runs.count_active": PortCall(
        operation="Query",
        before=five_runs,
        call=lambda ports, name: queue_length(ports, name),
        after=7,
    ),
    "leases.put_if (a new one)": PortCall(
        operation="PutItem",
        call=lambda ports, name: ports.leases.put_if(lease(name, "n1"), seen_nonce=None),
        left=lambda ports, name: ports.leases.get(name),
    ),
    "leases.put_if (renewed)": PortCall(
        operation="PutItem",
        before=lambda ports, name: ports.leases.put_if(lease(name, "n1"), seen_nonce=None),
        call=lambda ports, name: ports.leases.put_if(lease(name, "n2"), seen_nonce="n1"),
        left=lambda ports, name: ports.leases.get(name),
    ),
    "leases.get": PortCall(
        operation="GetItem",
        before=lambda ports, name: ports.leases.put_if(lease(name, "n1"), seen_nonce=None),
        call=lambda ports, name: ports.leases.get(name),
    ),
    "flows.put": PortCall(
        operation="UpdateItem",
        call=lambda ports, name: ports.flows.put(flow(name)),
        left=lambda ports, name: ports.flows.of_org(name),
    ),
    "flows.put (again, later)": PortCall(
        operation="UpdateItem",
        before=five_flows,
        call=lambda ports, name: ports.flows.put(replace(flow(name), registered_at=NOW, status=FlowStatus.RETIRED)),
        left=lambda ports, name: ports.flows.of_org(name),
    ),
    "flows.get": PortCall(
        operation="GetItem", before=five_flows, call=lambda ports, name: ports.flows.get(name, "etl", "2")
    ),
    "flows.get (the newest)": PortCall(
        operation="Query", before=five_flows, call=lambda ports, name: ports.flows.get(name, "etl"), after=1
    ),
    "flows.of_org": PortCall(operation="Query", before=five_flows, call=lambda ports, name: ports.flows.of_org(name)),
    "flows.of_org (a later page)": PortCall(
        operation="Query", before=five_flows, call=lambda ports, name: ports.flows.of_org(name), after=1
    ),
    "deployments.put": PortCall(
        operation="PutItem",
        call=lambda ports, name: ports.deployments.put(deployment(name)),
        left=lambda ports, name: ports.deployments.of_org(name),
    ),
    "deployments.delete": PortCall(
        operation="DeleteItem",
        before=five_deployments,
        call=lambda ports, name: ports.deployments.delete(name, "d3"),
        left=lambda ports, name: ports.deployments.of_org(name),
    ),
    "deployments.get": PortCall(
        operation="GetItem", before=five_deployments, call=lambda ports, name: ports.deployments.get(name, "d2")
    ),
    "deployments.of_org (a later page)": PortCall(
        operation="Query", before=five_deployments, call=lambda ports, name: ports.deployments.of_org(name), after=1
    ),
    "dep_packages.put": PortCall(
        operation="PutItem",
        call=lambda ports, name: ports.dep_packages.put(dep_package(name)),
        left=lambda ports, name: ports.dep_packages.get(name),
    ),
    "dep_packages.put (replaced)": PortCall(
        operation="PutItem",
        before=lambda ports, name: ports.dep_packages.put(dep_package(name)),
        call=lambda ports, name: ports.dep_packages.put(replace(dep_package(name), sha256="b" * 64), replace=True),
        left=lambda ports, name: ports.dep_packages.get(name),
    ),
    "dep_packages.get": PortCall(
        operation="GetItem",
        before=lambda ports, name: ports.dep_packages.put(dep_package(name)),
        call=lambda ports, name: ports.dep_packages.get(name),
    ),
    "dep_packages.all": PortCall(
        operation="Scan",
        before=three_packages,
        call=lambda ports, name: packages_of(ports, name),
    ),
    "task_runs.put_many": PortCall(
        operation="BatchWriteItem",
        call=lambda ports, name: ports.task_runs.put_many(task_runs(name, 3)),
        left=lambda ports, name: ports.task_runs.of_run(name),
    ),
    "task_runs.of_run (a later page)": PortCall(
        operation="Query",
        before=lambda ports, name: ports.task_runs.put_many(task_runs(name, 5)),
        call=lambda ports, name: ports.task_runs.of_run(name),
        after=1,
    ),
    "suspicions.put_many": PortCall(
        operation="BatchWriteItem",
        call=lambda ports, name: ports.suspicions.put_many(suspicions(name, 3)),
        left=suspects,
    ),
    "suspicions.put_many (the second batch)": PortCall(
        operation="BatchWriteItem",
        call=lambda ports, name: ports.suspicions.put_many(suspicions(name, 30)),
        left=suspects,
        after=1,
        in_parts=True,
    ),
    "suspicions.get_many": PortCall(
        operation="BatchGetItem",
        before=lambda ports, name: ports.suspicions.put_many(suspicions(name, 3)),
        call=suspects,
    ),
    "suspicions.get_many (the second batch)": PortCall(
        operation="BatchGetItem",
        before=lambda ports, name: ports.suspicions.put_many(suspicions(name, 3)),
        call=suspects,
        after=1,
    ),
    "state_tables.read": PortCall(
        operation="BatchGetItem",
        before=three_states,
        call=lambda ports, name: ports.state_tables.read(ports.states, "slug", task_names(name, 4), ["status"]),
    ),
    "events.receive": PortCall(operation="ReceiveMessage", before=three_events, call=receive),
    "events.delete": PortCall(
        operation="DeleteMessageBatch",
        before=received_events,
        call=lambda ports, _: ports.events.delete(ports.receipts),
        left=lambda ports, _: ports.events_left(),
    ),
    "events.postpone": PortCall(
        operation="ChangeMessageVisibilityBatch",
        before=received_events,
        call=lambda ports, _: ports.events.postpone(dict.fromkeys(ports.receipts, 0)),
    ),
    "dead_letters.send": PortCall(
        operation="SendMessage",
        call=lambda ports, _: ports.dead_letters.send("set aside"),
        left=lambda ports, _: ports.events_left(),
        again=True,
    ),
    "dead_letters.count": PortCall(
        operation="GetQueueAttributes", before=three_events, call=lambda ports, _: ports.dead_letters.count()
    ),
    "alerts.publish": PortCall(
        operation="Publish",
        call=lambda ports, name: ports.alerts.publish(
            ports.topic_arn, Alert(subject=name, body="told once", attributes={})
        ),
        left=lambda ports, _: ports.alerts_got(),
        again=True,
    ),
    "artifacts.upload": PortCall(
        operation="PutObject",
        call=lambda ports, name: ports.artifacts.upload(f"artifacts/{name}", b"content"),
        left=uploaded,
    ),
    "artifacts.download": PortCall(
        operation="GetObject",
        before=lambda ports, name: ports.artifacts.upload(f"artifacts/{name}", b"content"),
        call=downloaded,
    ),
    "results.put": PortCall(
        operation="PutObject",
        call=lambda ports, name: ports.results.put(name, ARN, result()),
        left=lambda ports, name: ports.results.get(name, 1, ARN),
    ),
    "results.get": PortCall(
        operation="GetObject",
        before=lambda ports, name: ports.results.put(name, ARN, result()),
        call=lambda ports, name: ports.results.get(name, 1, ARN),
    ),
}
