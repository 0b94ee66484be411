"""What a scan does: which tasks are orphans, which of them to stop, which suspicions to record. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from dagy_control.model.runs import TERMINAL, ActiveRun
from dagy_control.model.suspicions import Suspicion
from dagy_control.model.tasks import TaskIdentity
from dagy_control.orphans.criteria import Criteria, Judgement, Suspect, Verdict, judge

NAMED_MAX = 10
"""Tasks that a warning or an alert names; the others are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertPolicy:
    """Whom to tell of orphans, and how often of the same ones. `topic_arn` None: nobody."""

    topic_arn: str | None = None
    repeat_s: float = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanPolicy:
    """All that the scanner is told by the configuration. Times in seconds.

    A suspicion counts once it is as old as the grace: a restarted daemon scans again at once, and that is no second look. One that
    no scan has renewed for `suspicion_life_s` counts no more: the task has looked well meanwhile. A
    scan that finds more orphans than `max_stops_per_scan`, or than `max_stop_share` of all running tasks (from
    `min_running_for_share` on), stops none: so many orphans are more likely a mistake of ours.
    `switched_off`: state tables that have no name, so that their tag is off.
    """

    cluster: str
    environment: str
    criteria: Criteria
    dry_run: bool = True
    max_stops_per_scan: int = 25
    max_stop_share: float = 0.5
    min_running_for_share: int = 10
    scan_timeout_s: float = 60.0
    suspicion_life_s: float = 3600.0
    switched_off: tuple[str, ...] = ()
    alerts: AlertPolicy = field(default_factory=AlertPolicy)


@dataclass(frozen=True, slots=True)
class Finding:
    """A task that speaks against itself."""

    suspect: Suspect
    judgement: Judgement


@dataclass(slots=True)
class Review:
    """What has been judged so far."""

    verdicts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)
    """Tasks whose keep tag is no date, as far as a warning names them."""


