"""`ports.Runs`, held to its docstrings over the fake and over DynamoDB."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeAlias

import pytest
import pytest_asyncio

from dagy_control.adapters.active_pages import ActivePages
from dagy_control.adapters.dynamo_runs import DynamoRuns
from dagy_control.adapters.run_codec import RUN_ATTRIBUTES
from dagy_control.errors import Conflict, Permanent
from dagy_control.model.failures import RetryPolicy
from dagy_control.model.lifecycle import claim_attempt, claim_launch, commit_result, record_task, request_cancel
from dagy_control.model.runs import (
    ACTIVE_SHARDS,
    ActiveRun,
    FailureClass,
    Run,
    RunChange,
    RunGlance,
    RunStatus,
    StopCause,
    Transition,
    active_key,
    active_view,
)
from dagy_control.model.tables import RUNS
from tests.builders import ARN, NOW, ago, committed, launching, result, running
from tests.builders import a_run as built_run
from tests.contract.conftest import Aws
from tests.fakes.runs import FakeRuns

pytestmark = pytest.mark.asyncio(loop_scope="session")

AnyRuns: TypeAlias = "FakeRuns | DynamoRuns"


@pytest_asyncio.fixture(loop_scope="session")
async def runs(store: Aws | None) -> AnyRuns:
    return FakeRuns(page_size=2) if store is None else await dynamo_runs(store)


@pytest_asyncio.fixture(loop_scope="session")
async def dynamo(aws: Aws) -> DynamoRuns:
    return await dynamo_runs(aws)


async def dynamo_runs(aws: Aws) -> DynamoRuns:
    table = await aws.table(RUNS)
    adapter = DynamoRuns(aws.clients.dynamodb, aws.calls, aws.clock, table=table)
    adapter._pages = ActivePages(aws.clients.dynamodb, aws.calls.of("dynamodb"), table, page_max=2)
    return adapter


def a_run(status: RunStatus = RunStatus.QUEUED, **values: Any) -> Run:
    return built_run(status, **{"run_id": str(uuid.uuid4()), **values})


async def listed(runs: AnyRuns, status: RunStatus, **options: Any) -> list[ActiveRun]:
    return [run async for page in runs.active(status, **options) for run in page]


def by_id(runs: Sequence[ActiveRun]) -> dict[str, ActiveRun]:
    return {run.run_id: run for run in runs}


async def test_an_unknown_run_is_none(runs: AnyRuns) -> None:
    assert await runs.get("nobody") is None


FULL: dict[str, Any] = {
    **committed(result(failure_class=FailureClass.USER_ERROR)),
    "priority": 5,
    "not_before": ago(1.5),
    "launch_sent_at": ago(20),
    "launch_sends": 2,
    "started_at": ago(10),
    "external_id": ARN,
    "cluster": "main",
    "cancel_requested_at": ago(2),
    "stop_cause": StopCause.CANCELLED,
    "queued_at": ago(3),
    "launching_at": ago(3),
    "completed_at": NOW,
    "flow_version": "1.2",
    "deployment_name": "nightly",
    "parent_correlation_id": "batch-1",
    "idempotency_key": "k",
    "retry_of": "r0",
    "workload_profile": "small",
    "cpu": 256,
    "memory": 512,
    "ephemeral_storage_gib": 21,
    "capacity_provider": "FARGATE_SPOT",
    "environment": {"A": "1", "EMPTY": ""},
    "parameters": '{"day": "2026-01-01"}',
    "launch_token": "t" * 64,
    "launch_request": "{}",
    "duration_seconds": 12.25,
    "exit_code": 0,
    "stop_code": "EssentialContainerExited",
    "stopped_reason": "done",
    "evidence": {"task_arn": ARN, "containers": [{"name": "w", "exit_code": None}], "version": 7, "ratio": 0.5},
    "failure_class": FailureClass.OUT_OF_MEMORY,
    "error_message": "no memory",
    "estimated_cost_usd": 0.00012345,
    "transitions": (
        Transition(at=ago(9), from_status="QUEUED", to_status="LAUNCHING", attempt=1, by="daemon", why="try 1"),
    ),
}


async def test_every_attribute_survives_the_store(runs: AnyRuns) -> None:
    run = a_run(RunStatus.RUNNING, **FULL)
    assert {name for name in RUN_ATTRIBUTES if getattr(run, name) is None} == {"op_id"}, "the test names all of them"
    assert await runs.create(run, "op-1") == replace(run, op_id="op-1")
    assert await runs.get(run.run_id) == replace(run, op_id="op-1")


async def test_a_second_create_conflicts_and_shows_the_first(runs: AnyRuns) -> None:
    run = a_run()
    await runs.create(run, "op-1")
    with pytest.raises(Conflict) as conflict:
        await runs.create(replace(run, flow_name="other"), "op-2")
    assert conflict.value.current == replace(run, op_id="op-1")


async def test_a_create_repeated_after_a_lost_reply_succeeds(runs: AnyRuns) -> None:
    run = a_run()
    first = await runs.create(run, "op-1")
    assert await runs.create(run, "op-1") == first


async def test_a_change_writes_its_fields_version_op_id_and_transition(runs: AnyRuns) -> None:
    run = await runs.create(a_run(), "op-1")
    change = claim_launch(run, request="{}", provider="FARGATE", cluster="main", now=NOW, by="daemon")
    after = await runs.change(change, "op-2")
    assert (after.status, after.version, after.op_id) == (RunStatus.LAUNCHING, run.version + 1, "op-2")
    assert [each.to_status for each in after.transitions] == ["LAUNCHING"]
    assert await runs.get(run.run_id) == after


async def test_transitions_append_in_order(runs: AnyRuns) -> None:
    run = await runs.create(a_run(), "op-1")
    change = claim_launch(run, request="{}", provider="FARGATE", cluster="main", now=NOW, by="daemon")
    run = await runs.change(change, "op-2")
    run = await runs.change(record_task(run, task_arn=ARN, why="started", now=NOW, by="daemon"), "op-3")
    assert [each.to_status for each in run.transitions] == ["LAUNCHING", "RUNNING"]


async def test_none_removes_an_attribute(runs: AnyRuns) -> None:
    run = await runs.create(a_run(not_before=NOW), "op-1")
    change = claim_launch(run, request="{}", provider="FARGATE", cluster="main", now=NOW, by="daemon")
    assert (await runs.change(change, "op-2")).not_before is None


async def test_a_change_of_an_old_version_conflicts_and_shows_the_run_as_it_is(runs: AnyRuns) -> None:
    run = await runs.create(launching(run_id=str(uuid.uuid4())), "op-1")
    change = record_task(run, task_arn=ARN, why="", now=NOW, by="a")
    winner = await runs.change(change, "op-2")
    with pytest.raises(Conflict) as conflict:
        await runs.change(change, "op-3")
    assert conflict.value.current == winner


async def test_a_change_repeated_after_a_lost_reply_succeeds_once(runs: AnyRuns) -> None:
    run = await runs.create(launching(run_id=str(uuid.uuid4())), "op-1")
    change = record_task(run, task_arn=ARN, why="", now=NOW, by="a")
    first = await runs.change(change, "op-2")
    assert await runs.change(change, "op-2") == first
    assert first.version == run.version + 1


async def test_a_change_of_a_run_that_is_not_there_conflicts_with_nothing(runs: AnyRuns) -> None:
    for version in (0, 1):
        change = RunChange(run_id="nobody", expected_version=version, fields={"stop_cause": StopCause.CANCELLED})
        with pytest.raises(Conflict) as conflict:
            await runs.change(change, "op-1")
        assert conflict.value.current is None
    assert await runs.get("nobody") is None


async def test_a_terminal_status_never_changes(runs: AnyRuns) -> None:
    run = await runs.create(a_run(RunStatus.SUCCEEDED), "op-1")
    change = RunChange(run_id=run.run_id, expected_version=run.version, fields={"status": RunStatus.FAILED})
    with pytest.raises(Conflict) as conflict:
        await runs.change(change, "op-2")
    assert conflict.value.current == run


async def test_of_twenty_writers_of_one_version_exactly_one_wins(runs: AnyRuns) -> None:
    run = await runs.create(launching(run_id=str(uuid.uuid4())), "op-0")

    async def write(number: int) -> bool:
        arn = ARN[:-4] + f"{number:04d}"
        try:
            await runs.change(record_task(run, task_arn=arn, why="", now=NOW, by="w"), f"op-{number}")
        except Conflict:
            return False
        return True

    assert sum(await asyncio.gather(*map(write, range(1, 21)))) == 1


async def test_of_twenty_creators_of_one_id_exactly_one_wins(runs: AnyRuns) -> None:
    run = a_run()

    async def create(number: int) -> bool:
        try:
            await runs.create(run, f"op-{number}")
        except Conflict:
            return False
        return True

    assert sum(await asyncio.gather(*map(create, range(20)))) == 1


async def test_active_lists_every_run_of_a_status_over_all_shards_and_pages(runs: AnyRuns) -> None:
    queued = [await runs.create(a_run(), "op") for _ in range(40)]
    await runs.create(running(run_id=str(uuid.uuid4())), "op")
    found = await listed(runs, RunStatus.QUEUED)
    assert by_id(found) == by_id([active_view(run) for run in queued])
    assert len(found) == 40


async def test_an_active_entry_shows_all_that_the_loops_read(runs: AnyRuns) -> None:
    run = await runs.create(a_run(RunStatus.RUNNING, **FULL), "op")
    assert await listed(runs, RunStatus.RUNNING) == [active_view(run)]


async def test_an_empty_listing_has_no_pages(runs: AnyRuns) -> None:
    assert [page async for page in runs.active(RunStatus.LAUNCHING)] == []


async def test_within_a_shard_the_oldest_come_first_and_the_limit_holds(runs: AnyRuns) -> None:
    same_shard = [f"run-{number}" for number in range(400) if _shard(f"run-{number}") == 3][:7]
    for age, run_id in enumerate(same_shard):
        await runs.create(a_run(run_id=run_id, active_since=ago(age)), "op")
    oldest_first = list(reversed(same_shard))
    assert [run.run_id for run in await listed(runs, RunStatus.QUEUED)] == oldest_first
    assert [run.run_id for run in await listed(runs, RunStatus.QUEUED, limit=3)] == oldest_first[:3]


def _shard(run_id: str) -> int:
    return int(active_key("ecs", "QUEUED", run_id).rsplit("#", 1)[-1])


async def test_a_run_moves_through_the_index_and_leaves_it_when_it_ends(runs: AnyRuns) -> None:
    run = await runs.create(a_run(), "op-1")
    change = claim_launch(run, request="{}", provider="FARGATE", cluster="main", now=NOW, by="daemon")
    run = await runs.change(change, "op-2")
    assert await listed(runs, RunStatus.QUEUED) == []
    assert by_id(await listed(runs, RunStatus.LAUNCHING)).keys() == {run.run_id}
    claim = claim_attempt(run, attempt=1, task_arn=ARN, now=NOW)
    assert isinstance(claim, RunChange)
    run = await runs.change(claim, "op-3")
    assert by_id(await listed(runs, RunStatus.RUNNING)).keys() == {run.run_id}
    end = commit_result(run, result(), RetryPolicy(), task_arn=ARN, now=NOW + timedelta(seconds=5))
    assert isinstance(end, RunChange)
    run = await runs.change(end, "op-4")
    assert (run.status, run.active_since, run.duration_seconds) == (RunStatus.SUCCEEDED, None, 5.0)
    for status in RunStatus:
        assert await listed(runs, status) == []


async def test_a_cancelled_queued_run_is_terminal_and_out_of_the_index(runs: AnyRuns) -> None:
    run = await runs.create(a_run(), "op-1")
    change = request_cancel(run, now=NOW, by="api")
    assert change is not None
    assert (await runs.change(change, "op-2")).status is RunStatus.CANCELLED
    assert await listed(runs, RunStatus.QUEUED) == []


async def test_runs_of_another_executor_are_listed_apart(runs: AnyRuns) -> None:
    run = await runs.create(a_run(executor="other"), "op-1")
    assert await listed(runs, RunStatus.QUEUED) == []
    assert by_id(await listed(runs, RunStatus.QUEUED, executor="other")).keys() == {run.run_id}


async def test_lists_are_newest_first_limited_and_of_one_organisation_or_flow_only(runs: AnyRuns) -> None:
    org = uuid.uuid4().hex
    mine = [await runs.create(a_run(org_id=org, created_at=ago(age)), "op") for age in (30, 10, 20)]
    await runs.create(a_run(org_id=f"{org}x", created_at=ago(1)), "op")
    other_flow = await runs.create(a_run(org_id=org, flow_name="other", created_at=ago(25)), "op")
    newest = [mine[1], mine[2], other_flow, mine[0]]
    assert list(await runs.by_org(org, limit=10)) == newest
    assert list(await runs.by_org(org, limit=2)) == newest[:2]
    assert list(await runs.by_flow(org, "etl", limit=10)) == [mine[1], mine[2], mine[0]]
    assert list(await runs.by_org("nobody", limit=10)) == []


async def test_a_batch_is_found_by_its_root_correlation(runs: AnyRuns) -> None:
    root = uuid.uuid4().hex
    parent = await runs.create(a_run(correlation_id=root, created_at=ago(50)), "op")
    children = [
        await runs.create(
            a_run(correlation_id=f"{root}.{number}", parent_correlation_id=root, created_at=ago(number)), "op"
        )
        for number in (1, 2)
    ]
    assert [run async for page in runs.of_correlation(root) for run in page] == [*children, parent]
    assert [run async for page in runs.of_correlation(f"{root}.1") for run in page] == []


async def test_the_pages_of_a_batch_hold_it_whole_newest_first(runs: AnyRuns) -> None:
    root = uuid.uuid4().hex
    children = [
        await runs.create(
            a_run(correlation_id=f"{root}.{number}", parent_correlation_id=root, created_at=ago(number)), "op"
        )
        for number in range(130)
    ]
    await runs.create(a_run(correlation_id=f"{root}x"), "op")
    pages = [page async for page in runs.of_correlation(root)]
    assert [run for page in pages for run in page] == children
    assert len(pages) > 1


async def test_a_shards_active_runs_are_counted_up_to_a_bound(runs: AnyRuns) -> None:
    by_shard: Counter[int] = Counter()
    for _ in range(40):
        run = await runs.create(a_run(), "op")
        by_shard[_shard(run.run_id)] += 1
    await runs.create(running(run_id=str(uuid.uuid4())), "op")
    await runs.create(a_run(executor="other"), "op")
    counts = [await runs.count_active(RunStatus.QUEUED, shard, up_to=1000) for shard in range(ACTIVE_SHARDS)]
    assert counts == [by_shard[shard] for shard in range(ACTIVE_SHARDS)]
    fullest = max(by_shard, key=lambda shard: by_shard[shard])
    assert [await runs.count_active(RunStatus.QUEUED, fullest, up_to=bound) for bound in (0, 1, 2)] == [0, 1, 2]
    others = [await runs.count_active(RunStatus.QUEUED, n, executor="other", up_to=9) for n in range(ACTIVE_SHARDS)]
    assert sum(others) == 1


async def test_a_glance_shows_of_every_run_that_exists_what_it_says_and_of_the_others_nothing(runs: AnyRuns) -> None:
    ended = a_run(RunStatus.FAILED, run_id="ended", completed_at=NOW, external_id=ARN)
    for run in (ended, *(a_run(run_id=f"run-{number}") for number in range(120))):
        await runs.create(run, "op")
    glances = await runs.glance_many([*(f"run-{number}" for number in range(120)), "ended", "ended", "unknown"])
    assert len(glances) == 121
    assert glances["ended"] == RunGlance(
        run_id="ended", status=RunStatus.FAILED, attempt=1, external_id=ARN, completed_at=NOW
    )
    assert await runs.glance_many([]) == {}


async def test_a_glance_at_a_record_that_cannot_be_understood_is_none(dynamo: DynamoRuns, aws: Aws) -> None:
    await aws.put_item(dynamo._table, {"run_id": {"S": "strange"}, "status": {"S": "DANCING"}})
    await aws.put_item(dynamo._table, {"run_id": {"S": "empty"}})
    await aws.put_item(dynamo._table, {"run_id": {"S": "handwritten"}, "status": {"S": "RUNNING"}})
    glances = await dynamo.glance_many(["strange", "empty", "handwritten"])
    assert (glances["strange"], glances["empty"]) == (None, None)
    assert glances["handwritten"] == RunGlance(run_id="handwritten", status=RunStatus.RUNNING, attempt=1)


async def test_a_run_written_by_hand_is_read_changed_and_listed(dynamo: DynamoRuns, aws: Aws) -> None:
    item = {
        "run_id": {"S": "by-hand"},
        "status": {"S": "RUNNING"},
        "org_id": {"S": "acme"},
        "external_id": {"S": ARN},
        "started_at": {"S": "2026-01-01T00:00:00Z"},
        "active_key": {"S": "ecs#RUNNING#07"},
        "active_since": {"S": "2026-01-01T00:00:00Z"},
        "note": {"S": "not an attribute of ours"},
    }
    await aws.put_item(dynamo._table, item)
    (seen,) = await listed(dynamo, RunStatus.RUNNING)
    assert (seen.run_id, seen.status, seen.version, seen.attempt) == ("by-hand", RunStatus.RUNNING, 0, 1)
    change = RunChange(run_id="by-hand", expected_version=0, fields={"status": RunStatus.FAILED, "active_since": None})
    after = await dynamo.change(change, "op-1")
    assert (after.status, after.version, after.created_at) == (RunStatus.FAILED, 1, NOW)
    stored = await aws.get_item(dynamo._table, run_id="by-hand")
    assert stored["note"] == item["note"]
    assert "active_key" not in stored


async def test_an_entry_that_cannot_be_read_does_not_hide_the_others_of_its_page(dynamo: DynamoRuns, aws: Aws) -> None:
    good = await dynamo.create(a_run(), "op")
    stored = await aws.get_item(dynamo._table, run_id=good.run_id)
    broken = {**stored, "run_id": {"S": "broken"}, "not_before": {"S": "tomorrow"}}
    await aws.put_item(dynamo._table, broken)
    assert by_id(await listed(dynamo, RunStatus.QUEUED)).keys() == {good.run_id}
    assert [run.run_id for run in await dynamo.by_org("acme", limit=10)] == [good.run_id]
    with pytest.raises(Permanent, match=r"record broken: not_before holds .*tomorrow"):
        await dynamo.get("broken")


async def test_times_are_stored_as_text_that_sorts(dynamo: DynamoRuns, aws: Aws) -> None:
    run = await dynamo.create(a_run(), "op")
    stored = await aws.get_item(dynamo._table, run_id=run.run_id)
    assert stored["created_at"] == {"S": "2025-12-31T22:00:00.000000+00:00"}
    assert stored["flow_key"] == {"S": "acme#etl"}
    assert stored["correlation_root"] == {"S": "batch-1.1"}


async def test_a_run_too_large_for_an_item_is_refused_with_the_attribute_to_blame(dynamo: DynamoRuns) -> None:
    with pytest.raises(Permanent, match="its largest attribute is parameters with 5"):
        await dynamo.create(a_run(parameters="x" * 500_000), "op")


async def test_a_missing_table_is_permanent(aws: Aws) -> None:
    absent = DynamoRuns(aws.clients.dynamodb, aws.calls, aws.clock, table="no-such-table")
    with pytest.raises(Permanent) as refused:
        await absent.get("r1")
    assert refused.value.code == "ResourceNotFoundException"
    with pytest.raises(Permanent):
        await listed(absent, RunStatus.QUEUED)
