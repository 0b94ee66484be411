"""The smaller tables' ports, held to their docstrings over the fakes and over DynamoDB."""

import uuid
import zlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeAlias

import pytest
import pytest_asyncio

from dagy_control.adapters.attributes import UnreadableRecord, Value, to_item
from dagy_control.adapters.dynamo_flows import DynamoFlows
from dagy_control.adapters.dynamo_orphans import DynamoStateTables, DynamoSuspicions
from dagy_control.adapters.dynamo_task_runs import DynamoTaskRuns
from dagy_control.errors import Conflict, Permanent
from dagy_control.model.flows import FlowRecord, FlowSpec, FlowStatus, ParameterSpec, TaskSpec
from dagy_control.model.suspicions import Suspicion
from dagy_control.model.tables import DEP_PACKAGES, FLOWS, ORPHANS, TASK_RUNS
from dagy_control.model.task_runs import TaskRun, task_run_id
from tests.builders import NOW, ago
from tests.contract.conftest import Aws
from tests.fakes.flows import FakeFlows
from tests.fakes.orphans import FakeStateTables, FakeSuspicions
from tests.fakes.task_runs import FakeTaskRuns

pytestmark = pytest.mark.asyncio(loop_scope="session")

AnyTaskRuns: TypeAlias = "FakeTaskRuns | DynamoTaskRuns"
AnyFlows: TypeAlias = "FakeFlows | DynamoFlows"
AnySuspicions: TypeAlias = "FakeSuspicions | DynamoSuspicions"


@pytest_asyncio.fixture(loop_scope="session")
async def task_runs(store: Aws | None) -> AnyTaskRuns:
    if store is None:
        return FakeTaskRuns()
    return DynamoTaskRuns(store.clients.dynamodb, store.calls, store.clock, table=await store.table(TASK_RUNS))


def a_task_run(key: str = "extract", **values: Any) -> TaskRun:
    defaults: dict[str, Any] = {
        "run_id": "r1",
        "task_run_id": task_run_id(1, key),
        "task_name": key,
        "status": "SUCCEEDED",
        "attempts": 2,
        "run_attempt": 1,
    }
    return TaskRun(**{**defaults, **values})


async def test_a_task_run_survives_whole(task_runs: AnyTaskRuns) -> None:
    row = a_task_run(
        org_id="acme",
        started_at=ago(9),
        completed_at=NOW,
        duration_seconds=9.25,
        peak_memory_mb=101.5,
        error_type="ValueError",
        error_message="no",
        trace_uri="s3://b/k",
    )
    await task_runs.put_many([row])
    assert list(await task_runs.of_run("r1")) == [row]


async def test_task_runs_of_one_run_come_by_id_and_the_last_write_of_each_counts(task_runs: AnyTaskRuns) -> None:
    rows = [a_task_run(f"task-{number:02d}") for number in range(60)]
    await task_runs.put_many([*reversed(rows), a_task_run(run_id="r2")])
    newest = replace(rows[3], status="FAILED")
    await task_runs.put_many([rows[3], newest])
    await task_runs.put_many([])
    assert list(await task_runs.of_run("r1")) == [*rows[:3], newest, *rows[4:]]
    assert list(await task_runs.of_run("r3")) == []


@pytest_asyncio.fixture(loop_scope="session")
async def flows(store: Aws | None) -> AnyFlows:
    if store is None:
        return FakeFlows()
    return DynamoFlows(store.clients.dynamodb, store.calls, table=await store.table(FLOWS))


SPEC = FlowSpec(
    name="etl",
    version="1",
    import_path="flows:etl",
    parameters=(ParameterSpec("day", required=False, default=None),),
    tasks=(TaskSpec("extract", "extract", "flows:extract", args=({"$param": "day"},)),),
)


