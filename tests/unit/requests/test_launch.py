"""Launching: what is refused and in what words, and the run that is written for what is not."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from dagy_control.errors import Conflict, Transient
from dagy_control.launching.request import run_task_request
from dagy_control.model.flows import FlowRecord, FlowSpec, FlowStatus, ParameterSpec
from dagy_control.model.resources import TaskSize
from dagy_control.model.runs import Run, RunStatus
from dagy_control.requests.environment import ENVIRONMENT_MAX_CHARACTERS
from dagy_control.requests.executors import Executor
from dagy_control.requests.launch import Launcher, RequestPolicy
from dagy_control.requests.refusals import RequestRefused
from tests.builders import NOW, target, writer_of
from tests.fakes.clock import VirtualClock
from tests.fakes.flows import FakeFlows
from tests.fakes.runs import FakeRuns

DOWN = Transient("the table is down")
POLICY = RequestPolicy(
    executors={"ecs": Executor("ecs")},
    profiles={"small": TaskSize(256, 512), "medium": TaskSize(1024, 2048)},
    default_profile="medium",
)


def a_flow(name: str = "etl", version: str = "1", status: FlowStatus = FlowStatus.ACTIVE) -> FlowRecord:
    spec = FlowSpec(
        name=name,
        version=version,
        import_path="etl:etl",
        parameters=(ParameterSpec("day", required=False, default="today"), ParameterSpec("table", required=False)),
    )
    return FlowRecord(
        org_id="acme",
        flow_name=name,
        flow_version=version,
        spec=spec,
        import_path=spec.import_path,
        artifact_s3_uri="s3://b/k",
        artifact_sha256="0" * 64,
        artifact_size_bytes=1,
        status=status,
        registered_at=NOW,
    )


class World:
    """Flows, runs, and a launcher whose new ids are known."""

    def __init__(self, *flows: FlowRecord, policy: RequestPolicy = POLICY) -> None:
        self.clock = VirtualClock()
        self.runs = FakeRuns()
        self.flows = FakeFlows(*(flows or (a_flow(),)))
        numbers = count(1)
        self.launcher = Launcher(
            self.flows,
            writer_of(self.runs, self.clock),
            self.clock,
            policy,
            lambda: f"00000000-0000-4000-8000-{next(numbers):012d}",
        )

    async def launch(self, **order: Any) -> Run:
        order = {"flow_name": "etl", "org_id": "acme", **order}
        return await self.clock.run(self.launcher.launch(**order), limit_s=60)

    async def refusal(self, **order: Any) -> RequestRefused:
        """Why the order is refused; nothing may have been written."""
        with pytest.raises(RequestRefused) as refused:
            await self.launch(**order)
        assert self.runs.records == {}
        assert "create" not in self.runs.calls
        return refused.value


async def test_the_runbooks_call_queues_a_run() -> None:
    world = World()
    run = await world.launch(
        parameters={"day": "2026-01-01"},
        workload_profile="small",
        extra_env_vars={"ECS_CAPACITY_PROVIDER": "FARGATE", "STAGE": "test", "DAGY_LOG_LEVEL": "debug"},
        ephemeral_storage_gib=100,
        priority=5,
        max_attempts=3,
    )
    assert world.runs.records == {run.run_id: run}
    assert run.run_id == "00000000-0000-4000-8000-000000000001"
    assert (run.status, run.attempt, run.launch_try, run.version) == (RunStatus.QUEUED, 1, 1, 1)
    assert (run.org_id, run.flow_name, run.flow_version, run.executor) == ("acme", "etl", "1", "ecs")
    assert (run.cpu, run.memory, run.ephemeral_storage_gib, run.workload_profile) == (256, 512, 100, "small")
    assert (run.created_at, run.queued_at, run.active_since) == (NOW, NOW, NOW)
    assert (run.priority, run.max_attempts) == (5, 3)
    assert json.loads(run.parameters) == {"day": "2026-01-01"}
    assert [(each.from_status, each.to_status, each.by) for each in run.transitions] == [("", "QUEUED", "request")]


# Idempotency.


async def test_the_same_key_gives_the_same_run_and_writes_once() -> None:
    world = World()
    first = await world.launch(idempotency_key="nightly-2026-01-01")
    again = await world.launch(idempotency_key="nightly-2026-01-01", parameters={"day": "other"})
    assert again == first
    assert len(world.runs.records) == 1


async def test_a_keys_run_id_is_a_uuid5_of_organisation_and_key() -> None:
    world = World()
    run = await world.launch(idempotency_key="k")
    assert uuid.UUID(run.run_id).version == 5
    assert run.run_id == str(uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_OID, "acme"), "k"))
    assert run.idempotency_key == "k"


async def test_one_key_in_two_organisations_is_two_runs() -> None:
    world = World(a_flow(), replace(a_flow(), org_id="emca"))
    assert (await world.launch(idempotency_key="k")).run_id != (
        await world.launch(idempotency_key="k", org_id="emca")
    ).run_id


async def test_without_a_key_two_launches_are_two_runs() -> None:
    world = World()
    assert (await world.launch()).run_id != (await world.launch()).run_id


@pytest.mark.parametrize("key", ["", "   ", "k" * 257], ids=["empty", "blank", "endless"])
async def test_a_key_that_cannot_tell_two_launches_apart_is_refused(key: str) -> None:
    """An empty one comes from an unset shell variable, and would give everybody's first run to everybody."""
    assert (await World().refusal(idempotency_key=key)).field == "idempotency_key"


