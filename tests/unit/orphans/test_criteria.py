"""When a running task is an orphan."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from dagy_control.model.runs import Run, RunStatus
from dagy_control.model.tasks import TaskIdentity
from dagy_control.orphans.criteria import (
    RULES,
    Criteria,
    Judgement,
    RunningTask,
    StateKey,
    StateRecord,
    StateTable,
    Suspect,
    Verdict,
    judge,
)
from tests.builders import ARN, INSTALLATION, NOW, OTHER_ARN, a_run, ago, launching, running
from tests.fakes.runs import glance_of

RETRAINING = StateTable(
    name="retraining", table="RETRAINING", key_attribute="model_name", task_tag="model_name", status_attribute="status",
    terminal_statuses=frozenset({"completed", "failed"}), arn_attribute="task_arn", check_arn=True,
)  # fmt: skip
TRADING = StateTable(
    name="trading", table="TRADING", key_attribute="strategy_id", task_tag="strategy_id", status_attribute="status",
    terminal_statuses=frozenset({"stopped", "failed", "terminated"}), arn_attribute="task_arn", check_arn=False,
)  # fmt: skip
CRITERIA = Criteria(installation=INSTALLATION, state_tables=(RETRAINING, TRADING), max_runtime_hours=6, grace_s=300)
HOUR_S = 3600


def ours(run: Run | None, *, attempt: int = 1, for_s: float = HOUR_S, **task: Any) -> Suspect:
    """A task that this installation has started for attempt 1 of r1, and its run's record."""
    identity = TaskIdentity(INSTALLATION, "r1", attempt)
    return Suspect(task=aged(for_s, identity=identity, **task), run=run and glance_of(run))


def tagged(table: StateTable, record: dict[str, Any] | None, *, for_s: float = HOUR_S, **task: Any) -> Suspect:
    """A task with the tag of a state table, and its item."""
    task = {"states": (StateKey(table, "key"),), **task}
    return Suspect(task=aged(for_s, **task), states=(StateRecord(table, record),))


def twice_tagged(retraining: dict[str, Any] | None, trading: dict[str, Any] | None) -> Suspect:
    states = (StateKey(RETRAINING, "key"), StateKey(TRADING, "key"))
    records = (StateRecord(RETRAINING, retraining), StateRecord(TRADING, trading))
    return Suspect(task=aged(HOUR_S, states=states), states=records)


def of_family(for_s: float = HOUR_S) -> Suspect:
    return Suspect(task=aged(for_s, of_family=True))


def foreign(for_s: float = HOUR_S, **task: Any) -> Suspect:
    return Suspect(task=aged(for_s, **task))


def unread(suspect: Suspect) -> Suspect:
    return replace(suspect, unread=True)


def aged(for_s: float, **values: Any) -> RunningTask:
    times: dict[str, Any] = {"started_at": ago(for_s), "created_at": ago(for_s + 60)}
    return RunningTask(**{"arn": ARN, "max_runtime_hours": 6.0, **times, **values})


KEPT = [
    ("a stranger, however old", foreign(99 * HOUR_S), "keep_foreign"),
    ("a second too young", ours(None, for_s=299), "keep_too_young"),
    ("not started, just created", ours(None, started_at=None, created_at=ago(10)), "keep_too_young"),
    ("of unknown age", ours(None, started_at=None, created_at=None), "keep_too_young"),
    ("a launch of this attempt under way", ours(launching()), "keep_launching"),
    (
        "a launch of this attempt under way, however old the task",
        ours(launching(), for_s=99 * HOUR_S),
        "keep_launching",
    ),
    ("its run ended within the grace", ours(a_run(RunStatus.FAILED, completed_at=ago(299))), "keep_just_ended"),
    ("its run runs in it", ours(running()), "keep_healthy"),
    ("at exactly the longest runtime", ours(running(), for_s=6 * HOUR_S), "keep_healthy"),
    (
        "not started for hours: the runtime counts from startedAt",
        ours(running(), started_at=None, created_at=ago(9 * HOUR_S)),
        "keep_healthy",
    ),
    ("its item says running", tagged(RETRAINING, {"status": "running", "task_arn": ARN}), "keep_healthy"),
    ("its item names no task", tagged(RETRAINING, {"status": "running"}), "keep_healthy"),
    ("its item has no status", tagged(TRADING, {}), "keep_healthy"),
    ("trading does not compare ARNs", tagged(TRADING, {"status": "running", "task_arn": OTHER_ARN}), "keep_healthy"),
    ("completed is no end of trading", tagged(TRADING, {"status": "completed"}), "keep_healthy"),
    ("stopped is no end of retraining", tagged(RETRAINING, {"status": "stopped"}), "keep_healthy"),
    ("a stranger that somebody wants kept", foreign(keep_until=NOW + timedelta(days=1)), "keep_foreign"),
    ("somebody has stopped it already", ours(None, for_s=99 * HOUR_S, stopping=True), "keep_stopping"),
    ("its record could not be read", unread(ours(None)), "keep_unread"),
    (
        "its record could not be read, however old it is",
        unread(tagged(TRADING, None, for_s=99 * HOUR_S)),
        "keep_unread",
    ),
    ("exempt for a second more", ours(None, for_s=99 * HOUR_S, keep_until=NOW + timedelta(seconds=1)), "keep_exempt"),
    ("exempt, nobody can tell until when", ours(None, for_s=99 * HOUR_S, keep_unclear=True), "keep_unclear"),
    (
        "within its own limit, beyond that of all",
        ours(running(), for_s=8 * HOUR_S, max_runtime_hours=9),
        "keep_healthy",
    ),
    ("its family leads to no record", of_family(), "keep_healthy"),
    ("one of its two records is there", twice_tagged(None, {"status": "running"}), "keep_healthy"),
    ("its item names its id alone", tagged(RETRAINING, {"status": "running", "task_arn": "aaaa"}), "keep_healthy"),
    (
        "its item names it as ECS did before clusters were in ARNs",
        tagged(RETRAINING, {"task_arn": "arn:aws:ecs:us-east-1:123456789012:task/aaaa"}),
        "keep_healthy",
    ),
    (
        "its item holds something else than text",
        tagged(RETRAINING, {"status": ["completed"], "task_arn": 7}),
        "keep_healthy",
    ),
]


