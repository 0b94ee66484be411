"""When the scanner alerts, and in which words. Pure.

The subject and the attributes are the scanner's documented ones. "NOT STOPPED" is for what the document does not know: orphans that
should have been stopped, and go on.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from dagy_control.model.alerts import Alert
from dagy_control.model.tasks import short_id
from dagy_control.orphans.decide import NAMED_MAX, OrphanPolicy, ScanPlan, Stops

SUBJECT_MAX_CHARACTERS = 99
"""SNS takes subjects "less than 100 characters long" (API Reference, Publish)."""

ATTRIBUTES = {"severity": "MEDIUM", "alert_type": "orphan_tasks"}


@dataclass(frozen=True, slots=True)
class Told:
    """What the last alert was about, and when it was sent."""

    about: tuple[str, frozenset[str]]
    at: datetime


def about(plan: ScanPlan, policy: OrphanPolicy, stops: Stops) -> tuple[str, frozenset[str]]:
    """What makes two scans the same to whoever reads alerts: the orphans, whatever their hours are by now, and their fate."""
    return _fate(plan, policy, stops), frozenset(orphan.task_arn for orphan in plan.orphans)


def is_due(plan: ScanPlan, policy: OrphanPolicy, stops: Stops, told: Told | None, now: datetime) -> bool:
    """Whether the loop alerts: orphans there are, and other ones than last time, or the same for long.

    A scan that is not whole sees fewer of them: that is no change, only further ones are.
    """
    if not plan.orphans:
        return False
    if told is None or now - told.at >= timedelta(seconds=policy.alerts.repeat_s):
        return True
    fate, orphans = about(plan, policy, stops)
    changed = not orphans <= told.about[1] if plan.unread or plan.cut else orphans != told.about[1]
    return changed or (fate != told.about[0] and not plan.cut)


def alert_of(plan: ScanPlan, policy: OrphanPolicy, stops: Stops) -> Alert:
    """The alert of a scan that found orphans."""
    fate, why_not = _fate(plan, policy, stops), _why_not(plan, stops)
    count = stops.stopped if fate == "Stopped" else len(stops.failures) or len(plan.orphans)
    told = f"] Orphan Tasks {fate}: {count} tasks"
    environment = policy.environment.upper()[: SUBJECT_MAX_CHARACTERS - len(told) - 1]
    named = [f"- {short_id(orphan.task_arn)}: {orphan.reason}" for orphan in plan.orphans[:NAMED_MAX]]
    more = len(plan.orphans) - len(named)
    lines = [
        f"Environment: {policy.environment}",
        f"Cluster: {policy.cluster}",
        f"Orphan tasks: {len(plan.orphans)}",
        f"Dry run: {str(policy.dry_run).lower()}",
        f"Tasks stopped: {stops.stopped}",
        *([f"Not stopped: {why_not}"] if why_not else []),
        "",
        *named,
        *([f"... and {more} more"] if more else []),
    ]
    return Alert(subject=f"[{environment}{told}", body="\n".join(lines), attributes=ATTRIBUTES)


def _fate(plan: ScanPlan, policy: OrphanPolicy, stops: Stops) -> str:
    if policy.dry_run:
        return "Detected (DRY RUN)"
    return "Detected (NOT STOPPED)" if _why_not(plan, stops) else "Stopped"


def _why_not(plan: ScanPlan, stops: Stops) -> str:
    """Why orphans that should have been stopped go on; empty where none does."""
    if stops.failures:
        return f"{len(stops.failures)} of {len(plan.stops)} stops failed: {stops.failures[0]}"
    return plan.refusal or plan.cut
