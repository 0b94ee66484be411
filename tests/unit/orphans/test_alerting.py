"""When the scanner alerts, and in which words."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from dagy_control.orphans.alerting import Told, about, alert_of, is_due
from dagy_control.orphans.criteria import Criteria, Verdict
from dagy_control.orphans.decide import AlertPolicy, Orphan, OrphanPolicy, ScanPlan, Stops
from tests.builders import NOW, ago


def policy(**values: Any) -> OrphanPolicy:
    criteria = Criteria(installation="dagy", state_tables=())
    defaults: dict[str, Any] = {"cluster": "main", "environment": "dev", "criteria": criteria, "dry_run": False}
    return OrphanPolicy(**{**defaults, "alerts": AlertPolicy(topic_arn="arn", repeat_s=86400), **values})


def plan(*names: str, **values: Any) -> ScanPlan:
    orphans = tuple(Orphan(f"arn:aws:ecs:...:task/main/{name}", f"reason of {name}") for name in names)
    defaults: dict[str, Any] = {"total_running": 20, "orphans": orphans, "stops": orphans, "suspicions": ()}
    return ScanPlan(**{**defaults, "verdicts": Counter(), **values})


TWO = plan("abc123", "def456")


def test_the_alert_is_the_documented_one_to_the_letter() -> None:
    alert = alert_of(TWO, policy(environment="prod"), Stops(2))
    assert alert.subject == "[PROD] Orphan Tasks Stopped: 2 tasks"
    assert alert.body == (
        "Environment: prod\nCluster: main\nOrphan tasks: 2\nDry run: false\nTasks stopped: 2\n\n"
        "- abc123: reason of abc123\n- def456: reason of def456"
    )
    assert alert.attributes == {"severity": "MEDIUM", "alert_type": "orphan_tasks"}


def test_the_alert_of_a_dry_run_says_so() -> None:
    alert = alert_of(TWO, policy(dry_run=True), Stops())
    assert alert.subject == "[DEV] Orphan Tasks Detected (DRY RUN): 2 tasks"
    assert "Dry run: true\nTasks stopped: 0\n" in alert.body


def test_ten_orphans_are_named_and_the_others_counted() -> None:
    alert = alert_of(plan(*(f"task-{number:02}" for number in range(13))), policy(), Stops(13))
    named = [line for line in alert.body.splitlines() if line.startswith("- ")]
    assert (len(named), named[-1]) == (10, "- task-09: reason of task-09")
    assert alert.body.endswith("\n... and 3 more")
    assert "Orphan tasks: 13\n" in alert.body


def test_a_task_that_had_ended_by_itself_is_not_counted_as_stopped() -> None:
    alert = alert_of(TWO, policy(), Stops(1))
    assert alert.subject == "[DEV] Orphan Tasks Stopped: 1 tasks"
    assert "Orphan tasks: 2\nDry run: false\nTasks stopped: 1\n\n" in alert.body


@pytest.mark.parametrize("stopped", [0, 1])
def test_orphans_whose_stop_failed_are_told_as_not_stopped_with_the_reason(stopped: int) -> None:
    alert = alert_of(TWO, policy(), Stops(stopped, ("not authorized",) * (2 - stopped)))
    assert alert.subject == f"[DEV] Orphan Tasks Detected (NOT STOPPED): {2 - stopped} tasks"
    assert f"Tasks stopped: {stopped}\nNot stopped: {2 - stopped} of 2 stops failed: not authorized\n" in alert.body


@pytest.mark.parametrize("values", [{"refusal": "too many"}, {"cut": "too late"}])
def test_orphans_that_were_to_be_stopped_and_were_not_are_told_with_the_reason(values: dict[str, str]) -> None:
    alert = alert_of(plan("a", **values), policy(), Stops())
    assert alert.subject == "[DEV] Orphan Tasks Detected (NOT STOPPED): 1 tasks"
    assert f"Not stopped: {next(iter(values.values()))}" in alert.body


def test_the_subject_fits_however_long_the_environments_name() -> None:
    subject = alert_of(TWO, policy(environment="e" * 64, dry_run=True), Stops()).subject
    assert len(subject) == 99
    assert subject.endswith("E] Orphan Tasks Detected (DRY RUN): 2 tasks")


def told(scan: ScanPlan, ago_s: float = 300, **values: Any) -> Told:
    return Told(about(scan, policy(**values), Stops()), ago(ago_s))


PARTIAL = {"verdicts": Counter({Verdict.KEEP_UNREAD: 1})}


@pytest.mark.parametrize(
    ("scan", "last", "due"),
    [
        pytest.param(plan(), None, False, id="no orphans"),
        pytest.param(TWO, None, True, id="the first ones"),
        pytest.param(TWO, told(TWO), False, id="the same"),
        pytest.param(plan("def456", "abc123"), told(TWO), False, id="the same in another order"),
        pytest.param(TWO, told(TWO, 86399), False, id="the same for nearly a day"),
        pytest.param(TWO, told(TWO, 86400), True, id="the same for a day"),
        pytest.param(plan("abc123"), told(TWO), True, id="one fewer"),
        pytest.param(plan("abc123", "ghi789"), told(TWO), True, id="another one"),
        pytest.param(plan("abc123", **PARTIAL), told(TWO), False, id="one fewer, where one could not be read"),
        pytest.param(plan("ghi789", **PARTIAL), told(TWO), True, id="another one, where one could not be read"),
        pytest.param(plan("abc123", cut="too late"), told(TWO), False, id="one fewer, where not all were listed"),
        pytest.param(TWO, told(TWO, dry_run=True), True, id="the same, no longer in a dry run"),
        pytest.param(plan("abc123", "def456", refusal="cap"), told(TWO), True, id="the same, now over the cap"),
    ],
)
def test_the_loop_alerts_of_a_change_and_once_a_day(scan: ScanPlan, last: Told | None, due: bool) -> None:
    assert is_due(scan, policy(), Stops(), last, NOW) is due


def test_the_same_orphans_are_told_again_after_as_long_as_is_set() -> None:
    hourly = policy(alerts=AlertPolicy(topic_arn="arn", repeat_s=3600))
    assert is_due(TWO, hourly, Stops(), told(TWO, 3600), NOW)
    assert not is_due(TWO, hourly, Stops(), told(TWO, 3600), NOW - timedelta(seconds=1))
