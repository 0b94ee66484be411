"""What a scan does: two scans, the cap, the dry run, the documented report."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from dagy_control.model.runs import Run, RunStatus
from dagy_control.model.suspicions import Suspicion
from dagy_control.model.tasks import TaskIdentity
from dagy_control.orphans.criteria import Criteria, RunningTask, StateRecord, StateTable, Suspect, Verdict
from dagy_control.orphans.decide import Orphan, OrphanPolicy, Review, ScanPlan, ScanSnapshot, decide, review
from dagy_control.orphans.report import failure_report, scan_report
from tests.builders import ARN, INSTALLATION, NOW, OTHER_ARN, a_run, ago, running
from tests.fakes.runs import glance_of

RETRAINING = StateTable(
    name="retraining", table="RETRAINING", key_attribute="model_name", task_tag="model_name", status_attribute="status",
    terminal_statuses=frozenset({"completed", "failed"}), arn_attribute="task_arn", check_arn=True,
)  # fmt: skip
UNKNOWN = "No state record for a running task"


def policy(**values: Any) -> OrphanPolicy:
    criteria = Criteria(installation=INSTALLATION, state_tables=(RETRAINING,))
    defaults: dict[str, Any] = {"cluster": "main", "environment": "dev", "criteria": criteria, "dry_run": False}
    return OrphanPolicy(**{**defaults, **values})


def suspect(run: Run | None, *, arn: str = ARN, hours: float = 1, attempt: int = 1) -> Suspect:
    return Suspect(task=task(arn, hours, TaskIdentity(INSTALLATION, "r1", attempt)), run=run and glance_of(run))


def task(arn: str, hours: float, identity: TaskIdentity | None = None) -> RunningTask:
    return RunningTask(arn=arn, started_at=ago(hours * 3600), created_at=None, max_runtime_hours=6.0, identity=identity)


def ended(number: int) -> Suspect:
    return suspect(a_run(RunStatus.FAILED, completed_at=ago(900)), arn=f"arn-{number}")


def healthy(number: int) -> Suspect:
    return suspect(running(external_id=f"ok-{number}"), arn=f"ok-{number}")


def snapshot(*suspects: Suspect, **values: Any) -> ScanSnapshot:
    judged = Review()
    review(suspects, policy().criteria, NOW, judged)
    return ScanSnapshot(review=judged, **{"suspicions": {}, **values})


def scan(*suspects: Suspect, suspicions: dict[str, Suspicion] | None = None, **values: Any) -> ScanPlan:
    return decide(snapshot(*suspects, suspicions=suspicions or {}), policy(**values), NOW)


def suspicion(
    *, first_seen: datetime, expires_at: datetime = NOW + timedelta(hours=1), reason: str = UNKNOWN
) -> dict[str, Suspicion]:
    return {
        ARN: Suspicion(task_arn=ARN, reason=reason, first_seen=first_seen, last_seen=first_seen, expires_at=expires_at)
    }


# Two scans.


def test_a_task_without_a_record_is_only_a_suspect_in_the_first_scan() -> None:
    plan = scan(suspect(None))
    assert (plan.orphans, plan.stops, plan.verdicts) == ((), (), {Verdict.SUSPECT: 1})
    (noted,) = plan.suspicions
    assert (noted.task_arn, noted.first_seen, noted.last_seen) == (ARN, NOW, NOW)


@pytest.mark.parametrize(
    ("suspicions", "orphan"),
    [
        pytest.param(suspicion(first_seen=ago(300)), True, id="a whole grace ago"),
        pytest.param(suspicion(first_seen=ago(299)), False, id="a daemon that restarts scans again at once"),
        pytest.param(suspicion(first_seen=ago(9000), expires_at=ago(1)), False, id="expired, though not deleted yet"),
        pytest.param(
            suspicion(first_seen=ago(900), reason="State points to a different task"), False, id="of something else"
        ),
    ],
)
def test_a_second_scan_confirms_what_an_earlier_one_has_recorded(
    suspicions: dict[str, Suspicion], orphan: bool
) -> None:
    plan = scan(suspect(None), suspicions=suspicions)
    assert [each.task_arn for each in plan.stops] == ([ARN] if orphan else [])


def test_a_suspicion_keeps_its_first_sight_and_an_expired_one_starts_anew() -> None:
    kept = scan(suspect(None), suspicions=suspicion(first_seen=ago(600))).suspicions[0]
    assert (kept.first_seen, kept.last_seen, kept.reason) == (ago(600), NOW, "No state record for a running task")
    anew = scan(suspect(None), suspicions=suspicion(first_seen=ago(600), expires_at=ago(1))).suspicions[0]
    assert anew.first_seen == NOW


def test_an_end_on_record_and_a_long_runtime_need_no_second_scan() -> None:
    plan = scan(ended(1), suspect(running(), hours=7))
    assert len(plan.stops) == 2
    assert not plan.suspicions


# Whose runtime limit must be recorded before the stop.


@pytest.mark.parametrize(
    ("judged", "own_run_id"),
    [
        pytest.param(suspect(running(), hours=7), "r1", id="our run, in this very task"),
        pytest.param(
            suspect(a_run(RunStatus.QUEUED), hours=7), "r1", id="our run, of whose state the record must decide again"
        ),
        pytest.param(suspect(a_run(RunStatus.SUCCEEDED), hours=7), None, id="our run is over"),
        pytest.param(suspect(running(external_id=OTHER_ARN), hours=7), None, id="our run is in another task"),
        pytest.param(suspect(running(attempt=2, external_id=None), hours=7), None, id="our run has gone on"),
        pytest.param(suspect(None, hours=7), None, id="nobody's run"),
    ],
)
def test_the_runtime_limit_of_our_own_run_goes_on_its_record(judged: Suspect, own_run_id: str | None) -> None:
    orphan = Orphan(ARN, "Exceeded max runtime (7.0h > 6h)", 7.0, own_run_id, judged.task.identity)
    assert scan(judged).stops == (orphan,)


# Dry run and cap.


def test_a_dry_run_finds_everything_and_stops_nothing() -> None:
    plan = scan(ended(1), ended(2), dry_run=True)
    assert (len(plan.orphans), plan.stops, plan.refusal) == (2, (), "")


def test_a_dry_run_is_the_default() -> None:
    assert OrphanPolicy(cluster="main", environment="dev", criteria=policy().criteria).dry_run


@pytest.mark.parametrize(
    ("orphans", "others", "values", "refused"),
    [
        pytest.param(3, 0, {"max_stops_per_scan": 3}, "", id="at the cap"),
        pytest.param(4, 0, {"max_stops_per_scan": 3}, "orphans.max_stops_per_scan", id="one more than the cap"),
        pytest.param(9, 0, {}, "", id="all of few tasks"),
        pytest.param(5, 5, {}, "", id="half of ten"),
        pytest.param(6, 4, {}, "orphans.max_stop_share", id="more than half of ten"),
    ],
)
def test_a_scan_that_finds_more_than_its_cap_stops_none_and_says_so(
    orphans: int, others: int, values: dict[str, Any], refused: str
) -> None:
    plan = scan(*map(ended, range(orphans)), *map(healthy, range(others)), **values)
    assert len(plan.orphans) == orphans
    assert len(plan.stops) == (0 if refused else orphans)
    assert refused in plan.refusal
    assert bool(refused) == bool(plan.refusal)


def test_suspects_do_not_count_against_the_cap() -> None:
    plan = scan(ended(1), *(suspect(None, arn=f"unknown-{n}") for n in range(5)), max_stops_per_scan=1)
    assert len(plan.stops) == 1


# What could not be read.


def test_a_listing_that_is_cut_reports_what_was_seen_and_stops_nothing() -> None:
    plan = decide(snapshot(ended(1), cut="too late"), policy(), NOW)
    assert (len(plan.orphans), plan.stops, plan.refusal, plan.cut) == (1, (), "", "too late")


def test_a_suspicion_that_could_not_be_read_neither_confirms_nor_begins_anew() -> None:
    plan = decide(snapshot(suspect(None), suspicions_unread={ARN}), policy(), NOW)
    assert (plan.orphans, plan.suspicions, plan.verdicts) == ((), (), {Verdict.KEEP_UNREAD: 1})


def test_tasks_that_could_not_be_judged_do_not_make_the_share_of_orphans_smaller() -> None:
    unread = [replace(healthy(number), unread=True) for number in range(90)]
    plan = scan(*map(ended, range(8)), *map(healthy, range(2)), *unread)
    assert (plan.total_running, plan.stops) == (100, ())
    assert "8 of 10 running tasks" in plan.refusal


def test_a_suspicion_lives_as_long_as_the_policy_says_from_the_last_scan_that_renewed_it() -> None:
    (renewed,) = scan(suspect(None), suspicions=suspicion(first_seen=ago(900)), suspicion_life_s=50).suspicions
    assert (renewed.first_seen, renewed.last_seen, renewed.expires_at) == (ago(900), NOW, NOW + timedelta(seconds=50))


# The documented output.


def test_the_report_is_the_documented_one_to_the_letter() -> None:
    late = Suspect(
        task=task("arn:aws:ecs:...:task/abc123", 8.5, TaskIdentity(INSTALLATION, "r1", 1)), run=glance_of(running())
    )
    over = Suspect(
        task=task("arn:aws:ecs:...:task/def456", 1, TaskIdentity(INSTALLATION, "r1", 1)),
        states=(StateRecord(RETRAINING, {"status": "completed"}),),
    )
    plan = scan(late, over, *map(healthy, range(13)))
    assert scan_report(plan, policy(), 2) == {
        "success": True,
        "data": {
            "summary": {"total_running": 15, "orphans_found": 2, "tasks_stopped": 2, "dry_run": False},
            "orphans": [
                {
                    "task_arn": "arn:aws:ecs:...:task/abc123",
                    "reason": "Exceeded max runtime (8.5h > 6h)",
                    "runtime_hours": 8.5,
                },
                {
                    "task_arn": "arn:aws:ecs:...:task/def456",
                    "reason": "State shows 'completed' but task still running",
                },
            ],
        },
        "environment": "dev",
    }


def test_a_scan_that_is_not_whole_says_in_one_key_more_what_is_missing() -> None:
    unread = replace(healthy(1), unread=True)
    plan = decide(snapshot(ended(1), unread, problems=("1 of 2 runs could not be read: no",)), policy(), NOW)
    report = scan_report(plan, policy(), 1)
    assert list(report) == ["success", "data", "not_reached", "environment"]
    assert report["success"] is True
    assert report["not_reached"] == {"tasks": 1, "why": ["1 of 2 runs could not be read: no"]}


def test_a_scan_that_did_not_see_all_tasks_is_no_success_and_still_tells_what_it_saw() -> None:
    report = scan_report(decide(snapshot(ended(1), cut="too late"), policy(), NOW), policy(), 0)
    assert (report["success"], report["error"]) == (False, "too late")
    assert report["data"]["summary"]["orphans_found"] == 1


def test_a_failure_is_told_in_the_documented_form() -> None:
    assert failure_report("no", "dev") == {"success": False, "error": "no", "environment": "dev"}


def test_a_scan_of_an_empty_cluster_reports_zeros() -> None:
    summary = scan_report(scan(dry_run=True), policy(dry_run=True), 0)["data"]["summary"]
    assert summary == {"total_running": 0, "orphans_found": 0, "tasks_stopped": 0, "dry_run": True}
