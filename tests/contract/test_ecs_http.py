"""The embedded ECS as a real aiobotocore client sees it over HTTP."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError, ReadTimeoutError

from dagy_control.kernel.clock import SystemClock
from dagy_control.local.agent import AgentPolicy
from dagy_control.local.ecs_admin import EcsAdmin
from dagy_control.local.ecs_driver import EcsDriver
from dagy_control.local.ecs_http import HeldCalls, ecs_app
from dagy_control.local.ecs_model import EcsModel
from dagy_control.local.ecs_state import Lifetimes
from dagy_control.local.http_server import LoopbackServer
from tests.fakes.ecs_world import CLUSTER, DEFINITION, NETWORK

RUN: dict[str, Any] = {
    "cluster": CLUSTER,
    "taskDefinition": "dagy-worker",
    "launchType": "FARGATE",
    "networkConfiguration": NETWORK,
}
NEVER_STARTS = Lifetimes(provisioning_s=3600)  # the contract of the calls needs no process


@dataclass
class Ecs:
    client: Any
    url: str

    async def admin(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """A request to the switches; an error status comes back as `{"status": ..., **body}`."""
        return await asyncio.to_thread(self._admin, method, path, body)

    def _admin(self, method: str, path: str, body: object) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data=data, method=method)  # noqa: S310 - loopback
        try:
            with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310 - loopback
                return dict(json.load(response))
        except urllib.error.HTTPError as error:
            with error:
                return {"status": error.code, **json.load(error)}

    async def run_one(self, **request: Any) -> str:
        answer = await self.client.run_task(**{**RUN, **request})
        return str(answer["tasks"][0]["taskArn"])


def client_at(url: str, *, read_timeout_s: float = 5) -> Any:
    config = AioConfig(connect_timeout=2, read_timeout=read_timeout_s, retries={"total_max_attempts": 1})
    return get_session().create_client(
        "ecs",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=config,
    )


@pytest.fixture
async def ecs(tmp_path: Path) -> AsyncIterator[Ecs]:
    clock = SystemClock()
    model = EcsModel(lifetimes=NEVER_STARTS)
    model.registry.create_cluster(CLUSTER)
    model.registry.register(DEFINITION, datetime(2026, 3, 1, tzinfo=UTC))
    server = LoopbackServer(clock=clock)
    policy = AgentPolicy(workdir=tmp_path, environment={}, metadata_url=f"{server.url}/v4")
    driver, held = EcsDriver(model, clock=clock, policy=policy), HeldCalls()
    driver.start()
    await server.start(ecs_app(driver, held, *EcsAdmin(driver, held).routes()))
    async with client_at(server.url) as client:
        yield Ecs(client, server.url)
    held.release()
    await server.stop()
    await driver.stop()


async def eventually(condition: Callable[[], Awaitable[bool]], within_s: float = 5) -> None:
    async with asyncio.timeout(within_s):
        while not await condition():
            await SystemClock().sleep(0.01)


async def test_run_describe_list_and_stop_go_round(ecs: Ecs) -> None:
    tags = [{"key": "run_id", "value": "r1"}]
    arn = await ecs.run_one(startedBy="dagy/r1/1", tags=tags)
    answer = await ecs.client.describe_tasks(cluster=CLUSTER, tasks=[arn], include=["TAGS"])
    (task,) = answer["tasks"]
    assert (task["lastStatus"], task["startedBy"], task["tags"]) == ("PROVISIONING", "dagy/r1/1", tags)
    assert abs(task["createdAt"] - datetime.now(UTC)) < timedelta(minutes=5)  # noqa: TID251 - checks the clock itself
    assert (await ecs.client.list_tasks(cluster=CLUSTER, startedBy="dagy/r1/1"))["taskArns"] == [arn]
    stopped = (await ecs.client.stop_task(cluster=CLUSTER, task=arn, reason="cancelled"))["task"]
    assert (stopped["stopCode"], stopped["stoppedReason"]) == ("UserInitiated", "cancelled")
    assert (await ecs.client.list_tasks(cluster=CLUSTER))["taskArns"] == []


async def test_a_conflict_names_the_existing_tasks_as_botocore_parses_it(ecs: Ecs) -> None:
    arn = await ecs.run_one(clientToken="t")
    assert await ecs.run_one(clientToken="t") == arn
    with pytest.raises(ecs.client.exceptions.ConflictException) as conflict:
        await ecs.run_one(clientToken="t", startedBy="other")
    assert conflict.value.response["resourceIds"] == [arn]
    assert conflict.value.response["Error"]["Code"] == "ConflictException"


async def test_errors_have_botocores_own_types(ecs: Ecs) -> None:
    exceptions = ecs.client.exceptions
    with pytest.raises(exceptions.ClusterNotFoundException):
        await ecs.run_one(cluster="nope")
    with pytest.raises(exceptions.ClientException, match="TaskDefinition not found"):
        await ecs.run_one(taskDefinition="nope")
    with pytest.raises(exceptions.ClientException, match="No Fargate configuration"):
        await ecs.run_one(overrides={"cpu": "1", "memory": "1"})
    with pytest.raises(exceptions.InvalidParameterException):
        await ecs.client.describe_tasks(cluster=CLUSTER, tasks=[])
    with pytest.raises(exceptions.InvalidParameterException, match="referenced task was not found"):
        await ecs.client.stop_task(cluster=CLUSTER, task="0" * 32)


async def test_a_paginator_reads_every_page(ecs: Ecs) -> None:
    arns = [task["taskArn"] for _ in range(3) for task in (await ecs.client.run_task(**RUN, count=10))["tasks"]]
    paginator = ecs.client.get_paginator("list_tasks")
    pages = [page async for page in paginator.paginate(cluster=CLUSTER, PaginationConfig={"PageSize": 12})]
    assert [len(page["taskArns"]) for page in pages] == [12, 12, 6]
    assert [arn for page in pages for arn in page["taskArns"]] == arns


async def test_missing_tasks_come_back_as_failures(ecs: Ecs) -> None:
    answer = await ecs.client.describe_tasks(cluster=CLUSTER, tasks=["0" * 32])
    assert answer["failures"][0]["reason"] == "MISSING"


async def test_clusters_definitions_and_tags_go_round(ecs: Ecs) -> None:
    await ecs.client.create_cluster(clusterName="two")
    clusters = await ecs.client.describe_clusters(clusters=["two", "three"])
    assert [cluster["status"] for cluster in clusters["clusters"]] == ["ACTIVE"]
    assert clusters["failures"][0]["reason"] == "MISSING"
    registered = (await ecs.client.register_task_definition(**DEFINITION))["taskDefinition"]
    assert registered["revision"] == 2
    assert registered["containerDefinitions"][0]["entryPoint"] == ["dagy-worker"]
    described = await ecs.client.describe_task_definition(taskDefinition="dagy-worker")
    assert described["taskDefinition"]["taskDefinitionArn"] == registered["taskDefinitionArn"]
    await ecs.client.deregister_task_definition(taskDefinition="dagy-worker:2")
    arn = await ecs.run_one()
    await ecs.client.tag_resource(resourceArn=arn, tags=[{"key": "a", "value": "b"}])
    assert (await ecs.client.list_tags_for_resource(resourceArn=arn))["tags"] == [{"key": "a", "value": "b"}]


async def test_the_buckets_throttle_a_client_that_bursts(ecs: Ecs) -> None:
    codes = []
    for _ in range(30):
        try:
            await ecs.client.deregister_task_definition(taskDefinition="nope:1")
        except ClientError as error:
            codes.append((error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]))
    assert codes[:20] == [("ClientException", 400)] * 20
    assert ("ThrottlingException", 400) in codes[20:]


@pytest.mark.parametrize(
    ("kind", "code", "http_status", "applied"),
    [
        ("throttle", "ThrottlingException", 400, False),
        ("error_not_applied", "ServerException", 500, False),
        ("error_applied", "ServerException", 500, True),
    ],
)
async def test_a_faulty_call_fails_once(ecs: Ecs, kind: str, code: str, http_status: int, applied: bool) -> None:
    await ecs.admin("POST", "/_local/faults", {"kind": kind})
    with pytest.raises(ClientError) as failed:
        await ecs.run_one()
    assert failed.value.response["Error"]["Code"] == code
    assert failed.value.response["ResponseMetadata"]["HTTPStatusCode"] == http_status
    assert bool((await ecs.admin("GET", "/_local/tasks"))["tasks"]) is applied
    await ecs.run_one()


async def test_a_dropped_reply_is_a_broken_connection_and_the_replay_finds_the_task(ecs: Ecs) -> None:
    await ecs.admin("POST", "/_local/faults", {"kind": "drop_reply"})
    with pytest.raises(ConnectionClosedError):
        await ecs.run_one(clientToken="t")
    arn = await ecs.run_one(clientToken="t")
    assert [task["task_arn"] for task in (await ecs.admin("GET", "/_local/tasks"))["tasks"]] == [arn]


async def test_a_held_reply_is_counted_and_arrives_when_released(ecs: Ecs) -> None:
    await ecs.admin("POST", "/_local/faults", {"kind": "hold_reply"})
    async with asyncio.TaskGroup() as group:
        call = group.create_task(ecs.run_one(), name="held call")

        async def held() -> bool:
            return (await ecs.admin("GET", "/_local/faults"))["held"] == ["RunTask"]

        await eventually(held)
        assert not call.done()
        assert len((await ecs.admin("GET", "/_local/tasks"))["tasks"]) == 1
        assert await ecs.admin("DELETE", "/_local/faults") == {"released": 1}
    assert call.result().startswith("arn:aws:ecs:")
    assert (await ecs.admin("GET", "/_local/faults"))["held_count"] == 0


async def test_a_held_reply_is_forgotten_when_its_caller_gives_up(ecs: Ecs) -> None:
    await ecs.admin("POST", "/_local/faults", {"kind": "hold_reply", "operation": "ListTasks"})
    async with client_at(ecs.url, read_timeout_s=0.3) as impatient:
        with pytest.raises(ReadTimeoutError):
            await impatient.list_tasks(cluster=CLUSTER)

    async def forgotten() -> bool:
        return (await ecs.admin("GET", "/_local/faults"))["held_count"] == 0

    await eventually(forgotten)


async def test_launch_failures_come_in_the_body(ecs: Ecs) -> None:
    await ecs.admin("POST", "/_local/faults", {"kind": "launch_failure", "reason": "RESOURCE:CPU"})
    answer = await ecs.client.run_task(**RUN)
    assert answer["tasks"] == []
    assert answer["failures"][0]["reason"] == "RESOURCE:CPU"


async def test_waiting_faults_can_be_seen(ecs: Ecs) -> None:
    await ecs.admin("POST", "/_local/faults", {"kind": "throttle", "operation": "StopTask", "calls": 2})
    (waiting,) = (await ecs.admin("GET", "/_local/faults"))["waiting"]
    assert (waiting["kind"], waiting["operation"], waiting["calls"]) == ("throttle", "StopTask", 2)
    await ecs.admin("DELETE", "/_local/faults")
    assert (await ecs.admin("GET", "/_local/faults"))["waiting"] == []


@pytest.mark.parametrize(
    "fault",
    [
        {},
        {"kind": "earthquake"},
        {"kind": "throttle", "calls": 0},
        {"kind": "throttle", "x": 1},
        [],
        {"kind": "delay_event", "delay_s": -1},
    ],
)
async def test_a_senseless_fault_is_refused(ecs: Ecs, fault: object) -> None:
    assert (await ecs.admin("POST", "/_local/faults", fault))["status"] == 400


async def test_a_container_finds_its_own_task_at_the_metadata_endpoint(ecs: Ecs) -> None:
    arn = await ecs.run_one()
    task_id = arn.rsplit("/", 1)[1]
    metadata = await ecs.admin("GET", f"/v4/{task_id}/task")
    assert metadata["TaskARN"] == arn
    assert metadata["Cluster"].endswith(f":cluster/{CLUSTER}")
    assert (metadata["Family"], metadata["Revision"]) == ("dagy-worker", "1")
    assert [container["Name"] for container in metadata["Containers"]] == ["worker"]
    assert (await ecs.admin("GET", f"/v4/{task_id}"))["Image"] == "dagy/worker:1"
    assert (await ecs.admin("GET", "/v4/unknown/task"))["status"] == 404


async def test_switches_for_an_unknown_task_are_404_and_spot_needs_a_spot_task(ecs: Ecs) -> None:
    for switch in ("kill", "spot-interruption", "host-failure", "retirement"):
        assert (await ecs.admin("POST", f"/_local/tasks/unknown/{switch}"))["status"] == 404
    task_id = (await ecs.run_one()).rsplit("/", 1)[1]
    assert (await ecs.admin("POST", f"/_local/tasks/{task_id}/spot-interruption"))["status"] == 400
    assert (await ecs.admin("POST", f"/_local/tasks/{task_id}/kill", {"signal": "SIGNOPE"}))["status"] == 400
    assert await ecs.admin("POST", f"/_local/tasks/{task_id}/kill") == {"signalled": False}
    assert (await ecs.admin("POST", f"/_local/tasks/{task_id}/host-failure"))["task_arn"].endswith(task_id)


async def test_an_unknown_operation_is_an_error_and_not_a_silence(ecs: Ecs) -> None:
    with pytest.raises(ClientError, match="no operation ListServices"):
        await ecs.client.list_services(cluster=CLUSTER)


async def test_a_stopped_server_refuses_connections(tmp_path: Path) -> None:
    server = LoopbackServer(clock=SystemClock())
    await server.stop()
    async with client_at(server.url) as client:
        with pytest.raises(BotoCoreError):
            await client.list_clusters()


async def test_a_port_in_use_is_an_os_error() -> None:
    first = LoopbackServer(clock=SystemClock())
    with pytest.raises(OSError, match="in use"):
        LoopbackServer(clock=SystemClock(), port=int(first.url.rsplit(":", 1)[1]))
    await first.stop()
