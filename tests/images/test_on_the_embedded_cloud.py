"""The daemon's container launches runs on the embedded cloud, and the workers are containers too."""

import asyncio
import json
from collections.abc import AsyncIterator

import psutil
import pytest
import pytest_asyncio

from dagy_control.adapters.ecs_admin import EcsAdmin
from dagy_control.entrypoints.demo_world import DemoWorld
from dagy_control.model.outcomes import SHUTDOWN_MESSAGE
from dagy_control.model.resources import CapacityProvider
from dagy_control.model.runs import FailureClass, RunStatus
from dagy_control.model.tasks import TaskIdentity
from dagy_control.ports.tasks import Started
from tests.acceptance.looking import all_ended, at_work, ended, stopped_task
from tests.images.containers import SOON_S, WORKER, DaemonContainer, daemon_container

pytestmark = [pytest.mark.images, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

UID = 10001


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(world: DemoWorld) -> AsyncIterator[DaemonContainer]:
    async with daemon_container(world.stack, "daemon") as daemon:
        yield daemon


async def test_runs_that_the_daemons_container_launches_succeed_in_workers_containers(
    world: DemoWorld, daemon: DaemonContainer
) -> None:
    queued = [await world.launch("daily_sales", org_id, "batch", day="2026-11-21") for org_id in ("acme", "globex")]
    runs = await all_ended(world, queued)
    assert [(run.status, run.attempt, run.exit_code) for run in runs] == [(RunStatus.SUCCEEDED, 1, 0)] * 2
    for run in runs:
        rows = await world.ports.task_runs.of_run(run.run_id)
        assert {row.status for row in rows} == {"SUCCEEDED"}
        text = world.stack.cloud.driver.agent.log_path(run.external_id or "").read_text()
        events = [json.loads(line)["event_type"] for line in text.splitlines()]
        assert events[-1] == "run_end", "the container's own lines, as they were written"


async def test_a_worker_runs_as_nobodys_user_behind_an_init(world: DemoWorld, daemon: DaemonContainer) -> None:
    run = await at_work(world, await world.launch("probe", "acme", "batch", mode="wait", seconds=3.0))
    pid = world.stack.cloud.driver.agent.pid(run.external_id or "")
    init = psutil.Process(pid)
    (worker,) = init.children()
    assert (init.name(), worker.name()) == ("tini", "dagy-worker")
    assert {each.uids().effective for each in (init, worker, *worker.children(recursive=True))} == {UID}
    assert (await ended(world, run)).status is RunStatus.SUCCEEDED


async def test_a_worker_that_ecs_stops_ends_its_run_as_shut_down(world: DemoWorld, daemon: DaemonContainer) -> None:
    run = await at_work(world, await world.launch("probe", "acme", "batch", mode="wait", seconds=600.0))
    await world.ports.clients.ecs.stop_task(
        cluster=world.stack.cloud.cluster, task=run.external_id or "", reason="scaled in"
    )
    run = await ended(world, run)
    assert (run.status, run.failure_class, run.exit_code) == (RunStatus.FAILED, FailureClass.SHUTDOWN, 143)
    assert run.error_message == SHUTDOWN_MESSAGE == "Worker shutdown requested via SIGTERM"


async def test_a_task_beyond_the_containers_memory_is_told_as_such(world: DemoWorld, daemon: DaemonContainer) -> None:
    run = await ended(world, await world.launch("probe", "acme", "batch", mode="hog"))
    assert (run.status, run.failure_class) == (RunStatus.FAILED, FailureClass.OUT_OF_MEMORY)
    assert "in a container of 512.0 MB" in (run.error_message or ""), "read from the kernel's own control group"


async def test_a_container_that_the_kernel_kills_for_memory_ends_with_137_and_ecss_reason(world: DemoWorld) -> None:
    definition = {
        "family": "hog",
        "requiresCompatibilities": ["FARGATE"],
        "networkMode": "awsvpc",
        "cpu": "256",
        "memory": "512",
        "containerDefinitions": [
            {
                "name": "hog",
                "image": WORKER,
                "essential": True,
                "entryPoint": ["tini", "--", "python3", "-c"],
                "command": ["x = bytearray(10**9)"],
                "readonlyRootFilesystem": True,
            }
        ],
    }
    await EcsAdmin(world.ports.clients.ecs, world.ports.calls).register_task_definition(definition)
    identity = TaskIdentity("another-installation", world.ports.new_id(), 1)
    reply = await world.ports.tasks.run_task(
        {
            "cluster": world.stack.cloud.cluster,
            "taskDefinition": "hog",
            "capacityProviderStrategy": [{"capacityProvider": CapacityProvider.FARGATE.value, "weight": 1}],
            "count": 1,
            "clientToken": identity.run_id,
            "startedBy": identity.started_by(),
            "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-local"]}},
        }
    )
    assert isinstance(reply, Started)
    task = await stopped_task(world, reply.task_arn)
    assert (task["exit_code"], task["container_reason"]) == (
        137,
        "OutOfMemoryError: Container killed due to memory usage",
    )


async def test_the_health_check_of_the_daemons_image_passes_while_it_serves(
    world: DemoWorld, daemon: DaemonContainer
) -> None:
    checked = await daemon.podman("healthcheck", "run", daemon.name)
    assert (checked.returncode, checked.stdout) == (0, ""), checked.stderr


async def test_the_daemons_container_can_write_nowhere_and_is_nobodys_user(
    world: DemoWorld, daemon: DaemonContainer
) -> None:
    code = "import os, tempfile; print(os.getuid()); tempfile.mkstemp(dir='/tmp')"
    tried = await daemon.podman("exec", daemon.name, "python3", "-c", code)
    assert tried.stdout.strip() == str(UID)
    assert "Read-only file system" in tried.stderr


async def test_sigterm_drains_the_daemons_container_in_mid_work_and_the_run_goes_on(world: DemoWorld) -> None:
    async with daemon_container(world.stack, "drained") as drained:
        run = await at_work(world, await world.launch("probe", "acme", "batch", mode="wait", seconds=10.0))
        async with asyncio.timeout(SOON_S):
            code = await drained.stop()
        log = await drained.log()
    assert code == 0, log[-3000:]
    events = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    told = [event for event in events if event["event_type"] in {"DRAIN_BEGUN", "STOPPED", "DRAIN_TIMEOUT"}]
    assert [event["event_type"] for event in told] == ["DRAIN_BEGUN", "STOPPED"]
    assert told[1]["clean"] is True
    async with daemon_container(world.stack, "next"):
        assert (await ended(world, run)).status is RunStatus.SUCCEEDED
