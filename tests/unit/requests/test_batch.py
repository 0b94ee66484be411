"""Batches: many orders under one parent, each launched or refused for itself, and none of them twice."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from dagy_control.errors import Transient
from dagy_control.model.flows import FlowStatus
from dagy_control.requests.batch import AT_ONCE, BATCH_MAX, BatchOutcome, launch_batch
from dagy_control.requests.executors import Executor
from dagy_control.requests.refusals import RequestRefused
from tests.builders import NOW
from tests.requesting import POLICY, Requesting, a_flow

DOWN = Transient("the table is down")
PARENT = "batch-12345"


def orders(number: int, **values: Any) -> list[dict[str, Any]]:
    return [{"flow_name": "etl", "org_id": "acme", "parameters": {"day": day}, **values} for day in range(number)]


class Batching(Requesting):
    async def batch(self, items: Sequence[object], parent: str = PARENT, **defaults: Any) -> BatchOutcome:
        return await self.done(
            launch_batch(self.launcher, items, parent_correlation_id=parent, defaults=defaults or None)
        )

    async def batch_refused(self, items: Sequence[object], parent: str = PARENT) -> RequestRefused:
        with pytest.raises(RequestRefused) as refused:
            await self.batch(items, parent)
        assert self.runs.calls == []
        return refused.value


async def test_a_batch_becomes_as_many_runs_under_one_parent() -> None:
    world = Batching()
    outcome = await world.batch(orders(BATCH_MAX))
    assert (len(outcome.runs), list(outcome.failures)) == (1000, [])
    assert world.runs.records == {run.run_id: run for run in outcome.runs.values()}
    for index, run in outcome.runs.items():
        assert (run.parent_correlation_id, run.correlation_id) == (PARENT, f"{PARENT}.{index}")
        assert run.parameters == f'{{"day": {index}}}'


async def test_an_orders_own_correlation_id_begins_with_the_parents() -> None:
    outcome = await Batching().batch([*orders(1, correlation_id="eu"), *orders(1, parent_correlation_id=PARENT)])
    assert [run.correlation_id for run in outcome.runs.values()] == [f"{PARENT}.eu", f"{PARENT}.1"]


async def test_defaults_are_for_what_an_order_leaves_open() -> None:
    items = [{"flow_name": "etl"}, {"flow_name": "etl", "org_id": None}, {"flow_name": "etl", "org_id": "emca"}]
    world = Batching(a_flow(), replace(a_flow(), org_id="emca"))
    outcome = await world.batch(items, org_id="acme")
    assert [run.org_id for run in outcome.runs.values()] == ["acme", "acme", "emca"]


async def test_never_more_than_so_many_are_written_at_once() -> None:
    world = Batching()
    begin, under_way, most = world.runs._begin, 0, 0

    async def counted(method: str) -> Exception | None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            await world.clock.sleep(0.01)
            return await begin(method)
        finally:
            under_way -= 1

    world.runs._begin = counted  # type: ignore[method-assign]  # the only place where calls under way can be counted
    await world.batch(orders(100))
    assert most == AT_ONCE


async def test_a_flow_is_read_once_and_the_whole_batch_takes_one_version() -> None:
    world = Batching()
    await world.batch(orders(200))
    assert world.flows.calls.count("get") <= AT_ONCE
    unknown = Batching()
    await unknown.batch(orders(200, flow_name="elt"))
    assert len(unknown.flows.calls) <= 2 * AT_ONCE


# Partial failure.

BAD: Mapping[str, tuple[object, str, str]] = {
    "no object": (7, "", "an order must be a JSON object, not 7"),
    "unknown argument": ({"flow": "etl"}, "flow", "no argument 'flow'"),
    "unknown flow": ({"flow_name": "elt", "org_id": "acme"}, "flow_name", "did you mean 'etl'?"),
    "no organisation": ({"flow_name": "etl"}, "org_id", "missing"),
    "no flow": ({"org_id": "acme"}, "flow_name", "missing"),
    "unknown parameter": ({**orders(1)[0], "parameters": {"dya": 1}}, "parameters", "did you mean 'day'?"),
    "no such size": ({**orders(1)[0], "memory": 3000}, "memory", "512 CPU / 3072 MiB"),
    "a blank key": ({**orders(1)[0], "idempotency_key": " "}, "idempotency_key", "1 to 256 characters"),
    "an endless key": ({**orders(1)[0], "idempotency_key": "k" * 250}, "idempotency_key", "1 to 256 characters"),
    "another parent": ({**orders(1)[0], "parent_correlation_id": "other"}, "parent_correlation_id", PARENT),
    "an odd correlation id": ({**orders(1)[0], "correlation_id": "a b"}, "correlation_id", "characters A-Z"),
    "unavailable executor": ({**orders(1)[0], "executor": "lambda"}, "executor", "'lambda' is not available"),
    "overrides": ({**orders(1)[0], "extra_env_vars": {"A": "x" * 9000}}, "extra_env_vars", "A 9,000"),
}


@pytest.mark.parametrize(("item", "field", "told"), BAD.values(), ids=BAD)
async def test_an_order_that_is_refused_stops_no_other(item: object, field: str, told: str) -> None:
    world = Batching()
    outcome = await world.batch([*orders(2), item, *orders(2)])
    assert sorted(outcome.runs) == [0, 1, 3, 4]
    (failure,) = outcome.failures
    assert (failure.index, failure.field, failure.again) == (2, field, False)
    assert told in failure.message
    assert len(world.runs.records) == 4


async def test_failures_come_in_the_order_of_the_batch() -> None:
    items = [{"flow_name": "elt", "org_id": "acme"}, 1, *orders(1), {"flow_name": "etl", "org_id": "no org"}, None]
    outcome = await Batching().batch(items)
    assert [each.index for each in outcome.failures] == [0, 1, 3, 4]
    assert list(outcome.runs) == [2]


async def test_a_retired_flow_and_a_lost_executor_are_each_orders_own_failure() -> None:
    world = Batching(a_flow(status=FlowStatus.RETIRED), a_flow("other"))
    outcome = await world.batch([*orders(1), *orders(1, flow_name="other", parameters={})])
    assert ([each.field for each in outcome.failures], list(outcome.runs)) == (["flow_version"], [1])
    closed = Batching(policy=replace(POLICY, executors={"ecs": Executor("ecs", ("DAGY_ECS_SUBNETS",))}))
    outcome = await closed.batch(orders(3))
    assert {each.field for each in outcome.failures} == {"executor"}
    assert closed.runs.records == {}


# Again.


async def test_the_same_batch_again_launches_nothing() -> None:
    world = Batching()
    first = await world.batch(orders(50))
    await world.clock.advance(60)
    assert await world.batch(orders(50)) == first
    assert len(world.runs.records) == 50


async def test_an_order_that_was_changed_after_its_launch_is_told_what_its_run_has_instead() -> None:
    world = Batching()
    await world.batch([*orders(1), {**orders(1)[0], "memory": 2048}])
    outcome = await world.batch([*orders(1), {**orders(1)[0], "memory": 4096}])
    assert list(outcome.runs) == [0]
    (failure,) = outcome.failures
    assert (failure.index, failure.field) == (1, "idempotency_key")
    assert "with memory 2048, not 4096: give the changed batch another parent" in failure.message


async def test_another_parent_is_another_batch() -> None:
    world = Batching()
    await world.batch(orders(5))
    await world.batch(orders(5), "batch-12346")
    assert len(world.runs.records) == 10


async def test_mended_orders_are_launched_in_their_places_and_the_others_found() -> None:
    world = Batching()
    items: list[object] = [*orders(3), {"flow_name": "elt", "org_id": "acme"}]
    first = await world.batch(items)
    items[3] = orders(1)[0]
    again = await world.batch(items)
    assert {**first.runs, 3: again.runs[3]} == again.runs
    assert len(world.runs.records) == 4


async def test_an_order_that_has_moved_into_anothers_place_is_not_taken_for_it() -> None:
    world = Batching()
    first = await world.batch(orders(3))
    outcome = await world.batch([{"flow_name": "etl", "org_id": "acme"}, *orders(3)])
    assert [each.field for each in outcome.failures] == ["idempotency_key"] * 3
    assert f"used before, for run {first.runs[0].run_id} of flow etl" in outcome.failures[0].message
    assert list(outcome.runs) == [3]


async def test_orders_with_keys_of_their_own_may_move() -> None:
    world = Batching()
    items = [{**order, "idempotency_key": f"day-{number}"} for number, order in enumerate(orders(4))]
    first = await world.batch(items)
    again = await world.batch(items[::-1])
    assert {run.run_id for run in again.runs.values()} == {run.run_id for run in first.runs.values()}
    assert list(again.failures) == []
    assert len(world.runs.records) == 4


async def test_an_own_key_is_the_batchs_own_and_never_a_place() -> None:
    world = Batching()
    single = await world.launch(idempotency_key="0")
    outcome = await world.batch([{**orders(1)[0], "idempotency_key": "1"}, *orders(1)])
    assert list(outcome.failures) == []
    assert len({single.run_id, *(run.run_id for run in outcome.runs.values())}) == 3


async def test_a_key_twice_in_one_batch_is_refused_at_the_second_unless_organisations_differ() -> None:
    world = Batching(a_flow(), replace(a_flow(), org_id="emca"))
    outcome = await world.batch([*orders(2, idempotency_key="k"), *orders(1, idempotency_key="k", org_id="emca")])
    (failure,) = outcome.failures
    assert (failure.index, failure.field) == (1, "idempotency_key")
    assert failure.message == "order 0 of this batch has the same key; give each its own"
    assert sorted(outcome.runs) == [0, 2]


# The tables are away.


async def test_a_lost_reply_is_a_success_and_one_run() -> None:
    world = Batching()
    world.runs.next_error("create", DOWN, applied=True)
    outcome = await world.batch(orders(3))
    assert (len(outcome.runs), len(world.runs.records)) == (3, 3)


async def test_orders_without_an_answer_may_be_repeated_under_the_same_parent() -> None:
    world = Batching()
    world.runs.next_error("create", DOWN, times=4)
    outcome = await world.batch(orders(1))
    assert [(each.index, each.field, each.again) for each in outcome.failures] == [(0, "", True)]
    again = await world.batch(orders(1))
    assert (list(again.runs), len(world.runs.records)) == ([0], 1)


async def test_a_table_that_stays_away_ends_the_batch_soon_and_every_order_is_told() -> None:
    world = Batching()
    world.runs.next_error("create", DOWN, times=10_000)
    outcome = await world.batch(orders(1000))
    assert len(world.runs.calls) <= 8 * AT_ONCE
    assert [each.index for each in outcome.failures] == list(range(1000))
    assert all(each.again for each in outcome.failures)
    assert outcome.failures[-1].message == "not tried, because orders before it got no answer"


async def test_a_bug_is_raised_and_not_reported_as_an_orders_failure() -> None:
    world = Batching()
    world.runs.next_error("create", ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await world.batch(orders(3))


# The batch as a whole.


@pytest.mark.parametrize("number", [0, BATCH_MAX + 1], ids=["empty", "too many"])
async def test_a_batch_of_a_wrong_size_is_refused_whole(number: int) -> None:
    refused = await Batching().batch_refused(orders(number))
    assert (refused.field, "1 to 1,000 orders" in str(refused)) == ("batch", True)


@pytest.mark.parametrize(
    "parent", ["", "a b", "aws:x", "p" * 125, "batch#1"], ids=["empty", "blank", "aws", "no room", "hash"]
)
async def test_a_parent_that_no_child_could_begin_with_is_refused_whole(parent: str) -> None:
    assert (await Batching().batch_refused(orders(2), parent)).field == "parent_correlation_id"


async def test_the_longest_parent_has_room_for_every_child() -> None:
    outcome = await Batching().batch(orders(BATCH_MAX), "p" * 124)
    assert (len(outcome.runs), outcome.runs[999].created_at) == (1000, NOW)