def review(suspects: Iterable[Suspect], criteria: Criteria, now: datetime, into: Review) -> None:
    """Judge some of the tasks. A caller with many gives them in slices, so that others get their turn in between."""
    for suspect in suspects:
        judgement = judge(suspect, criteria, now)
        if judgement.verdict is Verdict.ORPHAN:
            into.findings.append(Finding(suspect, judgement))
            continue
        into.verdicts[judgement.verdict] += 1
        if judgement.verdict is Verdict.KEEP_UNCLEAR and len(into.unclear) < NAMED_MAX:
            into.unclear.append(suspect.task.arn)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanSnapshot:
    """The running tasks of the cluster, reviewed, and the suspicions on record, by ARN.

    `suspicions_unread`: tasks of which that could not be read. `cut`: why not all tasks were listed; empty when all were.
    `problems`: what else could not be read, as sentences. `listed`: the ARNs of all tasks.
    """

    review: Review
    suspicions: Mapping[str, Suspicion]
    suspicions_unread: AbstractSet[str] = frozenset()
    cut: str = ""
    problems: tuple[str, ...] = ()
    listed: AbstractSet[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Orphan:
    """A task that runs and should not. `own_run_id`: the run of ours whose runtime limit must be recorded before the stop.

    `identity`: the attempt that it was started for, if it is ours.
    """

    task_arn: str
    reason: str
    runtime_hours: float | None = None
    own_run_id: str | None = None
    identity: TaskIdentity | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanPlan:
    """What to do. `refusal`: why none of the orphans is stopped although it was asked for; empty when there is no such reason.

    `unread`: tasks that could not be judged. `cut`, `problems` and `listed` as in the snapshot. `unclear`: some of the tasks whose
    keep tag is no date.
    """

    total_running: int
    orphans: Sequence[Orphan]
    stops: Sequence[Orphan]
    suspicions: Sequence[Suspicion]
    verdicts: Counter[str]
    refusal: str = ""
    cut: str = ""
    problems: tuple[str, ...] = ()
    listed: AbstractSet[str] = frozenset()
    unclear: tuple[str, ...] = ()

    @property
    def unread(self) -> int:
        """Tasks of which nothing can be said, because they or their records could not be read."""
        return self.verdicts[Verdict.KEEP_UNREAD]


@dataclass(frozen=True, slots=True)
class Stops:
    """What became of a plan's stops: how many orphans were stopped, and why the other stops failed.

    Fewer than planned where tasks had ended by themselves meanwhile.
    """

    stopped: int = 0
    failures: tuple[str, ...] = ()


def decide(snapshot: ScanSnapshot, policy: OrphanPolicy, now: datetime) -> ScanPlan:
    """The plan of one scan."""
    orphans: list[Orphan] = []
    suspicions: list[Suspicion] = []
    verdicts: Counter[str] = Counter(snapshot.review.verdicts)
    for finding in snapshot.review.findings:
        arn, judgement = finding.suspect.task.arn, finding.judgement
        if judgement.confirm and arn in snapshot.suspicions_unread:
            verdicts[Verdict.KEEP_UNREAD] += 1
            continue
        verdict = Verdict.ORPHAN
        if judgement.confirm:
            earlier = _the_same(snapshot.suspicions.get(arn), judgement.reason, now)
            suspicions.append(_suspicion(earlier, arn, judgement.reason, policy, now))
            if earlier is None or now - earlier.first_seen < timedelta(seconds=policy.criteria.grace_s):
                verdict = Verdict.SUSPECT
        verdicts[verdict] += 1
        if verdict is Verdict.ORPHAN:
            own_run_id = _limited_run(finding.suspect) if judgement.runtime_hours is not None else None
            identity = finding.suspect.task.identity
            orphans.append(Orphan(arn, judgement.reason, judgement.runtime_hours, own_run_id, identity))
    judged = verdicts.total() - verdicts[Verdict.KEEP_UNREAD]
    refusal = "" if policy.dry_run else _refusal(len(orphans), judged, policy)
    return ScanPlan(
        total_running=verdicts.total(),
        orphans=tuple(orphans),
        stops=() if policy.dry_run or refusal or snapshot.cut else tuple(orphans),
        suspicions=tuple(suspicions),
        verdicts=verdicts,
        refusal=refusal,
        cut=snapshot.cut,
        problems=snapshot.problems,
        listed=snapshot.listed,
        unclear=tuple(snapshot.review.unclear),
    )


def lacks_its_task(run: ActiveRun, listed: AbstractSet[str], policy: OrphanPolicy, now: datetime) -> bool:
    """The other direction: a run that is RUNNING on record, long enough, in this cluster, whose task does not run, and no result.

    No proof, as the index may be stale, and a task that is stopping is not listed: reconciling judges it.
    """
    here = run.cluster is None or _name(run.cluster) == _name(policy.cluster)
    since = run.started_at or run.active_since
    return (
        here
        and run.external_id is not None
        and run.external_id not in listed
        and run.committed_result is None
        and since is not None
        and now - since >= timedelta(seconds=policy.criteria.grace_s)
    )


def _name(cluster: str) -> str:
    return cluster.rsplit("/", 1)[-1]


def _refusal(found: int, judged: int, policy: OrphanPolicy) -> str:
    """Tasks that could not be judged do not make the share of orphans smaller."""
    if found > policy.max_stops_per_scan:
        return (
            f"{found} orphans are more than orphans.max_stops_per_scan ({policy.max_stops_per_scan}); none is stopped"
        )
    if judged >= policy.min_running_for_share and found > policy.max_stop_share * judged:
        return f"{found} of {judged} running tasks are more than orphans.max_stop_share ({policy.max_stop_share:g}); none is stopped"
    return ""


def _limited_run(suspect: Suspect) -> str | None:
    """The run that the stop of this task will end; None when it is over, or goes on in another task: then nothing is to be recorded."""
    run, identity = suspect.run, suspect.task.identity
    if run is None or identity is None or run.status in TERMINAL:
        return None
    goes_on_elsewhere = run.attempt != identity.attempt or run.external_id not in (None, suspect.task.arn)
    return None if goes_on_elsewhere else run.run_id


def _the_same(suspicion: Suspicion | None, reason: str, now: datetime) -> Suspicion | None:
    """An earlier look confirms only what it saw itself, and not for ever.

    DynamoDB deletes an expired item up to days later ("Time to Live"): until then it must count for nothing.
    """
    if suspicion is None or suspicion.expires_at < now or suspicion.reason != reason:
        return None
    return suspicion


def _suspicion(earlier: Suspicion | None, task_arn: str, reason: str, policy: OrphanPolicy, now: datetime) -> Suspicion:
    expires_at = now + timedelta(seconds=policy.suspicion_life_s)
    if earlier is None:
        return Suspicion(task_arn=task_arn, reason=reason, first_seen=now, last_seen=now, expires_at=expires_at)
    return replace(earlier, last_seen=now, expires_at=expires_at)
