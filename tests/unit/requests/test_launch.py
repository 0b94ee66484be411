"""Launching: what is refused and in what words, and the run that is written for what is not."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from dagy_control.errors import Conflict, Transient
from dagy_control.launching.request import problem_of, run_task_request
from dagy_control.model.flows import FlowStatus
from dagy_control.model.overrides import VARIABLES_NAMED_MAX
from dagy_control.model.runs import RunStatus
from tests.builders import NOW, target
from tests.requesting import POLICY, Requesting, a_flow

DOWN = Transient("the table is down")


async def test_the_runbooks_call_queues_a_run() -> None:
    world = Requesting()
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
    world = Requesting()
    first = await world.launch(idempotency_key="nightly-2026-01-01")
    again = await world.launch(idempotency_key="nightly-2026-01-01", parameters={"day": "other"})
    assert again == first
    assert len(world.runs.records) == 1


async def test_a_keys_run_id_is_a_uuid5_of_organisation_and_key() -> None:
    world = Requesting()
    run = await world.launch(idempotency_key="k")
    assert uuid.UUID(run.run_id).version == 5
    assert run.run_id == str(uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_OID, "acme"), "k"))
    assert run.idempotency_key == "k"


async def test_one_key_in_two_organisations_is_two_runs() -> None:
    world = Requesting(a_flow(), replace(a_flow(), org_id="emca"))
    assert (await world.launch(idempotency_key="k")).run_id != (
        await world.launch(idempotency_key="k", org_id="emca")
    ).run_id


async def test_without_a_key_two_launches_are_two_runs() -> None:
    world = Requesting()
    assert (await world.launch()).run_id != (await world.launch()).run_id


@pytest.mark.parametrize("key", ["", "   ", "k" * 257], ids=["empty", "blank", "endless"])
async def test_a_key_that_cannot_tell_two_launches_apart_is_refused(key: str) -> None:
    """An empty one comes from an unset shell variable, and would give everybody's first run to everybody."""
    assert (await Requesting().refusal(idempotency_key=key)).field == "idempotency_key"


async def test_a_lost_reply_of_create_is_a_success_and_one_run() -> None:
    world = Requesting()
    world.runs.next_error("create", DOWN, applied=True)
    run = await world.launch()
    assert world.runs.records == {run.run_id: run}


async def test_a_table_that_stays_down_raises_and_the_same_key_repairs_it() -> None:
    world = Requesting()
    world.runs.next_error("create", DOWN, times=3)
    world.runs.next_error("create", DOWN, applied=True)
    with pytest.raises(Transient):
        await world.launch(idempotency_key="k")
    run = await world.launch(idempotency_key="k")
    assert world.runs.records == {run.run_id: run}


async def test_an_id_that_is_taken_without_a_key_is_an_error_and_not_somebody_elses_run() -> None:
    world = Requesting()
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
    run = await Requesting().launch(**order)
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
    assert (await Requesting().refusal(**order)).field == field


# Flow and parameters.


async def test_an_unknown_flow_is_refused_with_the_nearest_name() -> None:
    refused = await Requesting(a_flow("daily-sales"), a_flow("weekly")).refusal(flow_name="daily_sales")
    assert refused.field == "flow_name"
    assert "'daily_sales'" in str(refused)
    assert "did you mean 'daily-sales'?" in str(refused)


async def test_an_unknown_flow_with_nothing_like_it_says_where_to_look() -> None:
    refused = await Requesting().refusal(flow_name="zzz")
    assert str(refused) == "organisation 'acme' has no flow 'zzz'; register it first, or see `flows list`"


async def test_an_unknown_version_is_refused_with_the_registered_ones() -> None:
    refused = await Requesting(a_flow(version="1"), a_flow(version="2")).refusal(flow_version="3")
    assert refused.field == "flow_version"
    assert str(refused) == "flow 'etl' of organisation 'acme' has no version '3'; registered: 1, 2"


async def test_a_retired_version_is_refused() -> None:
    refused = await Requesting(a_flow(status=FlowStatus.RETIRED)).refusal(flow_version="1")
    assert (refused.field, "RETIRED" in str(refused)) == ("flow_version", True)


async def test_a_flow_of_which_every_version_is_retired_is_refused_as_such() -> None:
    refused = await Requesting(a_flow(status=FlowStatus.RETIRED)).refusal()
    assert (refused.field, "RETIRED" in str(refused)) == ("flow_version", True)


async def test_another_organisations_flow_is_unknown_and_its_name_is_not_told() -> None:
    refused = await Requesting(a_flow("secret-plan")).refusal(org_id="emca", flow_name="secret_plan")
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
    refused = await Requesting().refusal(parameters=parameters)
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
    assert (await Requesting().refusal(**order)).field == field


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
    refused = await Requesting().refusal(extra_env_vars=environment)
    assert refused.field == "extra_env_vars"
    assert told in str(refused)


