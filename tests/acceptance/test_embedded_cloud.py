"""The whole embedded cloud: real processes, a real AWS client, real signals."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import ClientError

from dagy_control.errors import Permanent
from dagy_control.kernel.clock import SystemClock
from dagy_control.local.cloud import REGION, EmbeddedCloud
from dagy_control.local.process_agent import CLOUD_VARIABLE

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

SOON_S = 60
"""Ends a test that has failed: far above what a slow machine needs."""

IGNORES_SIGTERM = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
EATS_MEMORY = "import time; block = bytearray(b'x') * (200 * 2**20); time.sleep(600)"
RUNS_A_FLOW = f"""
import asyncio, os, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from dagy_control.flow_engine.options import EngineOptions
from tests.flows.running import Run, a_flow, a_task

async def main():
    hog = a_task("hog", "allocate_without_end", os.getcwd())
    options = EngineOptions(max_concurrency=2, cgroup_dir=Path(os.environ["DAGY_CGROUP_DIR"]))
    run = Run(a_flow(hog, a_task("sibling", "add", 1), a_task("last", "add", 1)), options=options)
    outcome = await run.finish()
    print(outcome.failure_class, outcome.message, flush=True)
    print([run.reporter.last(key).state.value for key in ("hog", "sibling", "last")], flush=True)
    os._exit(7)

asyncio.run(main())
"""
SHARES_MEMORY = """
import os, time
block = bytearray(b'x') * (60 * 2**20)
for _ in range(4):
    if os.fork() == 0:
        time.sleep(600)
time.sleep(1)
os._exit(7)
"""
LEAVES_CHILDREN = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
daemon = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)
print(child.pid, daemon.pid, flush=True)
os._exit(0)
"""
ASKS_METADATA = """
import json, os, sys, urllib.request
with urllib.request.urlopen(os.environ['ECS_CONTAINER_METADATA_URI_V4'] + '/task') as answer:
    task = json.load(answer)
print(json.dumps({'arn': task['TaskARN'], 'env': dict(os.environ), 'cwd': os.getcwd()}), flush=True)
print('to stderr', file=sys.stderr)
"""


@dataclass
class World:
    cloud: EmbeddedCloud
    ecs: Any
    events: list[dict[str, Any]] = field(default_factory=list)

    def client(self, service: str) -> Any:
        return client_of(self.cloud, service)

    async def run(self, code: str, *arguments: str, **request: Any) -> str:
        """Run a piece of Python as a task."""
        override = {"name": "worker", "command": [sys.executable, "-c", code, *arguments]}
        override |= request.pop("container", {})
        answer = await self.ecs.run_task(
            **{
                "cluster": self.cloud.cluster,
                "taskDefinition": "job",
                "capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT", "weight": 1}],
                "overrides": {"containerOverrides": [override]},
                **request,
            }
        )
        return str(answer["tasks"][0]["taskArn"])

    async def task(self, arn: str) -> dict[str, Any]:
        return dict((await self.ecs.describe_tasks(cluster=self.cloud.cluster, tasks=[arn]))["tasks"][0])

    async def reach(self, arn: str, status: str) -> dict[str, Any]:
        """The task once it has reached a status."""
        async with asyncio.timeout(SOON_S):
            while (task := await self.task(arn))["lastStatus"] != status:
                await SystemClock().sleep(0.02)
            return task

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(SOON_S):
            while not condition():
                await SystemClock().sleep(0.02)

    def log(self, arn: str) -> str:
        path = self.cloud.driver.agent.log_path(arn)
        return path.read_text() if path.exists() else ""

    def pid(self, arn: str) -> int:
        pid = self.cloud.driver.agent.pid(arn)
        assert pid is not None
        return pid


def client_of(cloud: EmbeddedCloud, service: str) -> Any:
    environment = cloud.environment()
    return get_session().create_client(
        service,
        endpoint_url=environment["AWS_ENDPOINT_URL_ECS" if service == "ecs" else "AWS_ENDPOINT_URL"],
        region_name=environment["AWS_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        config=AioConfig(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 1}),
    )


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    cloud = EmbeddedCloud(tmp_path, clock=SystemClock())
    await cloud.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(cloud.stop)
        ecs = await stack.enter_async_context(client_of(cloud, "ecs"))
        container = {"name": "worker", "image": "none", "stopTimeout": 2}
        await ecs.register_task_definition(family="job", cpu="256", memory="512", containerDefinitions=[container])
        made = World(cloud, ecs)

        async def sink(event: dict[str, Any]) -> None:
            made.events.append(event)

        cloud.set_event_sink(sink)
        yield made


@pytest.mark.parametrize("exit_code", [0, 3, 75])
async def test_a_task_runs_as_a_process_and_its_exit_code_is_real(world: World, exit_code: int) -> None:
    arn = await world.run(f"import sys; sys.exit({exit_code})")
    task = await world.reach(arn, "STOPPED")
    assert task["containers"][0]["exitCode"] == exit_code
    assert task["stopCode"] == "EssentialContainerExited"
    await world.until(lambda: world.events[-1:] != [] and world.events[-1]["detail"]["lastStatus"] == "STOPPED")
    versions = [event["detail"]["version"] for event in world.events]
    assert versions == sorted(versions)
    assert world.events[-1]["detail"]["containers"][0]["exitCode"] == exit_code


async def test_a_container_sees_its_metadata_its_overrides_and_none_of_the_users_environment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "the-users-own")
    arn = await world.run(ASKS_METADATA, container={"environment": [{"name": "DAGY_RUN_ID", "value": "r1"}]})
    await world.reach(arn, "STOPPED")
    first, second = world.log(arn).splitlines()
    seen = json.loads(first)
    assert seen["arn"] == arn
    assert seen["env"]["DAGY_RUN_ID"] == "r1"
    assert seen["env"]["AWS_ENDPOINT_URL_ECS"] == world.cloud.ecs_url
    assert "AWS_PROFILE" not in seen["env"]
    assert second == "to stderr"
    assert not Path(seen["cwd"]).exists()


