"""RunTask: limits, sizes, capacity, failures in the body."""

import json
from typing import Any

import pytest

from dagy_control.local.ecs_errors import EcsError
from dagy_control.local.ecs_faults import CAPACITY_REASON, Fault, FaultKind
from dagy_control.local.ecs_lifecycle import StartContainer
from dagy_control.local.ecs_state import Capacity
from tests.fakes.ecs_world import CLUSTER, DEFINITION, START, EcsWorld

OVERRIDE = "containerOverrides"


def test_a_task_begins_in_provisioning_with_everything_that_the_call_gave() -> None:
    world = EcsWorld()
    tag = {"key": "run_id", "value": "r1"}
    task = world.run(startedBy="dagy/r1/1", tags=[tag])["tasks"][0]
    assert task["lastStatus"] == "PROVISIONING"
    assert task["desiredStatus"] == "RUNNING"
    assert task["startedBy"] == "dagy/r1/1"
    assert task["tags"] == [tag]
    assert (task["cpu"], task["memory"]) == ("1024", "2048")
    assert task["createdAt"] == START
    assert task["taskArn"].startswith(f"arn:aws:ecs:us-east-1:123456789012:task/{CLUSTER}/")


def test_count_starts_that_many_tasks_with_different_arns() -> None:
    arns = [task["taskArn"] for task in EcsWorld().run(count=10)["tasks"]]
    assert len(set(arns)) == 10


def test_equal_seeds_make_equal_ids_and_other_seeds_others() -> None:
    first, second, other = EcsWorld(seed="x"), EcsWorld(seed="x"), EcsWorld(seed="y")
    assert first.run_one() == second.run_one() != other.run_one()


def _tags(count: int) -> list[dict[str, str]]:
    return [{"key": f"k{n}", "value": "v"} for n in range(count)]


def _override(size: int) -> dict[str, Any]:
    """Overrides of exactly that many characters of JSON."""

    def padded(value: str) -> dict[str, Any]:
        return {OVERRIDE: [{"name": "worker", "environment": [{"name": "X", "value": value}]}]}

    return padded("x" * (size - len(json.dumps(padded(""), separators=(",", ":")))))


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param({"count": 10}, id="ten tasks"),
        pytest.param({"overrides": _override(8192)}, id="overrides of 8192 characters"),
        pytest.param({"tags": _tags(50)}, id="fifty tags"),
        pytest.param({"startedBy": "a-Z/_" + "x" * 123}, id="startedBy of 128 characters"),
        pytest.param({"clientToken": "t" * 64}, id="token of 64 characters"),
        pytest.param({"overrides": {"ephemeralStorage": {"sizeInGiB": 200}}}, id="200 GiB"),
        pytest.param({"taskDefinition": "dagy-worker:1"}, id="a revision"),
    ],
)
def test_a_request_at_its_limit_is_accepted(request_: dict[str, Any]) -> None:
    answer = EcsWorld().run(**request_)
    assert answer["tasks"]
    assert answer["failures"] == []


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        pytest.param({"count": 0}, "InvalidParameterException", id="no task"),
        pytest.param({"count": 11}, "InvalidParameterException", id="eleven tasks"),
        pytest.param({"overrides": _override(8193)}, "InvalidParameterException", id="overrides too long"),
        pytest.param({"overrides": {"image": "evil"}}, "InvalidParameterException", id="override of the image"),
        pytest.param(
            {"overrides": {OVERRIDE: [{"name": "other"}]}}, "InvalidParameterException", id="no such container"
        ),
        pytest.param({"overrides": {"ephemeralStorage": {"sizeInGiB": 20}}}, "InvalidParameterException", id="20 GiB"),
        pytest.param({"tags": _tags(51)}, "InvalidParameterException", id="too many tags"),
        pytest.param({"tags": [{"key": "aws:x", "value": ""}]}, "InvalidParameterException", id="reserved tag"),
        pytest.param({"startedBy": "x" * 129}, "InvalidParameterException", id="startedBy too long"),
        pytest.param({"startedBy": "a b"}, "InvalidParameterException", id="startedBy with a space"),
        pytest.param({"clientToken": "t" * 65}, "InvalidParameterException", id="token too long"),
        pytest.param({"cluster": "nope"}, "ClusterNotFoundException", id="unknown cluster"),
        pytest.param({"taskDefinition": "nope"}, "ClientException", id="unknown family"),
        pytest.param({"taskDefinition": "dagy-worker:9"}, "ClientException", id="unknown revision"),
        pytest.param({"networkConfiguration": {}}, "InvalidParameterException", id="no network"),
        pytest.param({"launchType": "EC2"}, "InvalidParameterException", id="no instances here"),
        pytest.param(
            {"launchType": "FARGATE", "capacityProviderStrategy": [{"capacityProvider": "FARGATE", "weight": 1}]},
            "InvalidParameterException",
            id="launch type and strategy",
        ),
        pytest.param(
            {"capacityProviderStrategy": [{"capacityProvider": "FARGATE_CHEAP", "weight": 1}]},
            "InvalidParameterException",
            id="unknown capacity provider",
        ),
        pytest.param(
            {"capacityProviderStrategy": [{"capacityProvider": "FARGATE", "weight": 0}]},
            "InvalidParameterException",
            id="no weight at all",
        ),
    ],
)
def test_a_request_beyond_a_limit_is_refused_and_starts_nothing(request_: dict[str, Any], code: str) -> None:
    world = EcsWorld()
    with pytest.raises(EcsError) as refused:
        world.run(**request_)
    assert refused.value.code == code
    assert refused.value.http_status == 400
    assert not world.model.tasks


