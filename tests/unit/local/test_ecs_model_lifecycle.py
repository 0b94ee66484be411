"""A task's life, and the ways in which it ends."""

from datetime import timedelta

import pytest

from dagy_control.local.ecs_errors import EcsError
from dagy_control.local.ecs_lifecycle import HOST_REASON, RETIREMENT_REASON, SignalContainer, StopSignal
from dagy_control.local.ecs_state import Lifetimes
from tests.fakes.ecs_world import CLUSTER, DEFINITION, START, EcsWorld

SPOT = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]


def _signals(world: EcsWorld) -> list[StopSignal]:
    return [effect.signal for effect in world.effects if isinstance(effect, SignalContainer)]


def test_a_task_passes_every_status_in_order_with_a_rising_version() -> None:
    world = EcsWorld()
    arn = world.run_until_running()
    world.finish(arn)
    seen = [(event["detail"]["lastStatus"], event["detail"]["version"]) for event in world.events]
    assert seen == [
        ("PROVISIONING", 1),
        ("PENDING", 2),
        ("ACTIVATING", 3),
        ("RUNNING", 4),
        ("DEACTIVATING", 5),
        ("STOPPING", 6),
        ("DEPROVISIONING", 7),
        ("STOPPED", 8),
    ]


def test_each_step_happens_when_it_fell_due_however_late_time_is_advanced() -> None:
    world = EcsWorld()
    arn = world.run_until_running()
    world.finish(arn, exit_code=0)
    world.later(500)
    task = world.task(arn)
    assert task["pullStartedAt"] == START + timedelta(seconds=10)
    assert task["pullStoppedAt"] == START + timedelta(seconds=30)
    assert task["startedAt"] == START + timedelta(seconds=32)
    assert task["stoppingAt"] == task["executionStoppedAt"] == START + timedelta(seconds=33)
    assert task["stoppedAt"] == START + timedelta(seconds=45)


def test_next_due_leads_a_driver_through_a_whole_life() -> None:
    world = EcsWorld()
    arn = world.run_one()
    steps = 0
    while (due := world.model.next_due()) is not None and world.model.tasks[arn].stopped_at is None:
        steps += 1
        world.now = due
        world.model.advance(due)
        world.gather()
        if len(world.started()) == 1 and not world.model.tasks[arn].container_up:
            world.model.container_started(arn, due)
            world.model.container_exited(arn, 0, "", due)
    assert world.task(arn)["lastStatus"] == "STOPPED"
    assert steps < 12


def test_a_task_waits_in_activating_until_its_agent_reports() -> None:
    world = EcsWorld()
    arn = world.run_one()
    world.later(600)
    assert world.task(arn)["lastStatus"] == "ACTIVATING"
    assert world.model.next_due() is None


@pytest.mark.parametrize("exit_code", [0, 1, 75])
def test_the_exit_of_the_essential_container_ends_the_task(exit_code: int) -> None:
    world = EcsWorld()
    arn = world.run_until_running()
    world.finish(arn, exit_code)
    task = world.task(arn)
    assert (task["stopCode"], task["stoppedReason"]) == (
        "EssentialContainerExited",
        "Essential container in task exited",
    )
    (container,) = task["containers"]
    assert (container["name"], container["exitCode"], container["lastStatus"]) == ("worker", exit_code, "STOPPED")
    assert "reason" not in container


def test_out_of_memory_shows_in_the_containers_reason() -> None:
    world = EcsWorld()
    arn = world.run_until_running()
    world.finish(arn, 137, "OutOfMemoryError: Container killed due to memory usage")
    (container,) = world.task(arn)["containers"]
    assert container["exitCode"] == 137
    assert container["reason"].startswith("OutOfMemoryError")
    assert world.task(arn)["stopCode"] == "EssentialContainerExited"


def test_a_container_may_exit_before_its_task_is_running() -> None:
    world = EcsWorld()
    arn = world.run_one()
    world.later(30)
    world.model.container_started(arn, world.now)
    world.finish(arn, 2)
    task = world.task(arn)
    assert (task["lastStatus"], task["containers"][0]["exitCode"]) == ("STOPPED", 2)
    assert "startedAt" not in task


def test_a_container_that_cannot_start_is_a_task_that_failed_to_start() -> None:
    world = EcsWorld()
    arn = world.run_one()
    world.later(30)
    world.model.container_failed_to_start(arn, "CannotStartContainerError: no such file", world.now)
    world.later(15)
    task = world.task(arn)
    assert (task["stopCode"], task["lastStatus"]) == ("TaskFailedToStart", "STOPPED")
    assert task["containers"][0]["reason"] == "CannotStartContainerError: no such file"


