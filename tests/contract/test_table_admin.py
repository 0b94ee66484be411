"""Making tables against a server: complete, repeatable, safe at once, honest about tables that are wrong."""

import asyncio
import uuid
from typing import Any

import pytest

from dagy_control.adapters.table_admin import TableAdmin, TableResult, create_request
from dagy_control.model.tables import LEASES, ORPHANS, RUNS, TABLES, TableSpec
from tests.contract.conftest import Aws

pytestmark = pytest.mark.asyncio(loop_scope="session")


def fresh_names() -> dict[str, str]:
    return {spec.setting: f"{spec.setting}-{uuid.uuid4().hex}" for spec in TABLES}


@pytest.fixture
def admin(aws: Aws) -> TableAdmin:
    return TableAdmin(aws.clients.dynamodb, aws.calls, aws.clock)


async def test_all_tables_are_made_once_and_then_exist(admin: TableAdmin) -> None:
    names = fresh_names()
    assert await admin.create(names) == [TableResult(name, "created") for name in names.values()]
    assert await admin.create(names) == [TableResult(name, "exists") for name in names.values()]


async def test_a_table_is_made_as_it_is_defined(admin: TableAdmin, aws: Aws) -> None:
    names = fresh_names()
    await admin.create(names, (RUNS, ORPHANS))
    described = await aws.clients.dynamodb.describe_table(TableName=names["runs"])
    indexes: dict[str, Any] = {
        index["IndexName"]: index for index in described["Table"].get("GlobalSecondaryIndexes", [])
    }
    assert sorted(indexes) == ["active", "by_correlation", "by_flow", "by_org"]
    assert "launch_request" not in indexes["active"]["Projection"]["NonKeyAttributes"]
    assert described["Table"]["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    expiry = await aws.clients.dynamodb.describe_time_to_live(TableName=names["orphans"])
    assert expiry["TimeToLiveDescription"] == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at"}


async def test_three_at_once_make_each_table_once(admin: TableAdmin) -> None:
    names = fresh_names()
    tables = (LEASES, ORPHANS)
    passes = await asyncio.gather(*(admin.create(names, tables) for _ in range(3)))
    outcomes = [result.outcome for results in passes for result in results]
    assert sorted(outcomes) == ["created"] * 2 + ["exists"] * 4


@pytest.mark.parametrize(
    ("existing", "problem"),
    [
        (TableSpec(setting="runs", hash_key="id"), "its key is (id), not (run_id)"),
        (TableSpec(setting="runs", hash_key="run_id"), "it has no index 'active'"),
    ],
    ids=["another key", "no index"],
)
async def test_a_table_that_cannot_serve_is_named_with_its_problem(
    admin: TableAdmin, aws: Aws, existing: TableSpec, problem: str
) -> None:
    names = fresh_names()
    await aws.clients.dynamodb.create_table(**create_request(existing, names["runs"]))
    (result,) = await admin.create(names, (RUNS,))
    assert (result.table, result.outcome) == (names["runs"], "problem")
    assert result.problem.startswith(problem)