@pytest.mark.parametrize(
    ("cpu", "memory", "offered"),
    [
        ("256", "512", True),
        ("256", "4096", False),
        ("512", "4096", True),
        ("1024", "1024", False),
        ("2048", "16384", True),
        ("4096", "30720", True),
        ("4096", "31744", False),
        ("8192", "20480", True),
        ("8192", "18432", False),
        ("16384", "122880", True),
        ("32768", "249856", True),
        ("32768", "131072", False),
        ("1000", "2048", False),
        ("one", "2048", False),
    ],
)
def test_only_sizes_that_fargate_offers_are_launched(cpu: str, memory: str, offered: bool) -> None:
    world = EcsWorld()
    if offered:
        task = world.run(overrides={"cpu": cpu, "memory": memory})["tasks"][0]
        assert (task["cpu"], task["memory"]) == (cpu, memory)
    else:
        with pytest.raises(EcsError, match="No Fargate configuration exists for given values") as refused:
            world.run(overrides={"cpu": cpu, "memory": memory})
        assert refused.value.code == "ClientException"


def test_an_inactive_task_definition_is_not_launched() -> None:
    world = EcsWorld()
    world.call("DeregisterTaskDefinition", taskDefinition="dagy-worker:1")
    with pytest.raises(EcsError) as refused:
        world.run(taskDefinition="dagy-worker:1")
    assert refused.value.code == "ClientException"


def test_a_strategy_records_the_provider_and_a_launch_type_does_not() -> None:
    world = EcsWorld()
    spot = world.run(capacityProviderStrategy=[{"capacityProvider": "FARGATE_SPOT", "weight": 1}])["tasks"][0]
    assert spot["capacityProviderName"] == "FARGATE_SPOT"
    assert "capacityProviderName" not in world.run(launchType="FARGATE")["tasks"][0]


def test_a_strategy_fills_its_base_and_then_goes_by_weight() -> None:
    world = EcsWorld()
    strategy = [
        {"capacityProvider": "FARGATE", "weight": 1, "base": 2},
        {"capacityProvider": "FARGATE_SPOT", "weight": 3},
    ]
    providers = [t["capacityProviderName"] for t in world.run(count=10, capacityProviderStrategy=strategy)["tasks"]]
    assert providers[:2] == ["FARGATE", "FARGATE"]
    assert providers[2:].count("FARGATE_SPOT") == 6


def test_a_cluster_default_strategy_serves_a_call_that_names_none() -> None:
    world = EcsWorld()
    world.model.registry.clusters[CLUSTER].default_strategy = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
    arn = world.run_one(capacityProviderStrategy=[])
    assert world.model.tasks[arn].capacity is Capacity.FARGATE_SPOT


@pytest.mark.parametrize("reason", [CAPACITY_REASON, "RESOURCE:CPU"])
def test_a_launch_failure_comes_back_in_the_body_of_a_success(reason: str) -> None:
    world = EcsWorld()
    world.model.faults.add(Fault(FaultKind.LAUNCH_FAILURE, reason=reason))
    answer = world.run(count=2)
    assert [failure["reason"] for failure in answer["failures"]] == [reason]
    assert len(answer["tasks"]) == 1


