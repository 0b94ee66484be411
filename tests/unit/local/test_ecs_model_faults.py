"""Faults of calls, and task-state events with theirs."""

import json
from typing import Any

import pytest

from dagy_control.local.ecs_faults import Fault, FaultKind
from dagy_control.local.ecs_model import Delivery, Reply
from tests.fakes.ecs_world import CLUSTER, NETWORK, EcsWorld

RUN: dict[str, Any] = {
    "cluster": CLUSTER,
    "taskDefinition": "dagy-worker",
    "launchType": "FARGATE",
    "networkConfiguration": NETWORK,
}


def _run(world: EcsWorld) -> Reply:
    return world.model.call("RunTask", RUN, world.now)


@pytest.mark.parametrize(
    ("kind", "code", "http_status", "delivery", "tasks"),
    [
        pytest.param(FaultKind.THROTTLE, "ThrottlingException", 400, Delivery.REPLY, 0, id="throttled"),
        pytest.param(FaultKind.ERROR_NOT_APPLIED, "ServerException", 500, Delivery.REPLY, 0, id="500 and not done"),
        pytest.param(FaultKind.ERROR_APPLIED, "ServerException", 500, Delivery.REPLY, 1, id="500 though done"),
        pytest.param(FaultKind.DROP_REPLY, "", 200, Delivery.DROP, 1, id="done, answer lost"),
        pytest.param(FaultKind.HOLD_REPLY, "", 200, Delivery.HOLD, 1, id="done, answer late"),
    ],
)
def test_a_fault_befalls_the_next_call_only(
    kind: FaultKind, code: str, http_status: int, delivery: Delivery, tasks: int
) -> None:
    world = EcsWorld()
    world.model.faults.add(Fault(kind))
    reply = _run(world)
    assert (reply.error.code if reply.error else "") == code
    assert (reply.error.http_status if reply.error else 200) == http_status
    assert reply.delivery is delivery
    assert len(world.model.tasks) == tasks
    healthy = _run(world)
    assert healthy.answer is not None
    assert healthy.delivery is Delivery.REPLY


def test_a_fault_counts_its_calls_and_leaves_other_operations_alone() -> None:
    world = EcsWorld()
    world.model.faults.add(Fault(FaultKind.THROTTLE, operation="ListTasks", calls=2))
    assert _run(world).error is None
    replies = [world.model.call("ListTasks", {"cluster": CLUSTER}, world.now) for _ in range(3)]
    assert [reply.error is not None for reply in replies] == [True, True, False]


def test_faults_can_be_seen_and_cleared() -> None:
    world = EcsWorld()
    fault = Fault(FaultKind.THROTTLE, calls=3)
    world.model.faults.add(fault)
    _run(world)
    assert world.model.faults.waiting() == [(fault, 2)]
    world.model.faults.clear()
    assert _run(world).error is None


def test_an_errors_own_reply_can_be_dropped_too() -> None:
    world = EcsWorld()
    world.model.faults.add(Fault(FaultKind.DROP_REPLY, operation="StopTask"))
    reply = world.model.call("StopTask", {"cluster": "nope"}, world.now)
    assert reply.error is not None
    assert reply.delivery is Delivery.DROP


def test_an_unknown_operation_says_so() -> None:
    world = EcsWorld()
    reply = world.model.call("CreateService", {}, world.now)
    assert reply.error is not None
    assert reply.error.code == "UnknownOperationException"


def test_an_event_has_eventbridges_envelope_and_no_tags() -> None:
    world = EcsWorld()
    arn = world.run_until_running(
        startedBy="dagy/r1/1", tags=[{"key": "run_id", "value": "r1"}], overrides={"cpu": "1024"}
    )
    world.finish(arn, 1)
    event = world.events[-1]
    assert event["detail-type"] == "ECS Task State Change"
    assert (event["version"], event["source"], event["region"]) == ("0", "aws.ecs", "us-east-1")
    assert (event["account"], event["resources"]) == ("123456789012", [arn])
    assert event["time"] == "2026-03-01T12:00:45.000Z"
    detail = event["detail"]
    assert (detail["taskArn"], detail["startedBy"], detail["version"]) == (arn, "dagy/r1/1", 8)
    assert (detail["lastStatus"], detail["desiredStatus"]) == ("STOPPED", "STOPPED")
    assert (detail["stopCode"], detail["stoppedReason"]) == (
        "EssentialContainerExited",
        "Essential container in task exited",
    )
    assert detail["containers"][0]["exitCode"] == 1
    assert detail["overrides"] == {"cpu": "1024"}
    assert detail["stoppedAt"] == "2026-03-01T12:00:45.000Z"
    assert "tags" not in detail
    assert json.loads(json.dumps(event)) == event


def test_every_event_has_an_id_of_its_own() -> None:
    world = EcsWorld()
    world.finish(world.run_until_running())
    assert len({event["id"] for event in world.events}) == len(world.events) == 8


def test_an_event_can_be_lost() -> None:
    world = EcsWorld()
    world.model.faults.add(Fault(FaultKind.DROP_EVENT))
    world.run_until_running()
    assert [event["detail"]["lastStatus"] for event in world.events] == ["PENDING", "ACTIVATING", "RUNNING"]


def test_an_event_can_come_twice() -> None:
    world = EcsWorld()
    world.model.faults.add(Fault(FaultKind.DUPLICATE_EVENT))
    world.run_one()
    assert len(world.events) == 2
    assert world.events[0] == world.events[1]


def test_a_delayed_event_overtakes_none_that_came_before_and_arrives_after_later_ones() -> None:
    world = EcsWorld()
    world.model.faults.add(Fault(FaultKind.DELAY_EVENT, delay_s=100))
    arn = world.run_until_running()
    assert [event["detail"]["version"] for event in world.events] == [2, 3, 4]
    assert world.model.next_due() is not None
    world.later(100)
    assert [event["detail"]["version"] for event in world.events] == [2, 3, 4, 1]
    assert world.events[-1]["detail"]["taskArn"] == arn
