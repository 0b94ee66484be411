"""RunTask's client tokens: replay, conflict, expiry."""

import pytest

from dagy_control.local.ecs_errors import EcsError
from dagy_control.local.ecs_faults import CAPACITY_REASON, Fault, FaultKind
from tests.fakes.ecs_world import EcsWorld

HOUR_S = 3600.0


def test_the_same_token_and_parameters_return_the_first_task_and_start_no_other() -> None:
    world = EcsWorld()
    first = world.run(clientToken="t", startedBy="x")
    again = world.run(clientToken="t", startedBy="x")
    assert again == first
    assert len(world.model.tasks) == 1


def test_no_token_starts_a_task_each_time() -> None:
    world = EcsWorld()
    assert world.run_one() != world.run_one()


def test_a_token_is_scoped_to_its_cluster() -> None:
    world = EcsWorld()
    world.call("CreateCluster", clusterName="two")
    assert world.run_one(clientToken="t") != world.run_one(clientToken="t", cluster="two")


def test_a_cluster_named_by_arn_is_the_same_cluster_to_a_token() -> None:
    world = EcsWorld()
    first = world.run_one(clientToken="t")
    assert world.run_one(clientToken="t", cluster=world.model.tasks[first].cluster.arn) == first


def test_the_same_token_with_other_parameters_conflicts_and_names_the_existing_tasks() -> None:
    world = EcsWorld()
    arns = [task["taskArn"] for task in world.run(clientToken="t", count=2)["tasks"]]
    with pytest.raises(EcsError) as conflict:
        world.run(clientToken="t", count=1)
    assert conflict.value.code == "ConflictException"
    assert conflict.value.body()["resourceIds"] == arns
    assert len(world.model.tasks) == 2


def test_a_replay_within_an_hour_of_the_stop_shows_only_arn_and_statuses() -> None:
    world = EcsWorld()
    arn = world.run_until_running(clientToken="t")
    world.finish(arn)
    world.later(HOUR_S - 60)
    answer = world.run(clientToken="t")
    assert answer["tasks"] == [{"taskArn": arn, "lastStatus": "STOPPED", "desiredStatus": "STOPPED"}]


def test_a_token_is_free_again_an_hour_after_its_task_stopped() -> None:
    world = EcsWorld()
    arn = world.run_until_running(clientToken="t")
    world.finish(arn)
    world.later(HOUR_S)
    assert world.run_one(clientToken="t") != arn


def test_a_token_is_free_again_after_24_hours_though_its_task_lives() -> None:
    world = EcsWorld()
    arn = world.run_until_running(clientToken="t")
    world.later(24 * HOUR_S - 60)
    assert world.run_one(clientToken="t") == arn
    world.later(60)
    assert world.run_one(clientToken="t") != arn


def test_an_answer_that_was_a_failure_is_replayed_for_its_token_and_another_token_tries_anew() -> None:
    world = EcsWorld()
    world.model.faults.add(Fault(FaultKind.LAUNCH_FAILURE))
    failed = world.run(clientToken="t")
    assert failed["failures"][0]["reason"] == CAPACITY_REASON
    assert world.run(clientToken="t") == failed
    assert world.run(clientToken="t2")["tasks"]


def test_a_throttled_call_leaves_its_token_unused() -> None:
    world = EcsWorld()
    world.model.faults.add(Fault(FaultKind.THROTTLE))
    assert world.model.call("RunTask", {"clientToken": "t"}, world.now).error is not None
    assert world.run(clientToken="t")["tasks"]


def test_a_refused_call_leaves_its_token_unused() -> None:
    world = EcsWorld()
    with pytest.raises(EcsError):
        world.run(clientToken="t", count=11)
    assert world.run(clientToken="t")["tasks"]