async def test_a_lost_reply_of_create_is_a_success_and_one_run() -> None:
    world = World()
    world.runs.next_error("create", DOWN, applied=True)
    run = await world.launch()
    assert world.runs.records == {run.run_id: run}


async def test_a_table_that_stays_down_raises_and_the_same_key_repairs_it() -> None:
    world = World()
    world.runs.next_error("create", DOWN, times=3)
    world.runs.next_error("create", DOWN, applied=True)
    with pytest.raises(Transient):
        await world.launch(idempotency_key="k")
    run = await world.launch(idempotency_key="k")
    assert world.runs.records == {run.run_id: run}


async def test_an_id_that_is_taken_without_a_key_is_an_error_and_not_somebody_elses_run() -> None:
    world = World()
    run = await world.launch()
    taken = replace(run, run_id="00000000-0000-4000-8000-000000000002", op_id="another")
    world.runs.seed(taken)
    with pytest.raises(Conflict):
        await world.launch()


# Correlation.


@pytest.mark.parametrize(
    ("order", "correlation_id"),
    [
        pytest.param({}, "00000000-0000-4000-8000-000000000001", id="none: the run's id"),
        pytest.param({"correlation_id": "batch-7"}, "batch-7", id="its own"),
        pytest.param({"parent_correlation_id": "batch-7"}, "batch-7.00000000", id="a child without"),
        pytest.param({"parent_correlation_id": "b", "correlation_id": "b.3"}, "b.3", id="a child's that fits"),
        pytest.param({"parent_correlation_id": "b", "correlation_id": "eu"}, "b.eu", id="a child's own word"),
        pytest.param({"parent_correlation_id": "b", "correlation_id": "b"}, "b", id="the parent's itself"),
    ],
)
async def test_a_childs_correlation_id_begins_with_its_parents(order: Mapping[str, str], correlation_id: str) -> None:
    run = await World().launch(**order)
    assert run.correlation_id == correlation_id
    assert run.parent_correlation_id == order.get("parent_correlation_id")
    assert run.correlation_id.startswith(run.parent_correlation_id or "")


@pytest.mark.parametrize(
    ("order", "field"),
    [
        pytest.param({"correlation_id": ""}, "correlation_id", id="empty"),
        pytest.param({"correlation_id": "a b"}, "correlation_id", id="a blank in it"),
        pytest.param({"correlation_id": "x" * 129}, "correlation_id", id="too long"),
        pytest.param({"correlation_id": "AWS:batch"}, "correlation_id", id="a prefix that AWS keeps for itself"),
        pytest.param({"parent_correlation_id": "é"}, "parent_correlation_id", id="a parent's odd character"),
        pytest.param(
            {"parent_correlation_id": "p" * 100, "correlation_id": "c" * 100}, "correlation_id", id="too long together"
        ),
        pytest.param({"parent_correlation_id": "p" * 128}, "correlation_id", id="a parent that leaves no room"),
    ],
)
async def test_a_correlation_id_that_no_tag_can_hold_is_refused(order: Mapping[str, str], field: str) -> None:
    assert (await World().refusal(**order)).field == field


# Flow and parameters.


async def test_an_unknown_flow_is_refused_with_the_nearest_name() -> None:
    refused = await World(a_flow("daily-sales"), a_flow("weekly")).refusal(flow_name="daily_sales")
    assert refused.field == "flow_name"
    assert "'daily_sales'" in str(refused)
    assert "did you mean 'daily-sales'?" in str(refused)


async def test_an_unknown_flow_with_nothing_like_it_says_where_to_look() -> None:
    refused = await World().refusal(flow_name="zzz")
    assert str(refused) == "organisation 'acme' has no flow 'zzz'; register it first, or see `flows list`"


async def test_an_unknown_version_is_refused_with_the_registered_ones() -> None:
    refused = await World(a_flow(version="1"), a_flow(version="2")).refusal(flow_version="3")
    assert refused.field == "flow_version"
    assert str(refused) == "flow 'etl' of organisation 'acme' has no version '3'; registered: 1, 2"


async def test_a_retired_version_is_refused() -> None:
    refused = await World(a_flow(status=FlowStatus.RETIRED)).refusal(flow_version="1")
    assert (refused.field, "RETIRED" in str(refused)) == ("flow_version", True)


