"""DescribeTasks, ListTasks, StopTask, tags."""

from typing import Any

import pytest

from dagy_control.local.ecs_errors import EcsError
from dagy_control.local.ecs_state import Lifetimes
from tests.fakes.ecs_world import CLUSTER, DEFINITION, EcsWorld

TAG = {"key": "run_id", "value": "r1"}
UNKNOWN_ID = "0" * 32


def _arn(task_id: str = UNKNOWN_ID, *, cluster: str = CLUSTER) -> str:
    return f"arn:aws:ecs:us-east-1:123456789012:task/{cluster}/{task_id}"


def test_tags_come_only_when_asked_for() -> None:
    world = EcsWorld()
    arn = world.run_one(tags=[TAG])
    assert "tags" not in world.task(arn)
    assert world.call("DescribeTasks", tasks=[arn], include=["TAGS"])["tasks"][0]["tags"] == [TAG]


def test_an_unknown_task_is_missing_and_the_others_are_described() -> None:
    world = EcsWorld()
    arn = world.run_one()
    answer = world.call("DescribeTasks", tasks=[_arn(), arn])
    assert [task["taskArn"] for task in answer["tasks"]] == [arn]
    assert answer["failures"] == [{"arn": _arn(), "reason": "MISSING"}]


def test_a_task_may_be_named_by_its_id() -> None:
    world = EcsWorld()
    arn = world.run_one()
    assert world.task(arn.rsplit("/", 1)[1])["taskArn"] == arn


@pytest.mark.parametrize(
    "tasks",
    [
        pytest.param([], id="none"),
        pytest.param([_arn(f"{n:032x}") for n in range(101)], id="101 tasks"),
        pytest.param([_arn(), "not-an-arn"], id="one malformed name"),
        pytest.param([_arn("short")], id="a malformed id in an ARN"),
        pytest.param([_arn(), _arn(cluster="other")], id="one of another cluster"),
    ],
)
def test_a_bad_list_of_tasks_spoils_the_whole_call(tasks: list[str]) -> None:
    world = EcsWorld()
    with pytest.raises(EcsError) as refused:
        world.call("DescribeTasks", tasks=tasks)
    assert refused.value.code == "InvalidParameterException"


def test_a_hundred_tasks_are_described_in_one_call() -> None:
    answer = EcsWorld().call("DescribeTasks", tasks=[_arn(f"{n:032x}") for n in range(100)])
    assert len(answer["failures"]) == 100


def test_a_young_task_is_missing_until_the_consistency_window_has_passed() -> None:
    world = EcsWorld(lifetimes=Lifetimes(visible_after_s=5))
    arn = world.run_one()
    assert world.call("DescribeTasks", tasks=[arn])["failures"] == [{"arn": arn, "reason": "MISSING"}]
    assert world.call("ListTasks")["taskArns"] == []
    world.later(5)
    assert world.task(arn)["taskArn"] == arn
    assert world.call("ListTasks")["taskArns"] == [arn]


def test_list_tasks_shows_by_desired_status_and_running_by_default() -> None:
    world = EcsWorld()
    stopped, running = world.run_one(), world.run_one()
    world.call("StopTask", task=stopped)
    assert world.call("ListTasks")["taskArns"] == [running]
    assert world.call("ListTasks", desiredStatus="STOPPED")["taskArns"] == [stopped]
    world.later(60)
    assert world.call("ListTasks", desiredStatus="STOPPED")["taskArns"] == [stopped]


def test_listing_pending_tasks_matches_nothing() -> None:
    world = EcsWorld()
    world.run_one()
    world.later(15)
    assert world.call("ListTasks", desiredStatus="PENDING")["taskArns"] == []


def test_list_tasks_pages_through_everything_once_though_tasks_come_and_go() -> None:
    world = EcsWorld(throttle_scale=10)
    arns = [task["taskArn"] for _ in range(25) for task in world.run(count=10)["tasks"]]
    pages: list[list[str]] = []
    token: dict[str, Any] = {}
    while True:
        answer = world.call("ListTasks", **token)
        pages.append(answer["taskArns"])
        if "nextToken" not in answer:
            break
        world.call("StopTask", task=arns[len(pages)])
        token = {"nextToken": answer["nextToken"]}
    assert [len(page) for page in pages] == [100, 100, 50]
    assert [arn for page in pages for arn in page] == arns


