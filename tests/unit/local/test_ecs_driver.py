"""The driver on virtual time: steps happen when due, events go out, and a sink that fails stops nothing."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dagy_control.local.agent import AgentPolicy
from dagy_control.local.ecs_driver import EcsDriver
from dagy_control.local.ecs_faults import Fault, FaultKind
from dagy_control.local.ecs_model import EcsModel
from tests.fakes.clock import VirtualClock
from tests.fakes.ecs_world import CLUSTER, DEFINITION, NETWORK, START

RUN: dict[str, Any] = {
    "cluster": CLUSTER,
    "taskDefinition": "dagy-worker",
    "launchType": "FARGATE",
    "networkConfiguration": NETWORK,
}


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


@pytest.fixture
async def driver(clock: VirtualClock, tmp_path: Path) -> AsyncIterator[EcsDriver]:
    model = EcsModel()
    model.registry.create_cluster(CLUSTER)
    model.registry.register(DEFINITION, START)
    policy = AgentPolicy(workdir=tmp_path, environment={}, metadata_url="unused", watch_every_s=3600)
    made = EcsDriver(model, clock=clock, policy=policy)
    made.start()
    yield made
    await made.stop()


def _run_a_task_that_never_starts(driver: EcsDriver) -> None:
    driver.model.faults.add(Fault(FaultKind.START_FAILURE))
    assert driver.call("RunTask", RUN).error is None


async def test_steps_happen_when_they_fall_due_and_each_sends_its_event(driver: EcsDriver, clock: VirtualClock) -> None:
    seen: list[tuple[str, float]] = []

    async def sink(event: dict[str, Any]) -> None:
        seen.append((event["detail"]["lastStatus"], (clock.now() - START).total_seconds()))

    driver.publish = sink
    _run_a_task_that_never_starts(driver)
    await clock.advance(60)
    assert seen == [("PROVISIONING", 0), ("DEPROVISIONING", 10), ("STOPPED", 20)]


async def test_a_sink_that_fails_loses_its_event_and_no_other(driver: EcsDriver, clock: VirtualClock) -> None:
    seen: list[str] = []

    async def sink(event: dict[str, Any]) -> None:
        if event["detail"]["lastStatus"] == "PROVISIONING":
            raise OSError("the queue is not there yet")
        seen.append(event["detail"]["lastStatus"])

    driver.publish = sink
    _run_a_task_that_never_starts(driver)
    await clock.advance(60)
    assert seen == ["DEPROVISIONING", "STOPPED"]


async def test_without_a_sink_events_go_nowhere_and_the_tasks_go_on(driver: EcsDriver, clock: VirtualClock) -> None:
    _run_a_task_that_never_starts(driver)
    await clock.advance(60)
    (task,) = driver.tasks().values()
    assert task.last_status == "STOPPED"


async def test_nothing_moves_after_stop(driver: EcsDriver, clock: VirtualClock) -> None:
    _run_a_task_that_never_starts(driver)
    await driver.stop()
    await driver.stop()
    assert clock.sleepers == 0