@pytest.mark.parametrize(("suspect", "verdict"), [pytest.param(*row[1:], id=row[0]) for row in KEPT])
def test_a_task_that_is_kept(suspect: Suspect, verdict: str) -> None:
    assert judge(suspect, CRITERIA, NOW) == Judgement(Verdict(verdict))


LATE = "Exceeded max runtime (8.5h > 6h)"
ORPHANS = [
    ("a run of ours, too long", ours(running(), for_s=8.5 * HOUR_S), LATE, 8.5, False),
    ("an item's task, too long", tagged(TRADING, {"status": "running"}, for_s=8.5 * HOUR_S), LATE, 8.5, False),
    (
        "too long comes before all other reasons",
        tagged(RETRAINING, {"status": "completed"}, for_s=8.5 * HOUR_S),
        LATE,
        8.5,
        False,
    ),
    (
        "retraining completed",
        tagged(RETRAINING, {"status": "completed"}),
        "State shows 'completed' but task still running",
        None,
        False,
    ),
    (
        "retraining failed",
        tagged(RETRAINING, {"status": "failed"}),
        "State shows 'failed' but task still running",
        None,
        False,
    ),
    (
        "trading terminated",
        tagged(TRADING, {"status": "terminated"}),
        "State shows 'terminated' but task still running",
        None,
        False,
    ),
    (
        "our run ended",
        ours(a_run(RunStatus.CANCELLED, completed_at=ago(300))),
        "State shows 'CANCELLED' but task still running",
        None,
        False,
    ),
    (
        "our run ended, nobody knows when",
        ours(a_run(RunStatus.FAILED)),
        "State shows 'FAILED' but task still running",
        None,
        False,
    ),
    (
        "retraining in another task",
        tagged(RETRAINING, {"status": "running", "task_arn": OTHER_ARN}),
        "State points to a different task",
        None,
        True,
    ),
    ("our run in another task", ours(running(external_id=OTHER_ARN)), "State points to a different task", None, True),
    (
        "our run at the next attempt",
        ours(running(attempt=2)),
        "State shows attempt 2, task is of attempt 1",
        None,
        True,
    ),
    (
        "our run launching the next attempt",
        ours(launching(attempt=2)),
        "State shows attempt 2, task is of attempt 1",
        None,
        True,
    ),
    ("a run that nobody knows", ours(None), "No state record for a running task", None, True),
    ("an item that nobody knows", tagged(RETRAINING, None), "No state record for a running task", None, True),
    ("no longer exempt", ours(None, keep_until=NOW), "No state record for a running task", None, True),
    (
        "its own limit is shorter",
        ours(running(), for_s=2 * HOUR_S, max_runtime_hours=1.5),
        "Exceeded max runtime (2.0h > 1.5h)",
        2.0,
        False,
    ),
    ("of a family, too long", of_family(8.5 * HOUR_S), LATE, 8.5, False),
    (
        "the second of its records is terminal",
        twice_tagged({"status": "running"}, {"status": "stopped"}),
        "State shows 'stopped' but task still running",
        None,
        False,
    ),
    (
        "completed, but by another task: the next one may be at work",
        tagged(RETRAINING, {"status": "completed", "task_arn": OTHER_ARN}),
        "State shows 'completed' but task still running",
        None,
        True,
    ),
    (
        "stopped by whatever task: trading does not compare ARNs",
        tagged(TRADING, {"status": "stopped", "task_arn": OTHER_ARN}),
        "State shows 'stopped' but task still running",
        None,
        False,
    ),
    ("young by a second no more", ours(None, for_s=300), "No state record for a running task", None, True),
]


@pytest.mark.parametrize(
    ("suspect", "reason", "runtime_hours", "confirm"), [pytest.param(*row[1:], id=row[0]) for row in ORPHANS]
)
def test_an_orphan_and_its_reason_in_the_documented_words(
    suspect: Suspect, reason: str, runtime_hours: float | None, confirm: bool
) -> None:
    assert judge(suspect, CRITERIA, NOW) == Judgement(Verdict.ORPHAN, reason, runtime_hours, confirm)


def test_every_rule_has_a_row() -> None:
    deciding = set()
    for suspect in [row[1] for row in KEPT] + [row[1] for row in ORPHANS]:
        deciding.add(next(rule for rule in RULES if rule(suspect, CRITERIA, NOW) is not None))
    assert deciding == set(RULES)
