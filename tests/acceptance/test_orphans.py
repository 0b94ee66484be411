"""The orphan scanner as its users reach it: the daemon's loop, HTTP and the command see the same, and what stops is told."""

import json
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from dagy_control.adapters.attributes import to_item
from dagy_control.adapters.ecs_admin import EcsAdmin
from dagy_control.adapters.table_admin import TableAdmin
from dagy_control.entrypoints.demo_world import DemoWorld
from dagy_control.entrypoints.local_stack import Daemon, end_process
from dagy_control.model.tables import TableSpec
from dagy_control.model.tasks import short_id
from dagy_control.ports.tasks import Started
from tests.acceptance.looking import SOON_S, stopped_task

pytestmark = [pytest.mark.acceptance, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

TOKEN = "of-the-acceptance-tests"
STATES = "retraining-state"
SLEEPER = {
    "family": "sleeper",
    "requiresCompatibilities": ["FARGATE"],
    "networkMode": "awsvpc",
    "cpu": "256",
    "memory": "512",
    "containerDefinitions": [
        {"name": "sleeper", "image": "local", "essential": True, "command": ["sleep", "600"], "stopTimeout": 2}
    ],
}


@dataclass(frozen=True)
class Scene:
    """A daemon with orphans of several kinds beside it, and a queue that gets its alerts."""

    world: DemoWorld
    daemon: Daemon
    queue_url: str
    completed: str
    exempt: str
    stranger: str
    ghost: str

    async def scanned(self, body: dict[str, Any]) -> tuple[int, Any]:
        """A scan over HTTP, once the loop is not at one itself."""

        async def scan() -> tuple[int, Any] | None:
            answer = await self.http(body)
            return None if answer[0] == 409 else answer

        return await self.world.until("a scan over HTTP", scan, timeout_s=SOON_S)

    async def http(self, body: dict[str, Any], *, method: str = "POST", token: str = TOKEN) -> tuple[int, Any]:
        headers = {"authorization": f"Bearer {token}"}
        url = f"{self.daemon.url}/orphans/scan"
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url, json=body, headers=headers) as response,
        ):
            return response.status, await response.json()

    async def alerts(self) -> list[dict[str, Any]]:
        """Those that have come since the last look."""
        got: list[dict[str, Any]] = []
        while True:
            answer: Any = await self.world.ports.clients.sqs.receive_message(
                QueueUrl=self.queue_url, MaxNumberOfMessages=10
            )
            if not answer.get("Messages"):
                return got
            for message in answer["Messages"]:
                got.append(json.loads(message["Body"]))
                receipt = message["ReceiptHandle"]
                await self.world.ports.clients.sqs.delete_message(QueueUrl=self.queue_url, ReceiptHandle=receipt)


async def task_with(world: DemoWorld, name: str, tags: dict[str, str]) -> str:
    """A task that somebody else has started."""
    started = await world.ports.tasks.run_task(
        {
            "cluster": world.stack.cloud.cluster,
            "taskDefinition": "sleeper",
            "capacityProviderStrategy": [{"capacityProvider": "FARGATE", "weight": 1}],
            "clientToken": name,
            "startedBy": name,
            "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-local"]}},
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
    )
    assert isinstance(started, Started)
    return started.task_arn


