"""Task state-change events and answers of DescribeTasks, read into the one form."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dagy_control.adapters.ecs_reading import DESCRIBE_TASKS, LOOK_AT_TASKS, NotATaskEvent, read_event, seen_tasks
from dagy_control.model.tasks import SeenContainer, SeenTask

DETAIL: dict[str, Any] = {
    "clusterArn": "arn:aws:ecs:us-east-1:123456789012:cluster/main",
    "containers": [
        {"name": "dagy-worker", "lastStatus": "STOPPED", "exitCode": 137, "reason": "OutOfMemoryError"},
        {"name": "aws-guardduty-agent", "lastStatus": "STOPPED"},
    ],
    "capacityProviderName": "FARGATE_SPOT",
    "cpu": "1024",
    "createdAt": "2026-01-01T00:00:00.123Z",
    "desiredStatus": "STOPPED",
    "lastStatus": "STOPPED",
    "memory": "2048",
    "startedBy": "dagy/r1/1",
    "stopCode": "EssentialContainerExited",
    "stoppedAt": "2026-01-01T00:05:00Z",
    "stoppedReason": "Essential container in task exited",
    "taskArn": "arn:aws:ecs:us-east-1:123456789012:task/main/1",
    "taskDefinitionArn": "arn:aws:ecs:us-east-1:123456789012:task-definition/dagy-worker:3",
    "version": 6,
}


def seen_task(shown: dict[str, Any]) -> SeenTask:
    """The one task of an answer of DescribeTasks."""
    (task,) = DESCRIBE_TASKS.decode(json.dumps({"tasks": [shown]}).encode())["tasks"]
    return seen_tasks([task])[0]


def envelope(**values: Any) -> str:
    return json.dumps(
        {"version": "0", "source": "aws.ecs", "detail-type": "ECS Task State Change", "detail": DETAIL, **values}
    )


def test_an_event_is_read_with_the_version_of_its_detail() -> None:
    task = read_event(envelope())
    assert (task.version, task.started_by, task.stop_code) == (6, "dagy/r1/1", "EssentialContainerExited")
    assert (task.cpu, task.memory_mib, task.capacity_provider, task.tags) == (1024, 2048, "FARGATE_SPOT", {})
    assert task.created_at == datetime(2026, 1, 1, 0, 0, 0, 123000, UTC)
    assert task.containers[1] == SeenContainer(name="aws-guardduty-agent", last_status="STOPPED")
    assert task.containers[0].exit_code == 137


@pytest.mark.parametrize(
    "written",
    [datetime.timestamp, lambda moment: repr(moment.timestamp()), lambda moment: moment.isoformat()],
    ids=["epoch seconds, as AWS", "epoch seconds as text", "ISO 8601"],
)
def test_an_answer_and_an_event_of_one_task_read_the_same_however_times_are_written(
    written: Callable[[datetime], Any],
) -> None:
    times = {name: written(datetime.fromisoformat(DETAIL[name])) for name in ("createdAt", "stoppedAt")}
    assert seen_task({**DETAIL, **times}) == read_event(envelope())


def test_every_millisecond_of_a_second_is_read_exactly() -> None:
    """AWS writes epoch seconds with three digits: no binary fraction of them may become another microsecond."""
    second = 1_767_225_600
    for millisecond in range(1000):
        task = seen_task({**DETAIL, "createdAt": second + millisecond / 1000})
        assert task.created_at == datetime.fromtimestamp(second, UTC) + timedelta(milliseconds=millisecond)


def test_times_of_other_zones_are_the_same_moment_in_utc() -> None:
    task = seen_task({**DETAIL, "createdAt": "2026-01-01T01:00:00+01:00", "stoppedAt": "2026-01-01T00:00:00"})
    assert task.created_at == task.stopped_at == datetime(2026, 1, 1, tzinfo=UTC)


def test_what_evidence_and_cost_need_is_read() -> None:
    """Fields of an answer of DescribeTasks for a Fargate task ("Task" and "Container", API reference)."""
    shown = {
        **DETAIL,
        "attributes": [{"name": "other"}, {"name": "ecs.cpu-architecture", "value": "arm64"}],
        "availabilityZone": "us-east-1a",
        "connectivity": "CONNECTED",
        "containers": [
            {"name": "dagy-worker", "image": "worker:1", "imageDigest": "sha256:0a", "healthStatus": "UNHEALTHY"}
        ],
        "ephemeralStorage": {"sizeInGiB": 50},
        "executionStoppedAt": "2026-01-01T00:04:58Z",
        "healthStatus": "UNHEALTHY",
        "launchType": "FARGATE",
        "platformFamily": "Linux",
        "platformVersion": "1.4.0",
        "pullStoppedAt": "2026-01-01T00:01:00Z",
    }
    task = seen_task(shown)
    assert (task.architecture, task.ephemeral_storage_gib, task.availability_zone) == ("arm64", 50, "us-east-1a")
    assert (task.connectivity, task.health) == ("CONNECTED", "UNHEALTHY")
    assert (task.launch_type, task.platform_family, task.platform_version) == ("FARGATE", "Linux", "1.4.0")
    assert task.pull_stopped_at == datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
    assert task.execution_stopped_at == datetime(2026, 1, 1, 0, 4, 58, tzinfo=UTC)
    worker = SeenContainer(name="dagy-worker", image="worker:1", image_digest="sha256:0a", health="UNHEALTHY")
    assert task.containers == (worker,)


def test_ephemeral_storage_is_read_under_its_newer_name_too() -> None:
    assert seen_task({**DETAIL, "fargateEphemeralStorage": {"sizeInGiB": 21}}).ephemeral_storage_gib == 21
    assert seen_task(DETAIL).ephemeral_storage_gib is None


def test_exit_code_zero_is_not_no_exit_code() -> None:
    task = seen_task({**DETAIL, "containers": [{"name": "dagy-worker", "exitCode": 0}]})
    assert task.containers[0].exit_code == 0


def test_a_task_of_which_ecs_tells_hardly_anything_is_read() -> None:
    shown = {name: DETAIL[name] for name in ("taskArn", "clusterArn", "lastStatus")}
    task = seen_task({**shown, "containers": None, "stopCode": None})
    assert (task.containers, task.stop_code, task.version) == ((), "", 0)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("", "it is not JSON"),
        ("{", "it is not JSON"),
        ("[1]", "it is no event"),
        ('{"source": 1}', "it is no event"),
        ("{}", "it is an event of source None"),
        (envelope(source="aws.s3"), "it is an event of source 'aws.s3'"),
        (
            envelope(**{"detail-type": "ECS Service Action"}),
            "it is an event of source 'aws.ecs' and type 'ECS Service Action'",
        ),
        (envelope(detail=None), "its detail is no task"),
        (envelope(detail=[]), "its detail is no task"),
        ('{"source": "aws.ecs", "detail-type": "ECS Task State Change"}', "its detail is no task"),
        (envelope(detail={"taskArn": "arn"}), "its detail is no task: Object missing required field `clusterArn`"),
        (envelope(detail={**DETAIL, "stoppedAt": "soon"}), "its detail is no task: Invalid isoformat"),
        (envelope(detail={**DETAIL, "containers": ["dagy-worker"]}), "its detail is no task: Expected `object`"),
    ],
    ids=str,
)
def test_what_is_no_task_event_says_why(body: str, problem: str) -> None:
    with pytest.raises(NotATaskEvent) as refused:
        read_event(body)
    assert str(refused.value).startswith(problem)


def test_one_task_that_cannot_be_read_is_left_out_and_spoils_no_other() -> None:
    tasks = [{**DETAIL, "taskArn": f"arn-{number}"} for number in range(100)]
    tasks[42]["lastStatus"] = 7
    answer = DESCRIBE_TASKS.decode(
        json.dumps({"tasks": tasks, "failures": [{"arn": "gone", "reason": "MISSING"}]}).encode()
    )
    assert [task.arn for task in answer["tasks"]] == [f"arn-{number}" for number in range(100) if number != 42]
    assert [failure.arn for failure in answer["failures"]] == ["gone"]


def test_a_size_that_is_no_number_hides_no_task() -> None:
    task = seen_task({**DETAIL, "cpu": "", "memory": "much"})
    assert (task.cpu, task.memory_mib) == (None, None)


LIVE: dict[str, Any] = {
    "taskArn": "arn:live",
    "clusterArn": "main",
    "lastStatus": "RUNNING",
    "desiredStatus": "RUNNING",
}


@pytest.mark.parametrize(
    "tasks",
    [
        pytest.param(
            [LIVE, DETAIL, {**LIVE, "taskArn": "arn:2", "desiredStatus": "STOPPED"}], id="some live, one is over"
        ),
        pytest.param([LIVE], id="all live"),
        pytest.param([DETAIL, {**DETAIL, "lastStatus": "DELETED", "taskArn": "arn:deleted"}], id="all over"),
        pytest.param([], id="none"),
        pytest.param(
            [{**LIVE, "lastStatus": "HIBERNATING"}, {"taskArn": "arn:3", "lastStatus": "PENDING", "clusterArn": "c"}],
            id="a status of tomorrow, no desired one",
        ),
        pytest.param([LIVE, {**DETAIL, "createdAt": "yesterday"}], id="the one that is over cannot be read"),
        pytest.param(
            [LIVE, {**DETAIL, "cpu": "a lot", "stoppedReason": None}], id="over, with a size that is none and a null"
        ),
        pytest.param([{**LIVE, "desiredStatus": None}, DETAIL], id="a null where a text should be"),
        pytest.param([{"taskArn": "arn:4"}, 7, LIVE], id="pieces that are no tasks"),
    ],
)
def test_a_look_at_an_answer_is_the_whole_answer_sorted(tasks: list[Any]) -> None:
    failures = [{"arn": "arn:gone", "reason": "MISSING"}]
    body = json.dumps({"tasks": tasks, "failures": failures}).encode()
    whole = DESCRIBE_TASKS.decode(body)
    for look in (LOOK_AT_TASKS.decode(body), LOOK_AT_TASKS.of(json.loads(body))):
        over = {task.arn for task in look["over"]}
        assert look["over"] == [task for task in whole["tasks"] if task.arn in over]
        assert [(task.arn, task.desired_status) for task in look["living"]] == [
            (task.arn, task.desired_status) for task in whole["tasks"] if task.arn not in over
        ]
        assert over == {task.arn for task in seen_tasks(whole["tasks"]) if task.has_ended}
        assert look["failures"] == whole["failures"]


def test_a_look_reads_a_living_task_of_which_something_else_cannot_be_read() -> None:
    """What is not read cannot hide a task."""
    body = json.dumps({"tasks": [{**LIVE, "createdAt": "yesterday"}]}).encode()
    assert [task.arn for task in LOOK_AT_TASKS.decode(body)["living"]] == ["arn:live"]
    assert not DESCRIBE_TASKS.decode(body)["tasks"]