def test_a_later_start_failure_stops_the_task_with_no_containers() -> None:
    world = EcsWorld()
    world.model.faults.add(Fault(FaultKind.START_FAILURE))
    arn = world.run_one()
    assert world.task(arn)["lastStatus"] == "PROVISIONING"
    world.later(60)
    task = world.task(arn)
    assert (task["lastStatus"], task["stopCode"]) == ("STOPPED", "TaskFailedToStart")
    assert task["stoppedReason"] == CAPACITY_REASON
    assert task["containers"] == []
    assert not world.started()


def test_a_container_starts_with_overrides_merged_into_its_definition() -> None:
    world = EcsWorld()
    override = {"name": "worker", "command": ["--run", "r1"], "environment": [{"name": "B", "value": "2"}]}
    arn = world.run_one(overrides={OVERRIDE: [override], "cpu": "512", "memory": "1024"})
    world.later(31)
    assert world.started() == [
        StartContainer(
            task_arn=arn,
            container_name="worker",
            command=("dagy-worker", "--run", "r1"),
            environment={"A": "1", "B": "2"},
            cpu=512,
            memory_mib=1024,
            stop_timeout_s=30,
            image="dagy/worker:1",
            entry_point_words=1,
        )
    ]


def test_without_overrides_the_definition_says_what_runs() -> None:
    world = EcsWorld()
    world.run_one()
    world.later(31)
    (start,) = world.started()
    assert start.command == ("dagy-worker", "--default")
    assert start.environment == {"A": "1", "B": "1"}
    assert start.memory_mib == 2048


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"family": ""}, id="no family"),
        pytest.param({"containerDefinitions": []}, id="no container"),
        pytest.param({"containerDefinitions": DEFINITION["containerDefinitions"] * 2}, id="two containers"),
        pytest.param({"containerDefinitions": [{"name": "w"}]}, id="no image"),
        pytest.param(
            {"containerDefinitions": [{"name": "w", "image": "i", "stopTimeout": 1}]}, id="stop timeout of 1 s"
        ),
        pytest.param({"containerDefinitions": [{"name": "w", "image": "i", "stopTimeout": 121}]}, id="of 121 s"),
        pytest.param({"memory": "100"}, id="no such size"),
    ],
)
def test_a_bad_task_definition_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(EcsError) as refused:
        EcsWorld().call("RegisterTaskDefinition", **{**DEFINITION, **change})
    assert refused.value.code == "ClientException"


def test_a_family_names_its_newest_active_revision() -> None:
    world = EcsWorld()
    second = world.call("RegisterTaskDefinition", **DEFINITION)["taskDefinition"]
    assert second["revision"] == 2
    assert world.run()["tasks"][0]["taskDefinitionArn"] == second["taskDefinitionArn"]
    world.call("DeregisterTaskDefinition", taskDefinition=second["taskDefinitionArn"])
    assert world.call("DescribeTaskDefinition", taskDefinition="dagy-worker")["taskDefinition"]["revision"] == 1
    assert (
        world.call("DescribeTaskDefinition", taskDefinition="dagy-worker:2")["taskDefinition"]["status"] == "INACTIVE"
    )


def test_an_unknown_task_definition_cannot_be_described() -> None:
    with pytest.raises(EcsError, match="Unable to describe task definition"):
        EcsWorld().call("DescribeTaskDefinition", taskDefinition="nope")


def test_clusters_are_described_by_name_or_arn_with_their_counts_and_unknown_ones_are_missing() -> None:
    world = EcsWorld()
    world.run_until_running()
    world.run_one()
    arn = world.model.registry.clusters[CLUSTER].arn
    answer = world.call("DescribeClusters", clusters=[arn, "nope"])
    (cluster,) = answer["clusters"]
    assert (cluster["status"], cluster["runningTasksCount"], cluster["pendingTasksCount"]) == ("ACTIVE", 1, 1)
    assert answer["failures"] == [{"arn": arn.replace(CLUSTER, "nope"), "reason": "MISSING"}]


def test_creating_a_cluster_twice_finds_the_first() -> None:
    world = EcsWorld()
    first = world.call("CreateCluster", clusterName="two")["cluster"]
    assert world.call("CreateCluster", clusterName="two")["cluster"]["clusterArn"] == first["clusterArn"]
    assert world.run(cluster="two")["tasks"][0]["clusterArn"] == first["clusterArn"]
