"""What a scan does: two scans, the cap, the dry run, the documented report."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from dagy_control.model.runs import Run, RunStatus
from dagy_control.model.suspicions import Suspicion
from dagy_control.model.tasks import TaskIdentity
from dagy_control.orphans.criteria import Criteria, OwnRun, StateTable, Suspect, Verdict
from dagy_control.orphans.decide import Orphan, OrphanPolicy, ScanPlan, ScanSnapshot, decide
from dagy_control.orphans.report import scan_report
from tests.builders import ARN, INSTALLATION, NOW, OTHER_ARN, a_run, ago, running, task_of

RETRAINING = StateTable(
    name="retraining", table="RETRAINING", key_attribute="model_name", task_tag="model_name", status_attribute="status",
    terminal_statuses=frozenset({"completed", "failed"}), arn_attribute="task_arn", check_arn=True,
)  # fmt: skip


def policy(**values: Any) -> OrphanPolicy:
    criteria = Criteria(installation=INSTALLATION, state_tables=(RETRAINING,))
    defaults: dict[str, Any] = {"cluster": "main", "environment": "dev", "criteria": criteria, "dry_run": False}
    return OrphanPolicy(**{**defaults, **values})


def suspect(run: Run | None, *, arn: str = ARN, hours: float = 1, attempt: int = 1) -> Suspect:
    own = run and OwnRun(
        run_id=run.run_id,
        status=run.status,
        attempt=run.attempt,
        external_id=run.external_id,
        completed_at=run.completed_at,
    )
    task = task_of(running(), arn=arn, started_at=ago(hours * 3600))
    return Suspect(task=task, identity=TaskIdentity(INSTALLATION, "r1", attempt), table=None, run=own, record=None)


def ended(number: int) -> Suspect:
    return suspect(a_run(RunStatus.FAILED, completed_at=ago(900)), arn=f"arn-{number}")


def healthy(number: int) -> Suspect:
    return suspect(running(external_id=f"ok-{number}"), arn=f"ok-{number}")


def scan(*suspects: Suspect, suspicions: dict[str, Suspicion] | None = None, **values: Any) -> ScanPlan:
    return decide(ScanSnapshot(suspects=suspects, suspicions=suspicions or {}), policy(**values), NOW)


def suspicion(*, first_seen: datetime, expires_at: datetime = NOW + timedelta(hours=1)) -> dict[str, Suspicion]:
    return {
        ARN: Suspicion(
            task_arn=ARN, reason="earlier", first_seen=first_seen, last_seen=first_seen, expires_at=expires_at
        )
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
    assert scan(judged).stops == (Orphan(ARN, "Exceeded max runtime (7.0h > 6h)", 7.0, own_run_id),)


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


# The documented output.


def test_the_report_is_the_documented_one_to_the_letter() -> None:
    late = Suspect(
        task=task_of(running(), arn="arn:aws:ecs:...:task/abc123", started_at=ago(8.5 * 3600)), identity=None, table=RETRAINING,
        run=None, record={"status": "running"},
    )  # fmt: skip
    over = Suspect(
        task=task_of(running(), arn="arn:aws:ecs:...:task/def456", started_at=ago(3600)), identity=None, table=RETRAINING,
        run=None, record={"status": "completed"},
    )  # fmt: skip
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


def test_a_scan_of_an_empty_cluster_reports_zeros() -> None:
    summary = scan_report(scan(dry_run=True), policy(dry_run=True), 0)["data"]["summary"]
    assert summary == {"total_running": 0, "orphans_found": 0, "tasks_stopped": 0, "dry_run": True}
