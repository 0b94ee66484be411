"""When a running task is an orphan."""

from typing import Any

import pytest

from dagy_control.model.runs import Run, RunStatus
from dagy_control.model.tasks import SeenTask, TaskIdentity
from dagy_control.orphans.criteria import RULES, Criteria, Judgement, OwnRun, StateTable, Suspect, Verdict, judge
from tests.builders import ARN, INSTALLATION, NOW, OTHER_ARN, a_run, ago, launching, running, task_of

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
    own = run and OwnRun(
        run_id=run.run_id,
        status=run.status,
        attempt=run.attempt,
        external_id=run.external_id,
        completed_at=run.completed_at,
    )
    identity = TaskIdentity(INSTALLATION, "r1", attempt)
    return Suspect(task=aged(for_s, **task), identity=identity, table=None, run=own, record=None)


def tagged(table: StateTable, record: dict[str, Any] | None, *, for_s: float = HOUR_S) -> Suspect:
    """A task with the tag of a state table, and its item."""
    task = aged(for_s, started_by="", tags={table.task_tag: "key"})
    return Suspect(task=task, identity=None, table=table, run=None, record=record)


def foreign(for_s: float = HOUR_S) -> Suspect:
    return Suspect(task=aged(for_s, started_by="ecs-svc/1"), identity=None, table=None, run=None, record=None)


def aged(for_s: float, **values: Any) -> SeenTask:
    return task_of(running(), **{"started_at": ago(for_s), "created_at": ago(for_s + 60), **values})


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
    ("young by a second no more", ours(None, for_s=300), "No state record for a running task", None, True),
]


@pytest.mark.parametrize(
    ("suspect", "reason", "runtime_hours", "confirm"), [pytest.param(*row[1:], id=row[0]) for row in ORPHANS]
)
def test_an_orphan_and_its_reason_in_the_documented_words(
    suspect: Suspect, reason: str, runtime_hours: float | None, confirm: bool
) -> None:
    assert judge(suspect, CRITERIA, NOW) == Judgement(Verdict.ORPHAN, reason, runtime_hours, confirm)


def test_a_longer_runtime_is_a_matter_of_configuration() -> None:
    criteria = Criteria(installation=INSTALLATION, state_tables=(), max_runtime_hours=0.5)
    assert judge(ours(running()), criteria, NOW).reason == "Exceeded max runtime (1.0h > 0.5h)"


def test_every_rule_has_a_row() -> None:
    deciding = set()
    for suspect in [row[1] for row in KEPT] + [row[1] for row in ORPHANS]:
        deciding.add(next(rule for rule in RULES if rule(suspect, CRITERIA, NOW) is not None))
    assert deciding == set(RULES)
