"""The bound of the queue: whom it refuses, in what words, and what looking costs."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import count

import pytest

from dagy_control.model.runs import ACTIVE_SHARDS, Run, RunStatus, active_key
from dagy_control.requests.batch import launch_batch
from dagy_control.requests.queue_bound import COUNTED_WHOLE_UP_TO, QueueFull, check_room
from dagy_control.requests.refusals import RequestRefused
from tests.builders import a_run, launching, running
from tests.fakes.clock import VirtualClock
from tests.fakes.runs import FakeRuns
from tests.requesting import POLICY, Requesting

LONG = COUNTED_WHOLE_UP_TO + ACTIVE_SHARDS


def bounded(limit: int, *runs: Run) -> Requesting:
    world = Requesting(policy=replace(POLICY, max_queued_runs=limit))
    world.runs.seed(*runs)
    return world


def queued(number: int) -> list[Run]:
    return [a_run(run_id=f"q{each}") for each in range(number)]


def spread(a_shard: int) -> list[Run]:
    """A queue of exactly so many runs in each shard."""
    left = dict.fromkeys((f"ecs#QUEUED#{shard:02d}" for shard in range(ACTIVE_SHARDS)), a_shard)

    def choose() -> Iterator[Run]:
        for number in count():
            if not any(left.values()):
                return
            key = active_key("ecs", RunStatus.QUEUED, f"q{number}")
            if left[key]:
                left[key] -= 1
                yield a_run(run_id=f"q{number}")

    return list(choose())


async def refused(world: Requesting, **order: object) -> QueueFull:
    before = dict(world.runs.records)
    with pytest.raises(QueueFull) as full:
        await world.launch(**order)
    assert world.runs.records == before
    return full.value


@pytest.mark.parametrize("limit", [1, 5, 100])
async def test_the_last_place_is_given_and_the_next_refused(limit: int) -> None:
    world = bounded(limit, *queued(limit - 1))
    await world.launch()
    full = await refused(world)
    assert full.field == "queue"
    assert str(full) == (
        f"the queue holds {limit} runs; the limit is {limit} (launching.max_queued_runs): launch later, or raise it"
    )


async def test_runs_that_do_not_wait_take_no_place() -> None:
    others = [launching(run_id="l"), running(run_id="r"), a_run(RunStatus.FAILED, run_id="f"), a_run(executor="other")]
    world = bounded(1, *others)
    await world.launch()
    await refused(world)


async def test_a_long_queue_is_judged_by_one_shard() -> None:
    world = bounded(LONG, *spread(LONG // ACTIVE_SHARDS - 1))
    await world.launch()
    assert world.runs.calls.count("count_active") == 1
    world = bounded(LONG, *spread(LONG // ACTIVE_SHARDS))
    assert str(await refused(world)).startswith(f"the queue holds about {LONG:,} runs; the limit is {LONG:,} ")


@pytest.mark.parametrize(
    ("limit", "asked"),
    [
        pytest.param(16, [16 - held for held in range(ACTIVE_SHARDS)], id="short: what is left of the limit"),
        pytest.param(LONG, [LONG // ACTIVE_SHARDS], id="long: one shard's part of it"),
        pytest.param(LONG + 1, [LONG // ACTIVE_SHARDS + 1], id="rounded up"),
    ],
)
async def test_counting_ends_where_more_would_change_nothing(limit: int, asked: list[int]) -> None:
    """A COUNT query is paid by what it reads: of an endless queue no more may be read than of a full one."""
    bounds: list[int] = []

    class Counted(FakeRuns):
        async def count_active(self, status: RunStatus, shard: int, *, executor: str = "ecs", up_to: int) -> int:
            bounds.append(up_to)
            return await super().count_active(status, shard, executor=executor, up_to=up_to)

    runs = Counted(*spread(1))
    with suppress(QueueFull):
        await VirtualClock().run(check_room(runs, executor="ecs", limit=limit, orders=1, seed="r"), limit_s=60)
    assert bounds == asked


async def test_the_shard_that_is_looked_at_differs_from_run_to_run() -> None:
    """One that is fuller than the others must not refuse everybody, nor an empty one let everybody in."""
    one = active_key("ecs", RunStatus.QUEUED, "q0")
    ids = [f"q{number}" for number in range(ACTIVE_SHARDS * LONG)]
    full = [a_run(run_id=each) for each in ids if active_key("ecs", RunStatus.QUEUED, each) == one]
    world = bounded(LONG, *full)
    answers = [await admitted(world) for _ in range(100)]
    assert 80 <= sum(answers) < 100


async def admitted(world: Requesting) -> bool:
    try:
        await world.launch()
    except QueueFull:
        return False
    return True


async def test_a_run_that_is_on_record_is_found_in_a_full_queue_too() -> None:
    world = bounded(1)
    run = await world.launch(idempotency_key="k")
    assert await world.launch(idempotency_key="k") == run
    await refused(world, idempotency_key="other")


async def test_an_order_that_is_wrong_is_told_so_first() -> None:
    world = bounded(1, *queued(1))
    assert (await world.refusal(cpu=3)).field == "cpu"
    assert world.runs.calls == []


async def test_without_a_bound_nothing_is_counted() -> None:
    world = Requesting()
    await world.launch()
    assert "count_active" not in world.runs.calls


# Batches.


async def test_a_batch_asks_once_and_is_refused_whole_when_it_does_not_fit() -> None:
    world = bounded(LONG, *spread(LONG // ACTIVE_SHARDS - 1))
    items = [{"flow_name": "etl", "org_id": "acme", "parameters": {"day": day}} for day in range(17)]
    with pytest.raises(QueueFull) as full:
        await world.done(launch_batch(world.launcher, items, parent_correlation_id="b"))
    assert f"the queue holds about {LONG - 16:,} runs, and 17 are ordered; the limit is {LONG:,}" in str(full.value)
    assert len(world.runs.records) == LONG - 16
    outcome = await world.done(launch_batch(world.launcher, items[:16], parent_correlation_id="b"))
    assert len(outcome.runs) == 16
    assert world.runs.calls.count("count_active") == 2


async def test_a_batch_beyond_what_the_queue_may_ever_hold_is_not_told_to_come_later() -> None:
    world = bounded(4)
    items = [{"flow_name": "etl", "org_id": "acme"}] * 5
    with pytest.raises(RequestRefused, match="5 runs are more than the queue may ever hold: 4") as told:
        await world.done(launch_batch(world.launcher, items, parent_correlation_id="b"))
    assert not isinstance(told.value, QueueFull)
    assert world.runs.calls == []


async def test_orders_that_cannot_be_read_ask_for_no_place() -> None:
    world = bounded(1)
    outcome = await world.done(
        launch_batch(world.launcher, [{"flow_name": "etl", "org_id": "acme"}, 7, 8], parent_correlation_id="b")
    )
    assert (list(outcome.runs), len(outcome.failures)) == ([0], 2)