async def subscribed_topic(world: DemoWorld) -> tuple[str, str]:
    """A topic's ARN, and the URL of a queue that gets what is published."""
    sns, sqs = world.ports.clients.sns, world.ports.clients.sqs
    topic_arn = (await sns.create_topic(Name="alerts"))["TopicArn"]
    queue_url = (await sqs.create_queue(QueueName="alerts"))["QueueUrl"]
    shown: Any = await sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
    await sns.subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=shown["Attributes"]["QueueArn"])
    return topic_arn, queue_url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(world: DemoWorld) -> AsyncIterator[Scene]:
    clients, calls, clock = world.ports.clients, world.ports.calls, world.ports.clock
    await EcsAdmin(clients.ecs, calls).register_task_definition(SLEEPER)
    states = TableSpec(setting=STATES, hash_key="model_name")
    await TableAdmin(clients.dynamodb, calls, clock).create({STATES: STATES}, (states,))
    item = {"model_name": "m1", "status": "completed"}
    await clients.dynamodb.put_item(TableName=STATES, Item=to_item(item))
    topic_arn, queue_url = await subscribed_topic(world)
    settings = f'alert_publisher = true\nalert_topic_arn = "{topic_arn}"\nmax_stop_share = 1.0\n'
    text = world.stack.config.read_text()
    world.stack.config.write_text(
        text.replace("[orphans]\n", f"[orphans]\n{settings}").replace("[api]\n", f'[api]\ntoken = "{TOKEN}"\n')
    )
    os.environ["RETRAINING_STATE_TABLE"] = STATES
    daemon = await world.stack.start_daemon()
    yield Scene(
        world,
        daemon,
        queue_url,
        completed=await task_with(world, "m1", {"model_name": "m1"}),
        exempt=await task_with(world, "m2", {"model_name": "m2", "dagy:keep": "2099-12-31"}),
        stranger=await task_with(world, "somebody", {"team": "x"}),
        ghost=await world.start_ghost("sleeper"),
    )
    await end_process(daemon.process, signal.SIGKILL)
    world.stack.config.write_text(text)


async def both_found(scene: Scene) -> dict[str, Any]:
    """The loop's own report, once it holds both orphans: one of them needs a second scan."""

    async def look() -> dict[str, Any] | None:
        status, report = await scene.http({}, method="GET")
        return report if status == 200 and report["data"]["summary"]["orphans_found"] == 2 else None

    return await scene.world.until("both orphans found by the loop", look, timeout_s=SOON_S)


async def test_loop_http_and_command_give_the_same_document(scene: Scene) -> None:
    loops = await both_found(scene)
    status, https = await scene.scanned({"dry_run": True})
    commands = await scene.world.command("orphans", "scan", "--dry-run", "--json")
    assert status == 200
    for report in (loops, https, commands):
        report["data"]["orphans"].sort(key=lambda orphan: str(orphan["task_arn"]))
    assert loops == https == commands
    assert commands["environment"] == "local"
    assert commands["data"] == {
        "summary": {"total_running": 4, "orphans_found": 2, "tasks_stopped": 0, "dry_run": True},
        "orphans": sorted(
            (
                {"task_arn": scene.completed, "reason": "State shows 'completed' but task still running"},
                {"task_arn": scene.ghost, "reason": "No state record for a running task"},
            ),
            key=lambda orphan: orphan["task_arn"],
        ),
    }


async def test_over_http_nothing_goes_without_the_token(scene: Scene) -> None:
    status, document = await scene.http({"dry_run": False}, token="guessed-and-quite-wrong")
    assert (status, document["success"]) == (401, False)
    status, document = await scene.http({"dry_run": "perhaps"})
    assert (status, document["success"]) == (400, False)
    assert {task["last_status"] for task in await scene.world.tasks()} == {"RUNNING"}


async def test_stopping_ends_the_orphans_and_nothing_else_and_tells_so(scene: Scene) -> None:
    await both_found(scene)
    detected = await scene.alerts()
    subject = "[LOCAL] Orphan Tasks Detected (DRY RUN): 2 tasks"
    assert subject in [alert["Subject"] for alert in detected]
    status, report = await scene.scanned({"dry_run": False})
    assert (status, report["data"]["summary"]["tasks_stopped"]) == (200, 2)
    for arn, reason in (
        (scene.completed, "State shows 'completed' but task still running"),
        (scene.ghost, "No state record for a running task"),
    ):
        assert (await stopped_task(scene.world, arn))["stopped_reason"] == f"Orphan scan: {reason}"
    for arn in (scene.exempt, scene.stranger):
        assert (await scene.world.task(arn))["last_status"] == "RUNNING"
    (alert,) = [each for each in await scene.alerts() if "Stopped" in each["Subject"]]
    assert alert["Subject"] == "[LOCAL] Orphan Tasks Stopped: 2 tasks"
    assert f"- {short_id(scene.ghost)}: No state record for a running task" in alert["Message"].splitlines()
    assert alert["MessageAttributes"]["severity"]["Value"] == "MEDIUM"
    assert alert["MessageAttributes"]["alert_type"]["Value"] == "orphan_tasks"