def test_once_a_container_has_exited_nothing_is_due_but_its_tasks_own_steps() -> None:
    world = EcsWorld()
    arn = world.run_until_running()
    world.call("StopTask", task=arn)
    world.later(2)
    world.finish(arn, 143)
    assert world.model.next_due() == world.task(arn)["stoppedAt"] + timedelta(hours=1)


def test_a_second_report_of_the_same_exit_changes_nothing() -> None:
    world = EcsWorld()
    arn = world.run_until_running()
    world.finish(arn, 3)
    before = world.task(arn)
    world.finish(arn, 0)
    assert world.task(arn) == before


def test_stop_task_sends_sigterm_and_after_the_stop_timeout_sigkill() -> None:
    world = EcsWorld()
    arn = world.run_until_running()
    world.call("StopTask", task=arn, reason="cancelled by ann")
    world.later(1)
    assert _signals(world) == [StopSignal.TERM]
    world.later(29.9)
    assert _signals(world) == [StopSignal.TERM]
    world.later(0.1)
    assert _signals(world) == [StopSignal.TERM, StopSignal.KILL]
    assert world.task(arn)["lastStatus"] == "STOPPING"
    world.finish(arn, 137)
    task = world.task(arn)
    assert (task["stopCode"], task["stoppedReason"]) == ("UserInitiated", "cancelled by ann")
    assert (task["lastStatus"], task["containers"][0]["exitCode"]) == ("STOPPED", 137)


def test_a_container_that_heeds_sigterm_is_not_killed() -> None:
    world = EcsWorld()
    arn = world.run_until_running()
    world.call("StopTask", task=arn)
    world.later(2)
    world.finish(arn, 143)
    world.later(60)
    assert _signals(world) == [StopSignal.TERM]
    assert world.task(arn)["stopCode"] == "UserInitiated"


@pytest.mark.parametrize("stop_timeout_s", [2, 120])
def test_the_definition_sets_the_stop_timeout(stop_timeout_s: int) -> None:
    world = EcsWorld()
    container = {**DEFINITION["containerDefinitions"][0], "stopTimeout": stop_timeout_s}
    world.call("RegisterTaskDefinition", **{**DEFINITION, "containerDefinitions": [container]})
    arn = world.run_until_running()
    world.call("StopTask", task=arn)
    world.later(1 + stop_timeout_s - 0.1)
    assert StopSignal.KILL not in _signals(world)
    world.later(0.1)
    assert StopSignal.KILL in _signals(world)


def test_a_task_stopped_before_its_container_started_is_never_started() -> None:
    world = EcsWorld()
    arn = world.run_one()
    world.call("StopTask", task=arn)
    world.later(60)
    task = world.task(arn)
    assert (task["lastStatus"], task["stopCode"]) == ("STOPPED", "UserInitiated")
    assert "exitCode" not in task["containers"][0]
    assert not world.effects


def test_a_spot_reclaim_warns_while_the_task_runs_and_ends_it_two_minutes_later() -> None:
    world = EcsWorld()
    arn = world.run_until_running(capacityProviderStrategy=SPOT)
    world.model.interrupt_spot(arn, world.now)
    world.gather()
    warning = world.events[-1]["detail"]
    assert (warning["lastStatus"], warning["desiredStatus"]) == ("RUNNING", "STOPPED")
    assert (warning["stopCode"], warning["stoppedReason"]) == ("SpotInterruption", "Your Spot Task was interrupted.")
    assert _signals(world) == [StopSignal.TERM]
    world.later(119.9)
    assert world.task(arn)["lastStatus"] == "RUNNING"
    world.later(0.2)
    assert StopSignal.KILL in _signals(world)
    world.finish(arn, 137)
    assert (world.task(arn)["lastStatus"], world.task(arn)["stopCode"]) == ("STOPPED", "SpotInterruption")


def test_a_worker_that_exits_zero_on_a_spot_sigterm_still_ends_as_a_spot_interruption() -> None:
    world = EcsWorld()
    arn = world.run_until_running(capacityProviderStrategy=SPOT)
    world.model.interrupt_spot(arn, world.now)
    world.later(5)
    world.finish(arn, 0)
    task = world.task(arn)
    assert (task["lastStatus"], task["stopCode"], task["containers"][0]["exitCode"]) == (
        "STOPPED",
        "SpotInterruption",
        0,
    )


