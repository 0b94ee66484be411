"""What a scan does: which tasks are orphans, which of them to stop, which suspicions to record. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from dagy_control.model.runs import TERMINAL
from dagy_control.model.suspicions import Suspicion
from dagy_control.orphans.criteria import Criteria, Suspect, Verdict, judge

SUSPICION_LIFE = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanPolicy:
    """All that the scanner is told by the configuration. Times in seconds.

    A suspicion counts once it is as old as the grace: a restarted daemon scans again at once, and that is no second look. A
    scan that finds more orphans than `max_stops_per_scan`, or than `max_stop_share` of all running tasks (from
    `min_running_for_share` on), stops none: so many orphans are more likely a mistake of ours.
    """

    cluster: str
    environment: str
    criteria: Criteria
    dry_run: bool = True
    max_stops_per_scan: int = 25
    max_stop_share: float = 0.5
    min_running_for_share: int = 10
    scan_timeout_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanSnapshot:
    """All running tasks of the cluster with their records, and the suspicions on record, by ARN. Always complete: a partial read raises."""

    suspects: Sequence[Suspect]
    suspicions: Mapping[str, Suspicion]


@dataclass(frozen=True, slots=True)
class Orphan:
    """A task that runs and should not. `own_run_id`: the run of ours whose runtime limit must be recorded before the stop."""

    task_arn: str
    reason: str
    runtime_hours: float | None = None
    own_run_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanPlan:
    """What to do. `refusal`: why none of the orphans is stopped although it was asked for; empty when there is no such reason."""

    total_running: int
    orphans: Sequence[Orphan]
    stops: Sequence[Orphan]
    suspicions: Sequence[Suspicion]
    verdicts: Counter[str]
    refusal: str = ""


def decide(snapshot: ScanSnapshot, policy: OrphanPolicy, now: datetime) -> ScanPlan:
    """The plan of one scan."""
    orphans: list[Orphan] = []
    suspicions: list[Suspicion] = []
    verdicts: Counter[str] = Counter()
    for suspect in snapshot.suspects:
        judgement = judge(suspect, policy.criteria, now)
        verdict = judgement.verdict
        if verdict is Verdict.ORPHAN and judgement.confirm:
            suspicion = _alive(snapshot.suspicions.get(suspect.task.arn), now)
            suspicions.append(_suspicion(suspicion, suspect.task.arn, judgement.reason, now))
            if suspicion is None or now - suspicion.first_seen < timedelta(seconds=policy.criteria.grace_s):
                verdict = Verdict.SUSPECT
        verdicts[verdict] += 1
        if verdict is Verdict.ORPHAN:
            own_run_id = _limited_run(suspect) if judgement.runtime_hours is not None else None
            orphans.append(Orphan(suspect.task.arn, judgement.reason, judgement.runtime_hours, own_run_id))
    total = len(snapshot.suspects)
    refusal = "" if policy.dry_run else _refusal(len(orphans), total, policy)
    stops = () if policy.dry_run or refusal else tuple(orphans)
    return ScanPlan(
        total_running=total,
        orphans=tuple(orphans),
        stops=stops,
        suspicions=tuple(suspicions),
        verdicts=verdicts,
        refusal=refusal,
    )


def _refusal(found: int, total: int, policy: OrphanPolicy) -> str:
    if found > policy.max_stops_per_scan:
        return (
            f"{found} orphans are more than orphans.max_stops_per_scan ({policy.max_stops_per_scan}); none is stopped"
        )
    if total >= policy.min_running_for_share and found > policy.max_stop_share * total:
        return f"{found} of {total} running tasks are more than orphans.max_stop_share ({policy.max_stop_share:g}); none is stopped"
    return ""


def _limited_run(suspect: Suspect) -> str | None:
    """The run that the stop of this task will end; None when it is over, or goes on in another task: then nothing is to be recorded."""
    run, identity = suspect.run, suspect.identity
    if run is None or identity is None or run.status in TERMINAL:
        return None
    goes_on_elsewhere = run.attempt != identity.attempt or run.external_id not in (None, suspect.task.arn)
    return None if goes_on_elsewhere else run.run_id


def _alive(suspicion: Suspicion | None, now: datetime) -> Suspicion | None:
    """DynamoDB deletes an expired item up to days later ("Time to Live"): until then it must count for nothing."""
    return suspicion if suspicion is not None and suspicion.expires_at >= now else None


def _suspicion(earlier: Suspicion | None, task_arn: str, reason: str, now: datetime) -> Suspicion:
    expires_at = now + SUSPICION_LIFE
    if earlier is None:
        return Suspicion(task_arn=task_arn, reason=reason, first_seen=now, last_seen=now, expires_at=expires_at)
    return replace(earlier, reason=reason, last_seen=now, expires_at=expires_at)