async def test_a_flow_of_which_every_version_is_retired_is_refused_as_such() -> None:
    refused = await World(a_flow(status=FlowStatus.RETIRED)).refusal()
    assert (refused.field, "RETIRED" in str(refused)) == ("flow_version", True)


async def test_another_organisations_flow_is_unknown_and_its_name_is_not_told() -> None:
    refused = await World(a_flow("secret-plan")).refusal(org_id="emca", flow_name="secret_plan")
    assert "secret-plan" not in str(refused)


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        pytest.param({"dya": "x"}, "did you mean 'day'?", id="mistyped"),
        pytest.param({"day": float("nan")}, "no JSON number", id="no JSON number"),
        pytest.param({"day": NOW}, "datetime", id="no JSON value"),
        pytest.param({"day": {1, 2}}, "set", id="a set"),
        pytest.param({"day": "x" * 100_001}, "100,000", id="too long"),
    ],
)
async def test_wrong_parameters_are_refused_by_name(parameters: Mapping[str, Any], told: str) -> None:
    refused = await World().refusal(parameters=parameters)
    assert refused.field == "parameters"
    assert told in str(refused)


# Everything else.


@pytest.mark.parametrize(
    ("order", "field"),
    [
        pytest.param({"org_id": ""}, "org_id", id="no organisation"),
        pytest.param({"org_id": "a#b"}, "org_id", id="an organisation that forges a key"),
        pytest.param({"org_id": "x" * 65}, "org_id", id="a long organisation"),
        pytest.param({"max_attempts": 0}, "max_attempts", id="no attempt"),
        pytest.param({"max_attempts": 21}, "max_attempts", id="too many attempts"),
        pytest.param({"priority": 10**40}, "priority", id="a priority that no table holds"),
        pytest.param({"executor": "local"}, "executor", id="unknown executor"),
        pytest.param({"workload_profile": "huge"}, "workload_profile", id="unknown profile"),
        pytest.param({"cpu": 3}, "cpu", id="no such size"),
        pytest.param({"ephemeral_storage_gib": 1}, "ephemeral_storage_gib", id="no such storage"),
    ],
)
async def test_a_bad_order_is_refused_by_its_field(order: Mapping[str, Any], field: str) -> None:
    assert (await World().refusal(**order)).field == field


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        pytest.param({"DAGY_RUN_ID": "x"}, "DAGY_RUN_ID belongs to dagy_control", id="the run's id"),
        pytest.param({"DAGY_TABLES__RUNS": "x"}, "DAGY_TABLES__RUNS belongs", id="a setting"),
        pytest.param({"DAGY_ANYTHING": "x"}, "DAGY_ANYTHING belongs", id="anything of that prefix"),
        pytest.param({"DAGY_LOG_LEVEL": "LOUD"}, "DEBUG, INFO, WARNING, ERROR, CRITICAL", id="no log level"),
        pytest.param({"1A": "x"}, "'1A' is no name", id="a digit first"),
        pytest.param({"A B": "x"}, "'A B' is no name", id="a blank"),
        pytest.param({"": "x"}, "'' is no name", id="no name"),
        pytest.param({"ECS_CAPACITY_PROVIDER": "SPOT"}, "FARGATE, FARGATE_SPOT", id="unknown provider"),
        pytest.param({"ECS_CAPACITY_PROVIDER": ""}, "FARGATE, FARGATE_SPOT", id="empty provider"),
    ],
)
async def test_an_environment_that_a_run_may_not_have_is_refused(environment: Mapping[str, str], told: str) -> None:
    refused = await World().refusal(extra_env_vars=environment)
    assert refused.field == "extra_env_vars"
    assert told in str(refused)


@pytest.mark.parametrize(
    ("large", "size"),
    [("x" * 6000, 6000), ("\n" * 3100, 6200), ("é" * 1100, 6600)],
    ids=["long", "escaped in JSON", "not ASCII"],
)
async def test_an_environment_that_overrides_cannot_hold_is_refused_with_its_sizes(large: str, size: int) -> None:
    refused = await World().refusal(extra_env_vars={"SMALL": "abc", "LARGE": large})
    assert f"LARGE {size}, SMALL 3" in str(refused)


async def test_an_environment_that_is_just_accepted_fits_into_ecs_overrides() -> None:
    """8,192 characters of JSON, with everything that the daemon adds of its own."""
    name_and_quotes = len('{"name": "A", "value": ""}, ')
    run = await World().launch(extra_env_vars={"A": '"' * ((ENVIRONMENT_MAX_CHARACTERS - name_and_quotes) // 2)})
    where = target(worker_environment={f"DAGY_TABLES__NAME_{number}": "x" * 100 for number in range(7)})
    assert len(json.dumps(run_task_request(run, "FARGATE", where)["overrides"])) <= 8192
