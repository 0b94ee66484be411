"""What a launching tick does: which queued runs to launch, and how to settle launches whose outcome is unknown. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from dagy_control.launching.admission import AdmissionLimits, admit
from dagy_control.launching.breaker import CLOSED, Breaker, BreakerPolicy, Claims, allowed_claims, choose_probe
from dagy_control.launching.request import LaunchTarget
from dagy_control.model.census import Census
from dagy_control.model.lifecycle import LaunchRetryPolicy
from dagy_control.model.runs import ActiveRun, RunStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPolicy:
    """All that launching is told by the configuration. Times in seconds.

    `reply_timeout_s`: a send younger than this may still be answered to whoever sent it. `token_replay_max_age_s`: ECS keeps a
    token at least an hour after its task's end ("Ensuring idempotency", ECS API reference); counted from the first send.
    `idle_interval_s`: until the next look at an empty queue, which costs a query a shard; None: the loop's interval.
    `queue_page_limit`: runs of each of the queue's shards that every tick reads, the oldest. A queue that is longer is read whole
    once per `census_interval_s`, and of it the first runs of each flow are kept in mind (`sample.py`).
    `labelled_orgs`, `labelled_flows` (organisation, flow): whose active runs are counted by name in the metrics.
    """

    target: LaunchTarget
    limits: AdmissionLimits = field(default_factory=AdmissionLimits)
    retry: LaunchRetryPolicy = field(default_factory=LaunchRetryPolicy)
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    reply_timeout_s: float = 45.0
    token_replay_max_age_s: float = 3300.0
    not_found_grace_s: float = 600.0
    census_interval_s: float = 10.0
    max_in_flight: int = 32
    idle_interval_s: float | None = None
    queue_page_limit: int = 100
    labelled_orgs: tuple[str, ...] = ()
    labelled_flows: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class LaunchSnapshot:
    """What a tick has read: the queue, launches under way (read less often), how many runs are active; and the breaker."""

    queued: Sequence[ActiveRun]
    launching: Sequence[ActiveRun]
    census: Census
    breaker: Breaker = CLOSED


class Settle(StrEnum):
    """How a launch without a known outcome is taken up again."""

    WAIT = "wait"
    REPLAY = "replay"
    LOOK = "look"


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """What to do, in order. `waiting`: by run id, why the other queued runs are not launched; `held`: how many of them, by reason.

    `probing`: the one run to launch tries the target behind an open breaker.
    """

    launch: Sequence[ActiveRun]
    replay: Sequence[ActiveRun] = ()
    look: Sequence[ActiveRun] = ()
    probing: bool = False
    waiting: Mapping[str, str] = field(default_factory=dict)
    held: Counter[str] = field(default_factory=Counter)


def decide(snapshot: LaunchSnapshot, policy: LaunchPolicy, now: datetime) -> LaunchPlan:
    """The plan of one tick. Every run is in at most one part of it."""
    runs = _newest((*snapshot.queued, *snapshot.launching))
    queued = [run for run in runs if run.status is RunStatus.QUEUED]
    due = [run for run in queued if is_due(run, now)]
    admission = admit(due, snapshot.census, policy.limits)
    claims = allowed_claims(snapshot.breaker, now)
    launch = _let_through(admission.admitted, claims, snapshot.breaker)
    let_through = {run.run_id for run in launch}
    waiting = {
        **{run.run_id: "not_yet" for run in queued if not is_due(run, now)},
        **{run.run_id: "breaker_open" for run in admission.admitted if run.run_id not in let_through},
        **admission.waiting,
    }
    settle: dict[Settle, list[ActiveRun]] = {how: [] for how in Settle}
    for run in runs:
        if run.status is not RunStatus.QUEUED:
            settle[judge_unresolved(run, policy, now)].append(run)
    held = Counter(waiting.values()) + Counter(reply_awaited=len(settle[Settle.WAIT]))
    return LaunchPlan(
        launch=launch,
        replay=tuple(settle[Settle.REPLAY]),
        look=tuple(settle[Settle.LOOK]),
        probing=claims is Claims.ONE,
        waiting=waiting,
        held=held,
    )


def is_due(run: ActiveRun, now: datetime) -> bool:
    """Whether a queued run may be launched: what has failed waits before it is tried again."""
    return run.not_before is None or run.not_before <= now


def _let_through(admitted: Sequence[ActiveRun], claims: Claims, breaker: Breaker) -> tuple[ActiveRun, ...]:
    match claims:
        case Claims.ALL:
            return tuple(admitted)
        case Claims.ONE:
            return choose_probe(breaker, tuple(admitted))
        case Claims.NONE:
            return ()


def _newest(seen: Iterable[ActiveRun]) -> list[ActiveRun]:
    """Each run once: one that moves while the pages of an index are read is on two of them."""
    newest: dict[str, ActiveRun] = {}
    for run in seen:
        if run.run_id not in newest or newest[run.run_id].version < run.version:
            newest[run.run_id] = run
    return list(newest.values())


def judge_unresolved(run: ActiveRun, policy: LaunchPolicy, now: datetime) -> Settle:
    """How to settle a LAUNCHING run. Ordered; the first that holds decides."""
    if run.status is not RunStatus.LAUNCHING:
        return Settle.WAIT
    # Another replica, or an earlier tick of ours, may still get the answer.
    if run.launch_sent_at is not None and now - run.launch_sent_at < timedelta(seconds=policy.reply_timeout_s):
        return Settle.WAIT
    # RunTask is never replayed just to learn an ARN to stop.
    if run.cancel_requested_at is not None:
        return Settle.LOOK
    if may_replay(run, policy, now):
        return Settle.REPLAY
    return Settle.LOOK


def may_replay(run: ActiveRun, policy: LaunchPolicy, now: datetime) -> bool:
    """Whether the token is surely still alive: counted from the first send, for the task may have ended right after it."""
    return run.active_since is not None and now - run.active_since < timedelta(seconds=policy.token_replay_max_age_s)


def may_give_up(run: ActiveRun, policy: LaunchPolicy, now: datetime) -> bool:
    """Whether a launch for which ECS shows no task may be called dead.

    Long enough after the last send, and never before the token has expired, unless a cancel is on record: then no task will
    ever be wanted.
    """
    since = run.launch_sent_at or run.active_since
    if since is not None and now - since < timedelta(seconds=policy.not_found_grace_s):
        return False
    return run.cancel_requested_at is not None or not may_replay(run, policy, now)
