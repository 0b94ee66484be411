"""What one task state-change event leads to."""

from typing import Any

import pytest

from dagy_control.events.decide import (
    Act,
    EventPolicy,
    EventSnapshot,
    Reading,
    decide,
    later_delay_s,
    overtaken,
    read_event,
)
from dagy_control.model.events import ReceivedEvent
from dagy_control.model.runs import Run, RunStatus
from dagy_control.model.tasks import SeenTask
from tests.builders import (
    INSTALLATION,
    NOW,
    OTHER_ARN,
    WORKER,
    a_run,
    ago,
    launching,
    result,
    running,
    stopped,
    task_of,
)

POLICY = EventPolicy(installation=INSTALLATION, container_name=WORKER, set_aside_after=5)


@pytest.mark.parametrize(
    ("task", "receive_count", "reading"),
    [
        pytest.param(stopped(running()), 1, Reading.JUDGE, id="ours, stopped"),
        pytest.param(stopped(running(), last_status="DELETED"), 1, Reading.JUDGE, id="ours, deleted"),
        pytest.param(task_of(running()), 1, Reading.NOT_ENDED, id="ours, running"),
        pytest.param(task_of(running(), stop_code="SpotInterruption", desired_status="STOPPED"), 1, Reading.NOT_ENDED, id="a Spot warning"),
        pytest.param(stopped(running(), started_by=""), 1, Reading.NOT_OURS, id="nobody's"),
        pytest.param(stopped(running(), started_by="staging/r1/1"), 1, Reading.NOT_OURS, id="another installation's"),
        pytest.param(None, 4, Reading.UNREADABLE, id="unreadable: the queue's own redrive may take it"),
        pytest.param(None, 5, Reading.SET_ASIDE, id="unreadable too often"),
    ],
)  # fmt: skip
def test_an_event_is_read_before_any_record_is(task: SeenTask | None, receive_count: int, reading: Reading) -> None:
    event = ReceivedEvent(receipt="r", message_id="m", task=task, receive_count=receive_count)
    assert read_event(event, POLICY) is reading


@pytest.mark.parametrize(
    ("run", "values", "act"),
    [
        pytest.param(running(), {}, Act.END, id="its run runs"),
        pytest.param(None, {}, Act.DROP, id="no such run"),
        pytest.param(a_run(RunStatus.SUCCEEDED), {}, Act.DROP, id="the run is over"),
        pytest.param(running(attempt=2), {}, Act.DROP, id="the run has gone on to another attempt"),
        pytest.param(a_run(RunStatus.QUEUED), {}, Act.DROP, id="the run waits for another try"),
        pytest.param(running(external_id=OTHER_ARN), {}, Act.DROP, id="a surplus task of this attempt"),
        pytest.param(launching(), {}, Act.LATER, id="faster than our own record"),
        pytest.param(launching(), {"receive_count": 7}, Act.LATER, id="faster than our own record, once more"),
        pytest.param(launching(), {"receive_count": 8}, Act.DROP, id="faster than our own record, too often"),
        pytest.param(launching(attempt=2), {}, Act.DROP, id="the run is launching another attempt"),
    ],
)
def test_an_event_of_a_stopped_task(run: Run | None, values: dict[str, Any], act: Act) -> None:
    decided = decide(EventSnapshot(run=run, task=stopped(running()), **values), POLICY, NOW)
    assert decided.act is act
    assert (decided.outcome is not None) == (act is Act.END)
    assert decided.why


@pytest.mark.parametrize(
    ("run", "values", "ending", "rule"),
    [
        pytest.param(running(), {}, "FAILED", "exit_code", id="by its exit code"),
        pytest.param(running(cancel_requested_at=ago(1)), {}, "CANCELLED", "our_cause", id="by the cancel on record"),
        pytest.param(running(), {"stored_result": result()}, "SUCCEEDED", "worker_result", id="by the result in S3"),
        pytest.param(running(for_s=1), {}, "FAILED", "exit_code", id="however young the run"),
    ],
)
def test_an_event_ends_its_run_by_the_same_rules_as_reconciling(
    run: Run, values: dict[str, Any], ending: str, rule: str
) -> None:
    decided = decide(EventSnapshot(run=run, task=stopped(run), **values), POLICY, NOW)
    assert decided.outcome is not None
    assert (decided.outcome.ending, decided.outcome.rule) == (ending, rule)


def an_event(number: int, version: int, arn: str = "a") -> ReceivedEvent:
    return ReceivedEvent(receipt=f"r{number}", message_id="m", task=stopped(running(), arn=arn, version=version))


@pytest.mark.parametrize(
    ("versions", "done", "stale"),
    [
        pytest.param([3], {}, set(), id="alone"),
        pytest.param([3, 5], {}, {"r0"}, id="in order"),
        pytest.param([5, 3], {}, {"r1"}, id="out of order"),
        pytest.param([5, 5], {}, {"r1"}, id="a duplicate"),
        pytest.param([4, 5, 3, 5], {}, {"r0", "r2", "r3"}, id="many"),
        pytest.param([4], {"a": 5}, {"r0"}, id="older than one that has had its effect"),
        pytest.param([5], {"a": 5}, {"r0"}, id="a duplicate of one that has had its effect"),
        pytest.param([6, 5], {"a": 5}, {"r1"}, id="newer than one that has had its effect"),
        pytest.param([4], {"b": 5}, set(), id="another task's"),
        pytest.param([0, 0], {"a": 5}, set(), id="without a version"),
    ],
)
def test_of_each_tasks_events_only_the_newest_is_looked_at(
    versions: list[int], done: dict[str, int], stale: set[str]
) -> None:
    events = [an_event(number, version) for number, version in enumerate(versions)]
    assert overtaken([*events, an_event(99, 1, arn="c")], done) == stale


def test_an_event_that_came_too_soon_is_looked_at_for_a_minute_and_a_half() -> None:
    delays = [later_delay_s(count, POLICY) for count in range(1, POLICY.later_max)]
    assert delays == [1, 2, 4, 8, 16, 30, 30], (
        "longer than launching.reply_timeout_s, after which a lost reply is asked for again"
    )
