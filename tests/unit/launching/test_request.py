"""The RunTask request of an attempt."""

from collections import Counter
from typing import Any

import pytest

from dagy_control.launching.request import LaunchTarget, decoded, encoded, problem_of, provider_for, run_task_request
from dagy_control.model.runs import Run, Transition, launch_token
from tests.builders import NOW, a_run, target

OVERRIDES_ALLOWED = {"containerOverrides", "cpu", "memory", "ephemeralStorage", "executionRoleArn", "taskRoleArn"}
SPOT = {"provider_weights": {"FARGATE_SPOT": 1}}


def after(*whys: str, **values: Any) -> Run:
    """A run that went back to the queue for these reasons."""
    steps = tuple(
        Transition(
            at=NOW,
            from_status="LAUNCHING",
            to_status="QUEUED",
            attempt=1,
            by="test",
            why=f"{why}: ECS launch failed: x",
        )
        for why in whys
    )
    return a_run(transitions=steps, **values)


def request_of(run: Run, where: LaunchTarget | None = None) -> dict[str, Any]:
    return run_task_request(run, "FARGATE", where or target())


def environment_of(request: dict[str, Any]) -> dict[str, str]:
    (container,) = request["overrides"]["containerOverrides"]
    assert set(container) == {"name", "environment"}
    return {each["name"]: each["value"] for each in container["environment"]}


def test_the_request_is_the_whole_documented_one() -> None:
    where = target(execution_role_arn="arn:exec", task_role_arn="arn:task", worker_environment={"DAGY_RUNS_TABLE": "R"})
    run = a_run(attempt=2, launch_try=3, cpu=1024, memory=4096, ephemeral_storage_gib=50, environment={"A": "1"})
    environment = [
        {"name": "A", "value": "1"},
        {"name": "DAGY_ATTEMPT", "value": "2"},
        {"name": "DAGY_CORRELATION_ID", "value": "batch-1.1"},
        {"name": "DAGY_RUNS_TABLE", "value": "R"},
        {"name": "DAGY_RUN_ID", "value": "r1"},
    ]
    assert request_of(run, where) == {
        "cluster": "main",
        "taskDefinition": "dagy-worker:3",
        "capacityProviderStrategy": [{"capacityProvider": "FARGATE", "weight": 1}],
        "count": 1,
        "clientToken": launch_token("r1", 2, 3),
        "startedBy": "dagy/r1/2",
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": ["subnet-1", "subnet-2"],
                "securityGroups": ["sg-1"],
                "assignPublicIp": "DISABLED",
            }
        },
        "overrides": {
            "containerOverrides": [{"name": "dagy-worker", "environment": environment}],
            "cpu": "1024",
            "memory": "4096",
            "ephemeralStorage": {"sizeInGiB": 50},
            "executionRoleArn": "arn:exec",
            "taskRoleArn": "arn:task",
        },
        "tags": [
            {"key": "run_id", "value": "r1"},
            {"key": "org_id", "value": "acme"},
            {"key": "flow_name", "value": "etl"},
            {"key": "attempt", "value": "2"},
            {"key": "correlation_id", "value": "batch-1.1"},
            {"key": "installation", "value": "dagy"},
        ],
    }


def test_identical_input_gives_an_identical_request_to_the_letter() -> None:
    one = a_run(environment={"B": "2", "A": "1"})
    other = a_run(environment={"A": "1", "B": "2"}, version=99, priority=3)
    assert encoded(request_of(one)) == encoded(request_of(other))
    assert encoded(decoded(encoded(request_of(one)))) == encoded(request_of(one))


def test_the_size_is_the_runs_own_or_the_default() -> None:
    sizes = [
        (each["overrides"]["cpu"], each["overrides"]["memory"])
        for each in map(request_of, (a_run(), a_run(cpu=512, memory=2048)))
    ]
    assert sizes == [("256", "512"), ("512", "2048")]
    assert "ephemeralStorage" not in request_of(a_run())["overrides"]


@pytest.mark.parametrize("name", ["DAGY_RUN_ID", "DAGY_ATTEMPT", "DAGY_CORRELATION_ID"])
def test_a_users_environment_never_overrides_whose_attempt_it_is(name: str) -> None:
    request = request_of(a_run(environment={name: "forged"}))
    assert environment_of(request)[name] != "forged"
    names = [each["name"] for each in request["overrides"]["containerOverrides"][0]["environment"]]
    assert len(names) == len(set(names))