def test_a_last_page_that_is_full_promises_no_other() -> None:
    world = EcsWorld()
    world.run(count=4)
    assert "nextToken" in world.call("ListTasks", maxResults=3)
    assert "nextToken" not in world.call("ListTasks", maxResults=4)


def test_a_page_may_be_smaller() -> None:
    world = EcsWorld()
    world.run(count=3)
    assert len(world.call("ListTasks", maxResults=2)["taskArns"]) == 2


def test_started_by_finds_its_tasks_running_or_stopped() -> None:
    world = EcsWorld()
    mine = world.run_one(startedBy="dagy/r1/1")
    world.run_one(startedBy="dagy/r2/1")
    assert world.call("ListTasks", startedBy="dagy/r1/1")["taskArns"] == [mine]
    world.call("StopTask", task=mine)
    assert world.call("ListTasks", startedBy="dagy/r1/1")["taskArns"] == []
    assert world.call("ListTasks", startedBy="dagy/r1/1", desiredStatus="STOPPED")["taskArns"] == [mine]


def test_a_family_filters() -> None:
    world = EcsWorld()
    world.call("RegisterTaskDefinition", **{**DEFINITION, "family": "other"})
    world.run_one()
    other = world.run_one(taskDefinition="other")
    assert world.call("ListTasks", family="other")["taskArns"] == [other]


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param({"startedBy": "x", "family": "dagy-worker"}, id="startedBy and family"),
        pytest.param({"startedBy": "x", "serviceName": "s"}, id="startedBy and service"),
        pytest.param({"startedBy": "x", "launchType": "FARGATE"}, id="startedBy and launch type"),
        pytest.param({"maxResults": 101}, id="a page too large"),
        pytest.param({"nextToken": "%%%"}, id="a broken page token"),
        pytest.param({"desiredStatus": "HAPPY"}, id="no such status"),
    ],
)
def test_a_bad_filter_is_refused(request_: dict[str, Any]) -> None:
    with pytest.raises(EcsError) as refused:
        EcsWorld().call("ListTasks", **request_)
    assert refused.value.code == "InvalidParameterException"


def test_stop_task_deletes_the_tags_but_not_started_by() -> None:
    world = EcsWorld()
    arn = world.run_one(tags=[TAG], startedBy="dagy/r1/1")
    world.call("StopTask", task=arn)
    task = world.call("DescribeTasks", tasks=[arn], include=["TAGS"])["tasks"][0]
    assert task["tags"] == []
    assert task["startedBy"] == "dagy/r1/1"


def test_tags_survive_an_end_that_nobody_asked_for() -> None:
    world = EcsWorld()
    arn = world.run_until_running(tags=[TAG])
    world.finish(arn)
    assert world.call("DescribeTasks", tasks=[arn], include=["TAGS"])["tasks"][0]["tags"] == [TAG]


def test_stopping_an_unknown_task_is_an_invalid_parameter() -> None:
    with pytest.raises(EcsError, match=r"The referenced task was not found\.") as refused:
        EcsWorld().call("StopTask", task=_arn())
    assert refused.value.code == "InvalidParameterException"


def test_an_unknown_cluster_is_refused_by_every_operation() -> None:
    for operation in ("DescribeTasks", "ListTasks", "StopTask"):
        with pytest.raises(EcsError) as refused:
            EcsWorld().call(operation, cluster="nope", tasks=[_arn()], task=_arn())
        assert refused.value.code == "ClusterNotFoundException"


def test_a_task_can_be_tagged_later() -> None:
    world = EcsWorld()
    arn = world.run_one(tags=[TAG])
    world.call("TagResource", resourceArn=arn, tags=[{"key": "run_id", "value": "r2"}, {"key": "b", "value": "c"}])
    tags = world.call("ListTagsForResource", resourceArn=arn)["tags"]
    assert tags == [{"key": "run_id", "value": "r2"}, {"key": "b", "value": "c"}]
    with pytest.raises(EcsError):
        world.call("ListTagsForResource", resourceArn=_arn())