def a_flow(version: str = "1", *, registered_s_ago: float = 0, **values: Any) -> FlowRecord:
    defaults: dict[str, Any] = {
        "org_id": "acme",
        "flow_name": "etl",
        "flow_version": version,
        "spec": replace(SPEC, version=version),
        "import_path": "flows:etl",
        "artifact_s3_uri": f"s3://b/{version}.zip",
        "artifact_sha256": "a" * 64,
        "artifact_size_bytes": 1234,
        "status": FlowStatus.ACTIVE,
        "registered_at": ago(registered_s_ago),
    }
    return FlowRecord(**{**defaults, **values})


async def test_a_flow_of_ten_thousand_tasks_is_registered_and_read_back_whole(flows: AnyFlows) -> None:
    """As plain text it would be six times what an item holds (400 KB)."""
    many = tuple(
        TaskSpec(f"extract.{number}", "extract", "flows:extract", args=({"$param": "day"}, number))
        for number in range(10_000)
    )
    record = a_flow(spec=replace(SPEC, tasks=many))
    await flows.put(record)
    assert await flows.get("acme", "etl", "1") == record


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ({"B": b"no zlib"}, "no zlib data"),
        ({"B": zlib.compress(b"{}" * 50_000)[:100]}, "cut off"),
        ({"B": zlib.compress(b" " * (64 * 1024 * 1024 + 1))}, "more than 67,108,864 bytes"),
    ],
    ids=["something else", "cut off", "a bomb"],
)
async def test_a_compressed_flow_that_cannot_be_read_is_refused_by_its_name(aws: Aws, stored: Value, said: str) -> None:
    table = await aws.table(FLOWS)
    flows = DynamoFlows(aws.clients.dynamodb, aws.calls, table=table)
    await flows.put(a_flow())
    item = await aws.get_item(table, flow_key="acme#etl", flow_version="1")
    await aws.put_item(table, {**item, "spec": stored})
    with pytest.raises(UnreadableRecord, match=f"acme#etl/1: .*{said}"):
        await flows.get("acme", "etl", "1")


async def test_a_registered_version_is_read_back_whole(flows: AnyFlows) -> None:
    await flows.put(a_flow())
    assert await flows.get("acme", "etl", "1") == a_flow()
    assert await flows.get("acme", "etl", "2") is None
    assert await flows.get("other", "etl", "1") is None


async def test_without_a_version_the_newest_registered_active_one_is_meant(flows: AnyFlows) -> None:
    assert await flows.get("acme", "etl") is None
    await flows.put(a_flow("1", registered_s_ago=20))
    await flows.put(a_flow("10", registered_s_ago=10))
    await flows.put(a_flow("9", registered_s_ago=5, status=FlowStatus.RETIRED))
    found = await flows.get("acme", "etl")
    assert found is not None
    assert found.flow_version == "10"


@pytest.mark.parametrize("registered_at", [{}, {"registered_at": "yesterday"}], ids=["none", "nonsense"])
async def test_a_version_without_a_readable_time_is_named_and_not_a_bug(
    aws: Aws, registered_at: dict[str, str]
) -> None:
    table = await aws.table(FLOWS)
    item = {"flow_key": "acme#etl", "flow_version": "7", "status": "ACTIVE", **registered_at}
    await aws.put_item(table, to_item(item))
    with pytest.raises(UnreadableRecord, match=r"acme#etl/7.*registered_at"):
        await DynamoFlows(aws.clients.dynamodb, aws.calls, table=table).get("acme", "etl")


async def test_the_same_artifact_again_succeeds_and_keeps_the_first_registration(flows: AnyFlows) -> None:
    await flows.put(a_flow(registered_s_ago=100))
    await flows.put(a_flow(registered_s_ago=0, status=FlowStatus.RETIRED))
    assert await flows.get("acme", "etl", "1") == a_flow(registered_s_ago=100, status=FlowStatus.RETIRED)