def test_only_a_spot_task_can_be_reclaimed() -> None:
    world = EcsWorld()
    arn = world.run_until_running()
    with pytest.raises(EcsError, match="does not run on FARGATE_SPOT"):
        world.model.interrupt_spot(arn, world.now)


def test_a_spot_task_reclaimed_before_it_runs_just_ends() -> None:
    world = EcsWorld()
    arn = world.run_one(capacityProviderStrategy=SPOT)
    world.model.interrupt_spot(arn, world.now)
    world.later(20)
    assert (world.task(arn)["lastStatus"], world.task(arn)["stopCode"]) == ("STOPPED", "SpotInterruption")


def test_a_failed_host_takes_the_container_without_an_exit_code() -> None:
    world = EcsWorld()
    arn = world.run_until_running()
    world.model.fail_host(arn, world.now)
    world.gather()
    assert _signals(world) == [StopSignal.KILL]
    world.model.container_exited(arn, 137, "", world.now)
    world.later(20)
    task = world.task(arn)
    assert (task["lastStatus"], task["stoppedReason"]) == ("STOPPED", HOST_REASON)
    assert "exitCode" not in task["containers"][0]


def test_retirement_stops_a_task_with_sigterm_and_its_own_reason() -> None:
    world = EcsWorld()
    arn = world.run_until_running()
    world.model.retire(arn, world.now)
    world.later(2)
    assert _signals(world) == [StopSignal.TERM]
    world.finish(arn, 0)
    assert world.task(arn)["stoppedReason"] == RETIREMENT_REASON


def test_the_first_cause_to_stop_a_task_keeps_its_code() -> None:
    world = EcsWorld()
    arn = world.run_until_running()
    world.call("StopTask", task=arn, reason="first")
    world.model.retire(arn, world.now)
    world.call("StopTask", task=arn, reason="second")
    world.later(2)
    world.finish(arn)
    assert (world.task(arn)["stopCode"], world.task(arn)["stoppedReason"]) == ("UserInitiated", "first")


def test_stopping_a_stopped_task_is_harmless() -> None:
    world = EcsWorld()
    arn = world.run_until_running()
    world.finish(arn, 4)
    before = world.task(arn)
    assert world.call("StopTask", task=arn, reason="late")["task"]["stopCode"] == "EssentialContainerExited"
    assert world.task(arn) == before


def test_a_stop_during_the_spot_notice_shortens_it_to_the_stop_timeout() -> None:
    world = EcsWorld()
    arn = world.run_until_running(capacityProviderStrategy=SPOT)
    world.model.interrupt_spot(arn, world.now)
    world.call("StopTask", task=arn)
    world.later(31)
    assert StopSignal.KILL in _signals(world)
    assert world.task(arn)["stopCode"] == "SpotInterruption"


def test_a_stopped_task_is_visible_for_one_hour_and_then_missing_but_never_lost_to_a_test() -> None:
    world = EcsWorld()
    arn = world.run_until_running()
    world.finish(arn)
    stopped_at = world.task(arn)["stoppedAt"]
    world.later((stopped_at - world.now).total_seconds() + 3599)
    assert world.task(arn)["lastStatus"] == "STOPPED"
    world.later(1)
    assert world.call("DescribeTasks", tasks=[arn])["failures"] == [{"arn": arn, "reason": "MISSING"}]
    assert world.call("ListTasks", desiredStatus="STOPPED")["taskArns"] == []
    assert world.model.tasks[arn].exit_code == 0


def test_quick_lifetimes_still_take_every_step() -> None:
    world = EcsWorld(lifetimes=Lifetimes.quick())
    arn = world.run_one(cluster=CLUSTER)
    world.later(0.2)
    world.model.container_started(arn, world.now)
    world.later(0.1)
    assert world.task(arn)["lastStatus"] == "RUNNING"


def test_a_report_about_an_unknown_task_is_refused() -> None:
    world = EcsWorld()
    with pytest.raises(EcsError, match="not found"):
        world.model.container_exited("arn:nope", 0, "", world.now)


def test_an_injected_sidecar_stands_before_the_worker_in_the_list_of_containers() -> None:
    world = EcsWorld(sidecars=("aws-guardduty-agent-x",))
    arn = world.run_until_running()
    world.finish(arn, 5)
    sidecar, worker = world.task(arn)["containers"]
    assert (sidecar["name"], "exitCode" in sidecar) == ("aws-guardduty-agent-x", False)
    assert (worker["name"], worker["exitCode"]) == ("worker", 5)