async def test_stop_task_sends_sigterm_then_sigkill_after_the_stop_timeout(world: World) -> None:
    arn = await world.run(IGNORES_SIGTERM)
    await world.until(lambda: "up" in world.log(arn))
    await world.ecs.stop_task(cluster=world.cloud.cluster, task=arn, reason="enough")
    task = await world.reach(arn, "STOPPED")
    assert task["containers"][0]["exitCode"] == 128 + signal.SIGKILL
    assert (task["stopCode"], task["stoppedReason"]) == ("UserInitiated", "enough")
    assert (task["executionStoppedAt"] - task["stoppingAt"]).total_seconds() >= 2


async def test_a_process_that_dies_of_sigterm_exits_with_143(world: World) -> None:
    arn = await world.run("import time; time.sleep(600)")
    await world.reach(arn, "RUNNING")
    await world.ecs.stop_task(cluster=world.cloud.cluster, task=arn)
    assert (await world.reach(arn, "STOPPED"))["containers"][0]["exitCode"] == 128 + signal.SIGTERM


async def test_a_task_over_its_memory_limit_is_killed_and_says_so(world: World) -> None:
    arn = await world.run(EATS_MEMORY, container={"memory": 100})
    task = await world.reach(arn, "STOPPED")
    (container,) = task["containers"]
    assert container["exitCode"] == 137
    assert container["reason"] == "OutOfMemoryError: Container killed due to memory usage"


async def test_a_tasks_child_over_the_limit_dies_alone_as_the_kernel_would_have_it(world: World) -> None:
    arn = await world.run(RUNS_A_FLOW, container={"memory": 250})
    (container,) = (await world.reach(arn, "STOPPED"))["containers"]
    told = world.log(arn)
    assert "OUT_OF_MEMORY Task 'hog' FAILED: OutOfMemory: the kernel killed the task's process" in told
    assert "in a container of 250.0 MB" in told
    assert "['FAILED', 'SUCCEEDED', 'SUCCEEDED']" in told
    assert (container["exitCode"], container.get("reason")) == (7, None)


async def test_pages_shared_by_forked_children_count_once(world: World) -> None:
    arn = await world.run(SHARES_MEMORY, container={"memory": 150})
    (container,) = (await world.reach(arn, "STOPPED"))["containers"]
    assert (container["exitCode"], container.get("reason")) == (7, None)


async def test_what_a_task_leaves_behind_ends_with_it(world: World) -> None:
    arn = await world.run(LEAVES_CHILDREN)
    await world.reach(arn, "STOPPED")
    left = [int(pid) for pid in world.log(arn).split()]
    assert len(left) == 2
    await world.until(lambda: not any(_runs(pid) for pid in left))


async def test_a_command_that_does_not_exist_is_a_task_that_failed_to_start(world: World) -> None:
    arn = await world.run("", container={"command": ["/nonexistent/program"]})
    task = await world.reach(arn, "STOPPED")
    assert task["stopCode"] == "TaskFailedToStart"
    assert task["stoppedReason"].startswith("CannotStartContainerError")


async def test_a_kill_from_outside_is_an_exit_with_137_and_no_memory_reason(world: World) -> None:
    arn = await world.run("import time; time.sleep(600)")
    await world.reach(arn, "RUNNING")
    os.kill(world.pid(arn), signal.SIGKILL)
    (container,) = (await world.reach(arn, "STOPPED"))["containers"]
    assert (container["exitCode"], container.get("reason")) == (137, None)


async def test_a_spot_interruption_reaches_the_process_as_sigterm_and_warns_by_event(world: World) -> None:
    arn = await world.run("import time; time.sleep(600)")
    await world.reach(arn, "RUNNING")
    world.cloud.driver.interrupt_spot(arn)
    task = await world.reach(arn, "STOPPED")
    assert (task["stopCode"], task["containers"][0]["exitCode"]) == ("SpotInterruption", 143)
    await world.until(
        lambda: any(
            event["detail"]["lastStatus"] == "RUNNING" and event["detail"].get("stopCode") == "SpotInterruption"
            for event in world.events
        )
    )


