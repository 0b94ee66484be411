"""Whom the scanner tells, over a topic that may fail."""

from datetime import timedelta

from dagy_control.errors import Permanent, Transient
from dagy_control.orphans.decide import AlertPolicy
from dagy_control.orphans.request import ScanInput
from tests.builders import ARN, NOW, OTHER_ARN, running, task_of, tick_at
from tests.unit.orphans.world import TOPIC, World, over


def dry() -> World:
    return World(over(), tasks=[task_of(over())], dry_run=True)


def subjects(world: World) -> list[str]:
    return [alert.subject for _, alert in world.alerts.sent]


async def test_the_loop_tells_of_orphans_once_and_again_after_a_day() -> None:
    world = dry()
    for _ in range(3):
        await world.scan()
        await world.clock.advance(300)
    assert subjects(world) == ["[DEV] Orphan Tasks Detected (DRY RUN): 1 tasks"]
    assert world.alerts.sent[0][0] == TOPIC
    await world.clock.advance(86400)
    await world.scan()
    assert len(world.alerts.sent) == 2


async def test_the_loop_tells_of_another_orphan_and_of_one_that_comes_back() -> None:
    world = dry()
    await world.scan()
    world.runs.seed(over("r2"))
    world.tasks.add(task_of(over("r2")))
    await world.scan()
    assert subjects(world)[-1].endswith("2 tasks")
    removed = [world.tasks.tasks.pop(f"{ARN}-{run_id}") for run_id in ("r1", "r2")]
    await world.scan()
    assert len(world.alerts.sent) == 2, "an empty set is no news to anybody"
    world.tasks.add(*removed)
    await world.scan()
    assert len(world.alerts.sent) == 3


async def test_a_scan_by_hand_always_tells_and_takes_nothing_from_the_loops_memory() -> None:
    world = dry()
    await world.scan()
    await world.scan(alert=True)
    await world.scan(alert=True)
    await world.scan()
    assert len(world.alerts.sent) == 3


async def test_a_scan_by_hand_that_finds_more_by_its_own_limit_is_no_change_to_the_loop() -> None:
    world = dry()
    world.runs.seed(running(run_id="r2", external_id=OTHER_ARN))
    world.tasks.add(task_of(running(run_id="r2", external_id=OTHER_ARN)))
    await world.scan()
    strict = ScanInput(max_runtime_hours=0.5).applied(world.policy)
    await world.clock.run(world.loop.scan(tick_at(world.clock), policy=strict, alert=True))
    await world.scan()
    assert [subject[-7:] for subject in subjects(world)] == ["1 tasks", "2 tasks"]


async def test_a_scan_by_nobody_in_particular_tells_nobody() -> None:
    world = dry()
    await world.scan(alert=False)
    assert world.alerts.sent == []


async def test_a_scan_by_hand_that_finds_nothing_tells_nobody() -> None:
    world = World(running(), tasks=[task_of(running())])
    await world.scan(alert=True)
    assert world.alerts.sent == []


async def test_nobody_is_told_where_no_topic_is_set() -> None:
    world = World(over(), tasks=[task_of(over())], alerts=AlertPolicy())
    await world.scan(alert=True)
    assert world.alerts.sent == []


async def test_a_topic_that_fails_fails_no_scan_is_counted_and_tried_again() -> None:
    world = dry()
    world.alerts.next_error("publish", Permanent("no such topic"))
    world.alerts.next_error("publish", Transient("no"))
    for _ in range(3):
        await world.scan()
    assert len(world.alerts.sent) == 1
    assert world.metric("dagy_orphans_alerts_total", outcome="failed") == 2
    assert world.metric("dagy_orphans_alerts_total", outcome="sent") == 1


async def test_orphans_beyond_the_cap_are_told_as_not_stopped() -> None:
    runs = [over(f"run-{number}") for number in range(3)]
    world = World(*runs, tasks=[task_of(run) for run in runs], max_stops_per_scan=2)
    await world.scan()
    ((_, alert),) = world.alerts.sent
    assert alert.subject == "[DEV] Orphan Tasks Detected (NOT STOPPED): 3 tasks"
    assert "orphans.max_stops_per_scan (2)" in alert.body


async def test_an_orphan_whose_stop_fails_is_told_as_not_stopped_and_later_as_stopped() -> None:
    world = World(over(), tasks=[task_of(over())])
    for _ in range(2):
        world.tasks.next_error("stop", Permanent("not authorized to perform ecs:StopTask"))
        await world.scan()
    await world.scan()
    assert subjects(world) == [
        "[DEV] Orphan Tasks Detected (NOT STOPPED): 1 tasks",
        "[DEV] Orphan Tasks Stopped: 1 tasks",
    ]
    assert "1 of 1 stops failed: not authorized to perform ecs:StopTask" in world.alerts.sent[0][1].body


async def test_what_was_stopped_is_told_as_stopped() -> None:
    world = World(over(), tasks=[task_of(over())])
    await world.scan()
    assert subjects(world) == ["[DEV] Orphan Tasks Stopped: 1 tasks"]
    assert world.clock.now() < NOW + timedelta(seconds=1)
