"""Retrying a run that is over: the same once more, or a refusal that says what is no longer to be had."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from dagy_control.model.flows import FlowStatus
from dagy_control.model.resources import TaskSize
from dagy_control.model.runs import Run, RunStatus
from dagy_control.requests.executors import Executor
from dagy_control.requests.launch import RequestPolicy
from dagy_control.requests.refusals import RequestRefused
from dagy_control.requests.retry import retry
from tests.builders import NOW, a_run, launching, running
from tests.requesting import POLICY, Requesting, a_flow

OVER: Mapping[str, Any] = {
    "flow_version": "1",
    "correlation_id": "r1",
    "workload_profile": "small",
    "cpu": 256,
    "memory": 1024,
    "ephemeral_storage_gib": 50,
    "environment": {"ECS_CAPACITY_PROVIDER": "FARGATE", "STAGE": "test"},
    "parameters": '{"day": "2026-01-01"}',
    "priority": 7,
    "max_attempts": 3,
    "attempt": 3,
    "infra_failures": 1,
    "completed_at": NOW,
    "idempotency_key": "first",
    "deployment_name": "nightly",
}
KEPT = (
    *("org_id", "flow_name", "flow_version", "executor", "parameters", "environment"),
    *("workload_profile", "cpu", "memory", "ephemeral_storage_gib", "priority", "max_attempts"),
)


def over(status: RunStatus = RunStatus.FAILED, **values: Any) -> Run:
    return a_run(status, **{**OVER, **values})


class Retrying(Requesting):
    """One run that is on record, and whoever retries it."""

    def __init__(self, run: Run, *flows: Any, policy: RequestPolicy = POLICY) -> None:
        super().__init__(*flows, policy=policy)
        self.old = run
        self.runs.seed(run)

    async def retry(self, key: str | None = None) -> Run:
        return await self.done(retry(self.launcher, "r1", idempotency_key=key))

    async def retry_refused(self) -> RequestRefused:
        with pytest.raises(RequestRefused) as refused:
            await self.retry()
        assert self.runs.records == {"r1": self.old}
        return refused.value


@pytest.mark.parametrize("status", [RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED])
async def test_a_run_that_is_over_is_queued_once_more_as_a_new_run(status: RunStatus) -> None:
    world = Retrying(over(status))
    run = await world.retry()
    assert world.runs.records == {"r1": world.old, run.run_id: run}
    assert {name: getattr(run, name) for name in KEPT} == {name: getattr(world.old, name) for name in KEPT}
    assert (run.status, run.attempt, run.infra_failures, run.retry_of) == (RunStatus.QUEUED, 1, 0, "r1")
    assert run.transitions[0].why == "retry of r1"
    assert run.idempotency_key is None


async def test_its_correlation_is_its_own() -> None:
    run = await Retrying(over()).retry()
    assert (run.correlation_id, run.parent_correlation_id) == (run.run_id, None)


async def test_a_child_of_a_batch_becomes_one_more_child_of_it() -> None:
    run = await Retrying(over(correlation_id="batch-1.7", parent_correlation_id="batch-1")).retry()
    assert (run.correlation_id, run.parent_correlation_id) == (f"batch-1.{run.run_id[:8]}", "batch-1")


async def test_a_newer_version_of_the_flow_is_not_taken() -> None:
    world = Retrying(over(), a_flow(), replace(a_flow(version="2"), registered_at=NOW.replace(year=2027)))
    assert (await world.retry()).flow_version == "1"


async def test_the_same_key_gives_the_same_retry() -> None:
    world = Retrying(over())
    assert await world.retry("again") == await world.retry("again")
    assert len(world.runs.records) == 2


async def test_the_retry_of_a_retry_names_the_one_before() -> None:
    world = Retrying(over(retry_of="r0"))
    assert (await world.retry()).retry_of == "r1"


async def test_the_profile_counts_by_the_numbers_that_it_meant() -> None:
    """A profile that has been changed, or removed, does not change the size of a run that is retried."""
    other = replace(POLICY, profiles={"small": TaskSize(512, 1024), "medium": TaskSize(1024, 2048)})
    run = await Retrying(over(), policy=other).retry()
    assert (run.workload_profile, run.cpu, run.memory) == ("small", 256, 1024)
    gone = replace(POLICY, profiles={"medium": TaskSize(1024, 2048)})
    run = await Retrying(over(), policy=gone).retry()
    assert (run.workload_profile, run.cpu, run.memory) == (None, 256, 1024)


async def test_it_goes_to_the_executor_of_the_run_whatever_else_is_available() -> None:
    both = replace(POLICY, executors={"ecs": Executor("ecs"), "lambda": Executor("lambda")})
    assert (await Retrying(over(executor="lambda"), policy=both).retry()).executor == "lambda"
    refused = await Retrying(over(executor="lambda")).retry_refused()
    assert str(refused) == "Requested backend 'lambda' is not available. Known backends: ecs."


# Refused.


@pytest.mark.parametrize("run", [a_run(), launching(), running()], ids=["queued", "launching", "running"])
async def test_a_run_that_is_not_over_is_refused_with_its_status(run: Run) -> None:
    refused = await Retrying(run).retry_refused()
    assert refused.field == "run_id"
    assert str(refused) == f"run r1 is {run.status}: only a run that is over can be retried; cancel it first, or wait"


@pytest.mark.parametrize(
    ("run_id", "told"),
    [("r9", "there is no run r9"), ("", "the run id is empty: say which run")],
    ids=["unknown", "an unset variable"],
)
async def test_a_run_that_does_not_exist_is_refused_by_its_id(run_id: str, told: str) -> None:
    world = Requesting()
    with pytest.raises(RequestRefused, match=told):
        await world.done(retry(world.launcher, run_id))


@pytest.mark.parametrize(
    ("executors", "told"),
    [
        pytest.param(
            {"ecs": Executor("ecs", ("DAGY_ECS_CLUSTER_ARN",)), "lambda": Executor("lambda")},
            "Requested backend 'ecs' is not available. Ensure DAGY_ECS_CLUSTER_ARN is set.",
            id="not configured any more",
        ),
        pytest.param(
            {"lambda": Executor("lambda")},
            "Requested backend 'ecs' is not available. Known backends: lambda.",
            id="not known any more",
        ),
    ],
)
async def test_an_executor_that_is_no_longer_available_is_refused_and_no_other_taken(
    executors: Mapping[str, Executor], told: str
) -> None:
    refused = await Retrying(over(), policy=replace(POLICY, executors=executors)).retry_refused()
    assert (refused.field, str(refused).startswith(told)) == ("executor", True), str(refused)


@pytest.mark.parametrize(
    ("flow", "field", "told"),
    [
        pytest.param(
            a_flow(version="2"), "flow_version", "has no version '1'; registered: 2", id="the version is gone"
        ),
        pytest.param(a_flow(status=FlowStatus.RETIRED), "flow_version", "RETIRED", id="the version is retired"),
        pytest.param(a_flow("other"), "flow_name", "has no flow 'etl'", id="the flow is gone"),
    ],
)
async def test_a_flow_that_is_no_longer_to_be_had_is_refused(flow: Any, field: str, told: str) -> None:
    refused = await Retrying(over(), flow).retry_refused()
    assert (refused.field, told in str(refused)) == (field, True), str(refused)


@pytest.mark.parametrize(
    ("values", "field", "told"),
    [
        pytest.param({"cpu": 1000, "memory": 2000}, "cpu", "nearest valid ones are 1024 CPU / 2048 MiB", id="no size"),
        pytest.param({"workload_profile": "huge", "memory": None}, "workload_profile", "huge", id="no such profile"),
        pytest.param({"ephemeral_storage_gib": 900}, "ephemeral_storage_gib", "21 to 200", id="no such storage"),
        pytest.param({"environment": {"DAGY_X": "1"}}, "extra_env_vars", "DAGY_X", id="a variable of ours"),
        pytest.param({"parameters": "[1]"}, "parameters", "no JSON object", id="a list of parameters"),
        pytest.param({"parameters": "{"}, "parameters", "no JSON object", id="broken parameters"),
        pytest.param(
            {"parameters": json.dumps({"dya": 1})}, "parameters", "did you mean 'day'?", id="unknown parameter"
        ),
    ],
)
async def test_what_would_no_longer_be_accepted_is_refused_by_its_field(
    values: Mapping[str, Any], field: str, told: str
) -> None:
    refused = await Retrying(over(**values)).retry_refused()
    assert (refused.field, told in str(refused)) == (field, True), str(refused)