async def test_stop_leaves_no_process_of_the_cloud_and_may_be_repeated(world: World) -> None:
    arn = await world.run(IGNORES_SIGTERM)
    await world.until(lambda: "up" in world.log(arn))
    pid, server = world.pid(arn), world.cloud._aws.pid
    assert server is not None
    await world.cloud.stop()
    await world.cloud.stop()
    assert not _runs(pid)
    assert not _runs(server)


async def test_a_second_cloud_in_the_same_folder_is_refused(world: World) -> None:
    with pytest.raises(Permanent, match="another embedded cloud is using"):
        await EmbeddedCloud(world.cloud.workdir, clock=SystemClock()).start()


async def test_a_new_cloud_clears_up_after_one_that_was_killed(tmp_path: Path) -> None:
    """Workers carry their cloud's mark, so that the next one in the folder finds them."""
    environment = {**os.environ, CLOUD_VARIABLE: str(tmp_path.resolve())}
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    left = await asyncio.create_subprocess_exec(*sleeper, env=environment)
    cloud = EmbeddedCloud(tmp_path, clock=SystemClock())
    await cloud.start()
    await cloud.stop()
    async with asyncio.timeout(SOON_S):
        assert await left.wait() == -signal.SIGKILL


async def test_a_log_that_grows_too_long_keeps_its_newest_part(world: World) -> None:
    chatty = "import sys\nfor n in range(60000): print(n, 'x' * 400)\nsys.stdout.flush()\nimport time; time.sleep(600)"
    arn = await world.run(chatty)
    path = world.cloud.driver.agent.log_path(arn)
    rotated = path.with_suffix(".log.1")
    await world.until(rotated.exists)
    await world.until(lambda: path.stat().st_size <= 10 * 2**20)
    assert rotated.stat().st_size == 5 * 2**20


CONTENDER = """
import asyncio, os, sys
from aiobotocore.session import get_session
from botocore.exceptions import ClientError

async def main():
    wins = 0
    async with get_session().create_client("dynamodb") as dynamodb:
        print("ready", flush=True)
        while not os.path.exists(sys.argv[1]):
            await asyncio.sleep(0.01)
        for n in range(10):
            try:
                await dynamodb.put_item(
                    TableName="contended", Item={"k": {"S": str(n)}}, ConditionExpression="attribute_not_exists(k)"
                )
                wins += 1
            except ClientError as error:
                if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                    raise
    print(wins)

asyncio.run(main())
"""


async def test_of_twenty_processes_that_write_conditionally_exactly_one_wins_each_item(world: World) -> None:
    async with world.client("dynamodb") as dynamodb:
        await dynamodb.create_table(
            TableName="contended",
            KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
    start = world.cloud.workdir / "start"
    arns = [await world.run(CONTENDER, str(start)) for _ in range(20)]
    async with asyncio.timeout(240):
        while not all("ready" in world.log(arn) for arn in arns):
            await SystemClock().sleep(0.1)
        start.touch()
        while any(task.stopped_at is None for task in world.cloud.driver.tasks().values()):
            await SystemClock().sleep(0.2)
    ends = [world.log(arn).removeprefix("ready\n").strip() for arn in arns]
    assert [end for end in ends if not end.isdigit()] == []
    assert sum(int(end) for end in ends) == 10


async def test_everything_but_ecs_is_there(world: World) -> None:
    async with world.client("sqs") as sqs, world.client("s3") as s3, world.client("ssm") as ssm:
        queue = (await sqs.create_queue(QueueName="q"))["QueueUrl"]
        async with asyncio.TaskGroup() as group:
            poll = group.create_task(sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=20), name="long poll")
            await SystemClock().sleep(0.2)
            await s3.create_bucket(Bucket="bucket")  # not held up by the long poll
            await s3.put_object(Bucket="bucket", Key="k", Body=b"hello")
            assert not poll.done()
            await sqs.send_message(QueueUrl=queue, MessageBody="m")
        assert poll.result()["Messages"][0]["Body"] == "m"
        assert await (await s3.get_object(Bucket="bucket", Key="k"))["Body"].read() == b"hello"
        await ssm.put_parameter(Name="p", Value="v", Type="String")
        assert (await ssm.get_parameter(Name="p"))["Parameter"]["Value"] == "v"
    async with world.client("secretsmanager") as secrets, world.client("sns") as sns:
        await secrets.create_secret(Name="s", SecretString="x")
        assert (await secrets.get_secret_value(SecretId="s"))["SecretString"] == "x"
        assert REGION in (await sns.create_topic(Name="t"))["TopicArn"]
        with pytest.raises(ClientError):
            await secrets.get_secret_value(SecretId="unknown")


def _runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def test_the_cloud_keeps_no_log_open_that_its_processes_write(world: World) -> None:
    opened = [Path(file.path) for file in psutil.Process().open_files()]
    logs = [path for path in opened if path.suffix == ".log" and path.is_relative_to(world.cloud.workdir.resolve())]
    assert not logs, "whoever runs the tests may write a log of their own; the cloud's are its processes' alone"
