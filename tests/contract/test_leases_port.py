"""`ports.Leases`, held to its docstrings over the fake and over DynamoDB."""

import asyncio
import uuid
from dataclasses import replace
from typing import TypeAlias

import pytest
import pytest_asyncio

from dagy_control.adapters.attributes import Item, UnreadableRecord
from dagy_control.adapters.dynamo_leases import DynamoLeases
from dagy_control.errors import Conflict, Permanent
from dagy_control.model.leases import Lease
from dagy_control.model.tables import LEASES
from tests.contract.conftest import Aws
from tests.fakes.leases import FakeLeases

pytestmark = pytest.mark.asyncio(loop_scope="session")

AnyLeases: TypeAlias = "FakeLeases | DynamoLeases"

LEASE = Lease(lease_name="dagy/main/launching", holder="a", epoch=1, nonce="n1", lease_s=2.5)


@pytest_asyncio.fixture(loop_scope="session")
async def leases(store: Aws | None) -> AnyLeases:
    if store is None:
        return FakeLeases()
    return DynamoLeases(store.clients.dynamodb, store.calls, table=await store.table(LEASES))


async def test_a_lease_that_nobody_has_taken_is_none(leases: AnyLeases) -> None:
    assert await leases.get("dagy/main/launching") is None


async def test_a_lease_is_read_back_whole(leases: AnyLeases) -> None:
    await leases.put_if(LEASE, seen_nonce=None)
    assert await leases.get(LEASE.lease_name) == LEASE
    released = replace(LEASE, nonce="n2", released=True)
    await leases.put_if(released, seen_nonce="n1")
    assert await leases.get(LEASE.lease_name) == released
    assert await leases.get("dagy/main/orphans") is None


async def test_a_lease_that_is_there_is_not_written_as_a_new_one(leases: AnyLeases) -> None:
    await leases.put_if(LEASE, seen_nonce=None)
    with pytest.raises(Conflict) as conflict:
        await leases.put_if(replace(LEASE, holder="b", nonce="n2"), seen_nonce=None)
    assert conflict.value.current == LEASE
    assert await leases.get(LEASE.lease_name) == LEASE


async def test_another_nonce_than_the_one_seen_is_a_conflict_and_shows_the_lease_as_it_is(leases: AnyLeases) -> None:
    await leases.put_if(LEASE, seen_nonce=None)
    renewed = replace(LEASE, nonce="n2")
    await leases.put_if(renewed, seen_nonce="n1")
    with pytest.raises(Conflict) as conflict:
        await leases.put_if(replace(LEASE, holder="b", epoch=2, nonce="n3"), seen_nonce="n1")
    assert conflict.value.current == renewed
    assert await leases.get(LEASE.lease_name) == renewed


async def test_a_lease_that_is_gone_is_a_conflict_with_nothing(leases: AnyLeases) -> None:
    with pytest.raises(Conflict) as conflict:
        await leases.put_if(LEASE, seen_nonce="n0")
    assert conflict.value.current is None
    assert await leases.get(LEASE.lease_name) is None


async def test_a_write_that_is_repeated_with_its_nonce_succeeds_once(leases: AnyLeases) -> None:
    await leases.put_if(LEASE, seen_nonce=None)
    await leases.put_if(LEASE, seen_nonce=None)
    renewed = replace(LEASE, nonce="n2")
    await leases.put_if(renewed, seen_nonce="n1")
    await leases.put_if(renewed, seen_nonce="n1")
    assert await leases.get(LEASE.lease_name) == renewed


async def test_of_several_takers_at_once_one_wins(leases: AnyLeases) -> None:
    await leases.put_if(LEASE, seen_nonce=None)
    takers = [replace(LEASE, holder=f"taker-{number}", epoch=2, nonce=f"t{number}") for number in range(8)]
    outcomes = await asyncio.gather(
        *(leases.put_if(taker, seen_nonce="n1") for taker in takers), return_exceptions=True
    )
    winners = [taker for taker, outcome in zip(takers, outcomes, strict=True) if outcome is None]
    assert len(winners) == 1
    assert await leases.get(LEASE.lease_name) == winners[0]
    assert {outcome.current for outcome in outcomes if isinstance(outcome, Conflict)} == set(winners)


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ({"nonce": {"S": "n"}, "epoch": {"N": "1"}}, "it has no holder, lease_s"),
        (
            {"holder": {"S": "a"}, "nonce": {"S": "n"}, "epoch": {"N": "1"}, "lease_s": {"N": "0"}},
            "lease_s is 0.0, not more than 0",
        ),
        ({"epoch": {"S": "one"}}, "epoch holds"),
    ],
    ids=["incomplete", "without a duration", "unreadable"],
)
async def test_an_item_that_is_no_lease_is_refused_by_name(aws: Aws, item: Item, problem: str) -> None:
    table = await aws.table(LEASES)
    await aws.put_item(table, {"lease_name": {"S": "dagy/main/launching"}, **item})
    leases = DynamoLeases(aws.clients.dynamodb, aws.calls, table=table)
    with pytest.raises(UnreadableRecord, match=f"record dagy/main/launching: {problem}"):
        await leases.get("dagy/main/launching")


async def test_an_item_without_the_flag_is_not_released(aws: Aws) -> None:
    table = await aws.table(LEASES)
    item: Item = {
        "lease_name": {"S": LEASE.lease_name},
        "holder": {"S": "a"},
        "nonce": {"S": "n1"},
        "epoch": {"N": "1"},
        "lease_s": {"N": "2.5"},
    }
    await aws.put_item(table, item)
    assert await DynamoLeases(aws.clients.dynamodb, aws.calls, table=table).get(LEASE.lease_name) == LEASE


async def test_a_table_that_is_not_there_is_refused(aws: Aws) -> None:
    leases = DynamoLeases(aws.clients.dynamodb, aws.calls, table=f"absent-{uuid.uuid4().hex}")
    with pytest.raises(Permanent):
        await leases.get(LEASE.lease_name)