@pytest.mark.parametrize(
    ("large", "size"),
    [("x" * 8000, 8000), ("\n" * 4100, 8200), ("é" * 1400, 8400)],
    ids=["long", "escaped in JSON", "not ASCII"],
)
async def test_an_environment_that_overrides_cannot_hold_is_refused_with_its_sizes(large: str, size: int) -> None:
    refused = await Requesting().refusal(extra_env_vars={"SMALL": "abc", "LARGE": large})
    assert refused.field == "extra_env_vars"
    assert "ECS allows 8,192" in str(refused)
    assert (
        f"characters by variable: LARGE {size:,}, DAGY_CORRELATION_ID 36, DAGY_RUN_ID 36, DAGY_ATTEMPT 4, SMALL 3"
        in str(refused)
    )


async def test_of_many_variables_the_largest_are_named_and_the_others_summed_up() -> None:
    refused = await Requesting().refusal(extra_env_vars={f"V{number:03d}": "x" * number for number in range(200)})
    listed = str(refused).partition("by variable: ")[2]
    assert listed.startswith("V199 199, V198 198, ")
    assert len(listed.split(", ")) == VARIABLES_NAMED_MAX + 1
    assert listed.endswith(f", and {200 + 3 - VARIABLES_NAMED_MAX} others {sum(range(180)) + 36 + 36 + 4:,} together")


async def test_what_the_daemon_adds_of_its_own_counts_too() -> None:
    own = {f"DAGY_TABLES__NAME_{number}": "x" * 100 for number in range(40)}
    crowded = replace(POLICY, frame=target(worker_environment=own))
    environment = {"A": "x" * 4000}
    await Requesting().launch(extra_env_vars=environment)
    assert "A 4,000, DAGY_TABLES__NAME_0 100" in str(
        await Requesting(policy=crowded).refusal(extra_env_vars=environment)
    )


async def test_the_longest_environment_that_is_accepted_fits_into_ecs_overrides_at_every_attempt() -> None:
    """And the next longer one is refused: nothing that fits is lost."""
    where = target(worker_environment={f"DAGY_TABLES__NAME_{number}": "x" * 100 for number in range(7)})
    policy = replace(POLICY, frame=where)
    told = str(await Requesting(policy=policy).refusal(extra_env_vars={"A": "x" * 8000}))
    beyond = int(told.partition("take ")[2].partition(" ")[0].replace(",", "")) - 8192
    run = await Requesting(policy=policy).launch(extra_env_vars={"A": "x" * (8000 - beyond)})
    await Requesting(policy=policy).refusal(extra_env_vars={"A": "x" * (8001 - beyond)})
    late = replace(run, attempt=2000, cpu=32768, memory=249856)
    assert [problem_of(run_task_request(each, "FARGATE", where)) for each in (run, late)] == [None, None]


# What is given by keywords, or as JSON.


async def test_numbers_may_be_written_as_text_as_the_runbook_does() -> None:
    run = await Requesting().launch(memory="8192", ephemeral_storage_gib="100", cpu=None)
    assert (run.cpu, run.memory, run.ephemeral_storage_gib) == (1024, 8192, 100)


@pytest.mark.parametrize(
    ("order", "field", "told"),
    [
        pytest.param({"flow": "x"}, "flow", "no argument 'flow'", id="no such argument"),
        pytest.param({"memroy": 512}, "memroy", "did you mean 'memory'?", id="mistyped"),
        pytest.param({"memory": "8 GB"}, "memory", "whole number, not '8 GB'", id="a unit"),
        pytest.param({"memory": True}, "memory", "whole number, not True", id="true"),
        pytest.param({"cpu": 256.0}, "cpu", "whole number", id="a fraction"),
        pytest.param({"cpu": "9" * 5000}, "cpu", "whole number", id="more digits than a number has"),
        pytest.param({"org_id": 7}, "org_id", "must be text, not 7", id="a number for text"),
        pytest.param({"org_id": None}, "org_id", "missing", id="null for what is needed"),
        pytest.param({"flow_name": None}, "flow_name", "missing", id="nothing to launch"),
        pytest.param({"parameters": [1]}, "parameters", "an object of names", id="a list of parameters"),
        pytest.param({"extra_env_vars": {"A": 1}}, "extra_env_vars", "A must be text, not 1", id="a number in it"),
        pytest.param({"extra_env_vars": "A=1"}, "extra_env_vars", "an object of names", id="text for variables"),
    ],
)
async def test_an_argument_of_another_kind_is_refused_by_name(order: Mapping[str, Any], field: str, told: str) -> None:
    refused = await Requesting().refusal(**order)
    assert (refused.field, told in str(refused)) == (field, True), str(refused)
