"""A scan of 10,000 tasks: how many calls it makes, what it keeps, how long it holds the event loop."""

import asyncio
from collections import Counter
from datetime import datetime
from typing import Any

import pytest

from dagy_control.kernel.tasks import background
from dagy_control.model.tasks import SeenTask
from dagy_control.orphans import decide
from dagy_control.orphans.criteria import Criteria, Judgement, StateTable, Suspect, judge
from dagy_control.orphans.effects import JUDGED_AT_ONCE
from dagy_control.orphans.listing import list_tasks
from tests.builders import INSTALLATION, running, task_of
from tests.unit.orphans.world import RETRAINING, TRADING, World

TASKS = 10_000
OURS = 2_550
EACH = 2_450
"""Tasks of each state table; the others are strangers."""

BACKTESTS = StateTable(
    name="backtests", table="BACKTESTS", key_attribute="backtest_id", task_tag="backtest_id", status_attribute="status",
    terminal_statuses=frozenset({"over"}), arn_attribute="task_arn", check_arn=False,
)  # fmt: skip
TABLES = (RETRAINING, TRADING, BACKTESTS)


def large() -> World:
    """Everything is healthy."""
    criteria = Criteria(installation=INSTALLATION, state_tables=TABLES)
    world = World(criteria=criteria)
    world.runs.seed(*(running(run_id=f"run-{number}", external_id=arn(number)) for number in range(OURS)))
    world.tasks.add(*(task_of(running(run_id=f"run-{number}"), arn=arn(number)) for number in range(OURS)))
    number = OURS
    for table in TABLES:
        keys = [f"key-{index}" for index in range(EACH)]
        world.tables.tables[table.table] = [{table.key_attribute: key, "status": "running"} for key in keys]
        for key in keys:
            world.tasks.add(tagged(number, {table.task_tag: key, "team": "x", "cost": "y"}))
            number += 1
    world.tasks.add(*(tagged(each, {"team": "x"}) for each in range(number, TASKS)))
    return world


def tagged(number: int, tags: dict[str, str]) -> SeenTask:
    return task_of(running(), arn=arn(number), started_by="", tags=tags)


def arn(number: int) -> str:
    return f"arn:aws:ecs:us-east-1:123456789012:task/main/{number:032x}"


async def test_calls_are_one_for_each_hundred_tasks_listed_and_described_and_each_hundred_keys_read() -> None:
    world = large()
    data = await world.scan()
    assert data["summary"] == {"total_running": TASKS, "orphans_found": 0, "tasks_stopped": 0, "dry_run": False}
    assert Counter(world.tasks.calls) == {"list_running": 100, "describe": 100}
    assert Counter(world.runs.calls) == {"glance_many": 26}
    assert Counter(world.tables.calls) == {"read": 3 * 25}
    assert world.suspicions.calls == [], "suspicions are read of those only that need one"


async def test_a_listing_keeps_neither_tags_nor_whole_tasks() -> None:
    world = large()
    listing = await world.clock.run(list_tasks(world.tasks, world.clock, "main", world.policy.criteria, timeout_s=60))
    assert len(listing.tasks) == TASKS
    for task in listing.tasks[:: TASKS // 50]:
        held: list[Any] = [getattr(task, name) for name in task.__slots__]
        assert not any(isinstance(each, SeenTask | dict) for each in held)


async def test_no_more_tasks_are_judged_between_two_turns_of_the_event_loop_than_are_done_in_no_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns = 0
    judged: Counter[int] = Counter()

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)  # noqa: TID251 - counts the turns of the event loop

    def counted(suspect: Suspect, criteria: Criteria, now: datetime) -> Judgement:
        judged[turns] += 1
        return judge(suspect, criteria, now)

    monkeypatch.setattr(decide, "judge", counted)
    world = large()
    async with background(turn(), name="turns"):
        snapshot = await world.loop._effects.load(world.policy, world.clock.now())
    assert snapshot.review.verdicts.total() == judged.total() == TASKS
    assert max(judged.values()) <= JUDGED_AT_ONCE
