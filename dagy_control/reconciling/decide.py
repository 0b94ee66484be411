"""What a reconciling pass does with a chunk of running runs and what ECS says of their tasks. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from dagy_control.errors import Permanent
from dagy_control.model.cost import PriceTable
from dagy_control.model.failures import RetryPolicy
from dagy_control.model.outcomes import MISSING_OBSERVATIONS_MIN, Ending, Outcome, Sighting, judge
from dagy_control.model.runs import ActiveRun, RunStatus, StopCause, WorkerResult
from dagy_control.model.tasks import SeenTask
from dagy_control.reconciling.pacing import PacePolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcilePolicy:
    """All that reconciling is told by the configuration. Times in seconds.

    `max_runs`: runs that one pass looks at, 0 for all. `look_again_s`: a pass that no other follows looks at the missing tasks
    once more after so long; 0: the next pass does. `max_missing_share`: a pass that finds more than this share of its tasks
    newly lost looks at the wrong cluster or region; it ends none of them. It counts from `missing_share_min_tasks` tasks on.
    """

    container_name: str
    default_cluster: str
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    prices: PriceTable = field(default_factory=PriceTable)
    max_runs: int = 0
    stale_threshold_s: float = 300.0
    missing_grace_s: float = 600.0
    start_timeout_s: float = 900.0
    result_linger_s: float = 120.0
    describe_concurrency: int = 4
    pace: PacePolicy = field(default_factory=PacePolicy)
    look_again_s: float = 0.0
    max_missing_share: float = 0.5
    missing_share_min_tasks: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkSnapshot:
    """Runs that are due, and what was found for each: by ARN the task, by run how often it was missing in a row.

    `living`: the desired status of each task that has not ended. `over`: the tasks that have. `unreadable`: runs of which ECS or S3
    could not be read; they stay as they are. `results`: result objects from S3. `refusal`: why ECS would not describe them (a
    deleted cluster, a missing permission).
    """

    runs: Sequence[ActiveRun]
    living: Mapping[str, str]
    over: Mapping[str, SeenTask]
    missing_observations: Mapping[str, int]
    results: Mapping[str, WorkerResult]
    unreadable: frozenset[str]
    refusal: Permanent | None = None


@dataclass(frozen=True, slots=True)
class End:
    """A run whose attempt is over, by which outcome, from which task and which result object, if any.

    `task` None: ECS has forgotten it, and has said so `observations` times in a row.
    """

    run: ActiveRun
    outcome: Outcome
    task: SeenTask | None
    stored_result: WorkerResult | None = None
    observations: int = 0


@dataclass(frozen=True, slots=True)
class Stop:
    """A task to stop: the cause goes on the record first."""

    run: ActiveRun
    cause: StopCause
    reason: str


@dataclass(frozen=True, slots=True)
class ChunkPlan:
    """What to do with a chunk.

    `lost` are ends for want of any trace of the task: done only after the whole pass has been looked at, and not before S3 has
    been asked for a result. `missing` counts them, and those missing that may yet appear; of these, `unsure` lack only a second
    look (told only to a pass that looks again).
    """

    ends: Sequence[End] = ()
    stops: Sequence[Stop] = ()
    lost: Sequence[End] = ()
    unsure: Sequence[ActiveRun] = ()
    missing: int = 0
    unreadable: int = 0


def due_filter(policy: ReconcilePolicy, now: datetime) -> Callable[[ActiveRun], bool]:
    """Whether a pass looks at a run: old enough, or with something on record that must be enforced at any age.

    A function made once a pass, because it is asked of every run there is.
    """
    old_since = now - timedelta(seconds=policy.stale_threshold_s)
    late_since = now - timedelta(seconds=policy.start_timeout_s)

    def is_due(run: ActiveRun) -> bool:
        if run.status is not RunStatus.RUNNING:
            return False
        since = run.active_since
        if since is None or since <= old_since or run.cancel_requested_at is not None or run.stop_cause is not None:
            return True
        return run.started_at is None and since <= late_since

    return is_due


def wants_result_object(run: ActiveRun, task: SeenTask | None) -> bool:
    """Whether the worker's result object in S3 must be read: the task is over or gone, and the record has no final result."""
    over = task is None or (task.has_ended and task.arn == run.external_id)
    return over and run.external_id is not None and run.committed_result is None


