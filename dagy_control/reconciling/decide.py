"""What a reconciling pass does with a page of running runs and what ECS says of their tasks. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from dagy_control.errors import Permanent
from dagy_control.model.failures import RetryPolicy
from dagy_control.model.outcomes import Ending, Outcome, Sighting, judge
from dagy_control.model.runs import ActiveRun, RunStatus, StopCause, WorkerResult
from dagy_control.model.tasks import SeenTask


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcilePolicy:
    """All that reconciling is told by the configuration. Times in seconds.

    `max_missing_share`: a pass that finds more than this share of its tasks newly lost looks at the wrong cluster or region;
    it ends none of them. It counts from `missing_share_min_tasks` tasks on.
    """

    container_name: str
    default_cluster: str
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    stale_threshold_s: float = 300.0
    missing_grace_s: float = 600.0
    start_timeout_s: float = 900.0
    result_linger_s: float = 120.0
    describe_concurrency: int = 4
    max_missing_share: float = 0.5
    missing_share_min_tasks: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSnapshot:
    """A page of runs that are due, and what was found for each: by ARN the task, by run how often it was missing in a row.

    `unreadable`: runs of which ECS or S3 could not be read; they stay as they are. `results`: result objects from S3.
    `refusal`: why ECS would not describe some of them (a deleted cluster, a missing permission).
    """

    runs: Sequence[ActiveRun]
    tasks: Mapping[str, SeenTask]
    missing_observations: Mapping[str, int]
    results: Mapping[str, WorkerResult]
    unreadable: frozenset[str]
    refusal: Permanent | None = None


@dataclass(frozen=True, slots=True)
class End:
    """A run whose attempt is over, by which outcome, from which task (None: ECS has forgotten it) and which result object, if any."""

    run: ActiveRun
    outcome: Outcome
    task: SeenTask | None
    stored_result: WorkerResult | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """A task to stop: the cause goes on the record first."""

    run: ActiveRun
    cause: StopCause
    reason: str


@dataclass(frozen=True, slots=True)
class PagePlan:
    """What to do with a page. `lost` are ends for want of any trace of the task: done only after the whole pass has been looked at."""

    ends: Sequence[End]
    stops: Sequence[Stop]
    lost: Sequence[End]
    kept: Counter[str]


def is_due(run: ActiveRun, policy: ReconcilePolicy, now: datetime) -> bool:
    """Whether a pass looks at the run: old enough, or with something on record that must be enforced at any age."""
    if run.status is not RunStatus.RUNNING:
        return False
    if run.cancel_requested_at is not None or run.stop_cause is not None or _start_is_late(run, policy, now):
        return True
    return run.active_since is None or now - run.active_since >= timedelta(seconds=policy.stale_threshold_s)


def wants_result_object(run: ActiveRun, task: SeenTask | None) -> bool:
    """Whether the worker's result object in S3 must be read: the task is over or gone, and the record has no final result."""
    over = task is None or (task.has_ended and task.arn == run.external_id)
    return over and run.external_id is not None and run.committed_result is None


def decide(snapshot: PageSnapshot, policy: ReconcilePolicy, now: datetime) -> PagePlan:
    """The plan for one page."""
    ends: list[End] = []
    lost: list[End] = []
    stops: list[Stop] = []
    kept: Counter[str] = Counter()
    for run in snapshot.runs:
        if run.run_id in snapshot.unreadable:
            kept["unreadable"] += 1
            continue
        task = snapshot.tasks.get(run.external_id or "")
        stored_result = snapshot.results.get(run.run_id)
        outcome = judge(
            Sighting(
                run=run,
                task=task,
                now=now,
                container_name=policy.container_name,
                missing_grace_s=policy.missing_grace_s,
                missing_observations=snapshot.missing_observations.get(run.run_id, 0),
                stored_result=stored_result,
            )
        )
        if outcome.ending is not Ending.UNDECIDED:
            (lost if task is None else ends).append(End(run, outcome, task, stored_result))
        elif task is not None and (stop := decide_stop(run, task, policy, now)) is not None:
            stops.append(stop)
        else:
            kept[outcome.rule] += 1
    return PagePlan(tuple(ends), tuple(stops), tuple(lost), kept)


def decide_stop(run: ActiveRun, task: SeenTask, policy: ReconcilePolicy, now: datetime) -> Stop | None:
    """Whether a live task must be stopped: what is on record comes first, then the time limits. None: leave it."""
    if task.desired_status == "STOPPED" or task.arn != run.external_id:
        return None
    if run.cancel_requested_at is not None:
        return Stop(run, StopCause.CANCELLED, "Cancelled on request")
    if run.stop_cause is not None:
        return Stop(run, run.stop_cause, f"Stopped by dagy_control: {run.stop_cause}")
    if _start_is_late(run, policy, now):
        return Stop(run, StopCause.START_TIMEOUT, f"Not started within {policy.start_timeout_s:g} s")
    lingers = timedelta(seconds=policy.result_linger_s)
    if run.committed_result is not None and run.result_at is not None and now - run.result_at >= lingers:
        return Stop(run, StopCause.LINGERING, f"Still running {policy.result_linger_s:g} s after its result")
    return None


def too_many_lost(lost: int, looked_at: int, policy: ReconcilePolicy) -> bool:
    """Whether the share of tasks without a trace is too large to be true."""
    return looked_at >= policy.missing_share_min_tasks and lost > policy.max_missing_share * looked_at


def _start_is_late(run: ActiveRun, policy: ReconcilePolicy, now: datetime) -> bool:
    if run.started_at is not None or run.active_since is None:
        return False
    return now - run.active_since >= timedelta(seconds=policy.start_timeout_s)