def test_a_users_environment_may_ask_for_debug_logs() -> None:
    where = target(worker_environment={"DAGY_LOG_LEVEL": "INFO"})
    request = request_of(a_run(environment={"DAGY_LOG_LEVEL": "DEBUG"}), where)
    assert environment_of(request)["DAGY_LOG_LEVEL"] == "DEBUG"


def test_what_a_user_passes_never_becomes_an_override() -> None:
    hostile = {"taskRoleArn": "arn:admin", "command": "sh", "cpu": "32768", "overrides": "{}"}
    request = request_of(a_run(environment=hostile, parameters='{"taskRoleArn": "arn:admin"}'))
    assert set(request["overrides"]) <= OVERRIDES_ALLOWED
    assert request["overrides"]["cpu"] == "256"
    assert "taskRoleArn" not in request["overrides"]


@pytest.mark.parametrize(
    ("run", "where", "provider"),
    [
        pytest.param(a_run(), target(**SPOT), "FARGATE_SPOT", id="by weight"),
        pytest.param(a_run(environment={"ECS_CAPACITY_PROVIDER": "FARGATE"}), target(**SPOT), "FARGATE", id="the run's own wish"),
        pytest.param(after("CAPACITY"), target(**SPOT), "FARGATE_SPOT", id="one refusal is not enough"),
        pytest.param(after("CAPACITY", "CAPACITY"), target(**SPOT), "FARGATE", id="two refusals move it to on-demand"),
        pytest.param(after("SPOT_INTERRUPTED", "SPOT_INTERRUPTED"), target(**SPOT), "FARGATE", id="two reclaims move it to on-demand"),
        pytest.param(after("CAPACITY", "SPOT_INTERRUPTED"), target(**SPOT), "FARGATE", id="a refusal and a reclaim"),
        pytest.param(after(*["IMAGE_PULL"] * 9, "CAPACITY"), target(**SPOT), "FARGATE_SPOT", id="image pull errors do not count"),
        pytest.param(after("throttled", "held", "NETWORK"), target(**SPOT), "FARGATE_SPOT", id="nor what is not capacity"),
        pytest.param(after("USER_ERROR", "USER_ERROR"), target(**SPOT), "FARGATE_SPOT", id="the user's failures do not count"),
        pytest.param(after("CAPACITY", "CAPACITY"), target(**SPOT, spot_fallback_after_tries=9), "FARGATE_SPOT", id="as the policy says"),
        pytest.param(
            after("CAPACITY", "CAPACITY", environment={"ECS_CAPACITY_PROVIDER": "FARGATE_SPOT"}),
            target(**SPOT),
            "FARGATE_SPOT",
            id="its own wish wins always",
        ),
        pytest.param(
            a_run(version=200, launch_try=2, infra_failures=1),
            target(**SPOT),
            "FARGATE",
            id="too old for its transitions: all failures count",
        ),
    ],
)  # fmt: skip
def test_the_capacity_provider(run: Run, where: LaunchTarget, provider: str) -> None:
    assert provider_for(run, where) == provider


def test_70_to_30_holds_over_single_task_calls() -> None:
    where = target(provider_weights={"FARGATE_SPOT": 70, "FARGATE": 30})
    chosen = Counter(provider_for(a_run(run_id=f"run-{number}"), where) for number in range(2_000))
    assert 1_300 < chosen["FARGATE_SPOT"] < 1_500


@pytest.mark.parametrize(
    ("run", "installation", "problem"),
    [
        pytest.param(a_run(), "dagy", None, id="a plain one"),
        pytest.param(a_run(environment={"A": "x" * 7_000}), "dagy", None, id="long overrides"),
        pytest.param(a_run(environment={"A": "x" * 8_192}), "dagy", "overrides take", id="overrides beyond 8,192 characters"),
        pytest.param(a_run(run_id="x" * 121), "dagy", None, id="startedBy of 128 characters"),
        pytest.param(a_run(run_id="x" * 122), "dagy", "startedBy", id="startedBy beyond 128 characters"),
        pytest.param(a_run(), "my dagy", "startedBy", id="a character that startedBy does not take"),
        pytest.param(a_run(flow_name="x" * 257), "dagy", "flow_name", id="a tag beyond 256 characters"),
    ],
)  # fmt: skip
def test_what_ecs_would_refuse_for_its_form_is_known_before_the_call(
    run: Run, installation: str, problem: str | None
) -> None:
    said = problem_of(request_of(run, target(installation=installation)))
    assert (said is None) == (problem is None)
    assert (problem or "") in (said or "")