def decide(snapshot: ChunkSnapshot, policy: ReconcilePolicy, now: datetime) -> ChunkPlan:
    """The plan for one chunk. A run whose task lives, and on which nothing is on record, costs a few comparisons and no more."""
    ends: list[End] = []
    lost: list[End] = []
    unsure: list[ActiveRun] = []
    stops: list[Stop] = []
    missing = unreadable = 0
    living, marked = snapshot.living, snapshot.unreadable
    for run in snapshot.runs:
        if marked and run.run_id in marked:
            unreadable += 1
            continue
        desired_status = living.get(run.external_id or "")
        if desired_status is not None:
            if not _is_undisturbed(run) and (stop := _stop_of(run, desired_status, policy, now)) is not None:
                stops.append(stop)
            continue
        task = snapshot.over.get(run.external_id or "")
        end = _judged(snapshot, run, task, policy, now)
        missing += task is None
        if end.outcome.ending is not Ending.UNDECIDED:
            (lost if task is None else ends).append(end)
        elif task is None and policy.look_again_s > 0 and _lacks_a_look(end, policy, now):
            unsure.append(run)
    return ChunkPlan(ends, stops, lost, unsure, missing, unreadable)


def _is_undisturbed(run: ActiveRun) -> bool:
    """Nothing on record could ask for its task to be stopped: no cancel, no cause, no result, and its worker has started."""
    return (
        run.started_at is not None
        and run.cancel_requested_at is None
        and run.stop_cause is None
        and run.result_status is None
    )


def _judged(
    snapshot: ChunkSnapshot, run: ActiveRun, task: SeenTask | None, policy: ReconcilePolicy, now: datetime
) -> End:
    stored_result = snapshot.results.get(run.run_id)
    observations = snapshot.missing_observations.get(run.run_id, 0)
    sighting = Sighting(
        run=run,
        task=task,
        now=now,
        container_name=policy.container_name,
        missing_grace_s=policy.missing_grace_s,
        missing_observations=observations,
        stored_result=stored_result,
    )
    return End(run, judge(sighting), task, stored_result, observations)


def _lacks_a_look(end: End, policy: ReconcilePolicy, now: datetime) -> bool:
    """Whether the missing task would count as lost if only it had been missed twice."""
    again = judged_again(replace(end, observations=MISSING_OBSERVATIONS_MIN), end.run, policy, now)
    return again is not None and again.ending is not Ending.UNDECIDED


def judged_again(end: End, run: ActiveRun, policy: ReconcilePolicy, now: datetime) -> Outcome | None:
    """The outcome for a newer record of the run than the one that `end` was decided on; None: the record has gone on."""
    same_attempt = (run.attempt, run.external_id) == (end.run.attempt, end.run.external_id)
    if run.status is not RunStatus.RUNNING or not same_attempt:
        return None
    sighting = Sighting(
        run=run,
        task=end.task,
        now=now,
        container_name=policy.container_name,
        missing_grace_s=policy.missing_grace_s,
        missing_observations=end.observations,
        stored_result=end.stored_result,
    )
    return judge(sighting)


def _stop_of(run: ActiveRun, desired_status: str, policy: ReconcilePolicy, now: datetime) -> Stop | None:
    """Whether the run's live task must be stopped: what is on record comes first, then the time limits. None: leave it."""
    if desired_status == "STOPPED":
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


def why_held(lost: int, looked_at: int, policy: ReconcilePolicy, *, all_looked_at: bool) -> str:
    """Why none of the `lost` runs may be ended: too large a share to be true, or too few looked at to tell. "": they may."""
    if not lost:
        return ""
    if looked_at < policy.missing_share_min_tasks:
        few = f"{looked_at} tasks are too few to tell lost ones from a wrong cluster; look at {policy.missing_share_min_tasks} or more"
        return "" if all_looked_at else few
    if lost > policy.max_missing_share * looked_at:
        return f"{lost} of {looked_at} tasks are missing: too many to be true"
    return ""


def _start_is_late(run: ActiveRun, policy: ReconcilePolicy, now: datetime) -> bool:
    if run.started_at is not None or run.active_since is None:
        return False
    return now - run.active_since >= timedelta(seconds=policy.start_timeout_s)