async def test_a_version_never_changes_its_artifact(flows: AnyFlows) -> None:
    await flows.put(a_flow())
    with pytest.raises(Conflict) as conflict:
        await flows.put(a_flow(artifact_sha256="b" * 64))
    assert conflict.value.current == a_flow()
    assert await flows.get("acme", "etl", "1") == a_flow()


async def test_an_organisation_sees_its_own_flows_by_name_and_version(flows: AnyFlows) -> None:
    for name, version in (("zip", "1"), ("etl", "2"), ("etl", "1")):
        await flows.put(a_flow(version, flow_name=name))
    await flows.put(a_flow(org_id="other"))
    found = [(record.flow_name, record.flow_version) for record in await flows.of_org("acme")]
    assert found == [("etl", "1"), ("etl", "2"), ("zip", "1")]


@pytest_asyncio.fixture(loop_scope="session")
async def suspicions(store: Aws | None) -> AnySuspicions:
    if store is None:
        return FakeSuspicions()
    return DynamoSuspicions(store.clients.dynamodb, store.calls, store.clock, table=await store.table(ORPHANS))


def a_suspicion(arn: str, reason: str = "no record") -> Suspicion:
    return Suspicion(task_arn=arn, reason=reason, first_seen=ago(60), last_seen=NOW, expires_at=NOW + timedelta(days=1))


async def test_suspicions_are_kept_by_task_beyond_one_batch(suspicions: AnySuspicions) -> None:
    arns = [f"arn:{number}" for number in range(120)]
    await suspicions.put_many([a_suspicion(arn) for arn in arns])
    assert await suspicions.get_many([*arns, arns[0], "arn:unknown"]) == {arn: a_suspicion(arn) for arn in arns}
    assert await suspicions.get_many([]) == {}


async def test_a_suspicion_is_replaced_whole(suspicions: AnySuspicions) -> None:
    await suspicions.put_many([a_suspicion("arn:1")])
    await suspicions.put_many([a_suspicion("arn:1"), a_suspicion("arn:1", "too long")])
    assert (await suspicions.get_many(["arn:1"]))["arn:1"].reason == "too long"


ITEMS: Sequence[dict[str, Any]] = [
    {"slug": f"m{number}", "status": "RUNNING", "runs": number, "rate": 0.5, "more": {"a": [1, None]}}
    for number in range(130)
]


@pytest_asyncio.fixture(loop_scope="session")
async def states(store: Aws | None) -> tuple[FakeStateTables | DynamoStateTables, str]:
    """A state table of 130 items, keyed by `slug`."""
    if store is None:
        return FakeStateTables({"states": ITEMS}), "states"
    table = await store.table(DEP_PACKAGES)
    for item in ITEMS:
        await store.put_item(table, to_item(item))
    return DynamoStateTables(store.clients.dynamodb, store.calls, store.clock), table


async def test_a_state_table_answers_the_items_that_exist_reduced_to_the_attributes(
    states: tuple[FakeStateTables | DynamoStateTables, str],
) -> None:
    tables, name = states
    keys = [str(item["slug"]) for item in ITEMS]
    found = await tables.read(name, "slug", [*keys, "absent", keys[0]], ["status", "runs", "nothing"])
    assert found == {key: {"status": "RUNNING", "runs": number} for number, key in enumerate(keys)}
    one = await tables.read(name, "slug", ["m7"], ["slug", "rate", "more"])
    assert one == {"m7": {"slug": "m7", "rate": 0.5, "more": {"a": [1, None]}}}
    assert await tables.read(name, "slug", [], ["status"]) == {}


async def test_a_state_table_that_is_not_there_is_refused_not_empty(
    states: tuple[FakeStateTables | DynamoStateTables, str],
) -> None:
    with pytest.raises(Permanent) as refused:
        await states[0].read(f"absent-{uuid.uuid4().hex}", "slug", ["m1"], ["status"])
    assert refused.value.code == "ResourceNotFoundException"
