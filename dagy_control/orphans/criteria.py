"""When a running task is an orphan: ordered rules over one task and its state record, first match wins. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from dagy_control.model.runs import TERMINAL, RunGlance, RunStatus
from dagy_control.model.tasks import TaskIdentity, short_id


class Verdict(StrEnum):
    """What a task is to the scanner."""

    KEEP_FOREIGN = "keep_foreign"
    KEEP_STOPPING = "keep_stopping"
    KEEP_UNREAD = "keep_unread"
    KEEP_EXEMPT = "keep_exempt"
    KEEP_UNCLEAR = "keep_unclear"
    KEEP_TOO_YOUNG = "keep_too_young"
    KEEP_LAUNCHING = "keep_launching"
    KEEP_JUST_ENDED = "keep_just_ended"
    KEEP_HEALTHY = "keep_healthy"
    SUSPECT = "suspect"
    ORPHAN = "orphan"


@dataclass(frozen=True, slots=True, kw_only=True)
class StateTable:
    """A table that the scanner cross-checks. `task_tag` of a task gives the key; `check_arn`: its ARN must be the recorded one."""

    name: str
    table: str
    key_attribute: str
    task_tag: str
    status_attribute: str
    terminal_statuses: frozenset[str]
    arn_attribute: str
    check_arn: bool

    @property
    def attributes(self) -> Sequence[str]:
        """The attributes that a scan reads."""
        return (self.key_attribute, self.status_attribute, self.arn_attribute)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeLimit:
    """A longest runtime of its own, in hours: for the runs of a flow, or for tasks with this value of this tag."""

    hours: float
    flow: str | None = None
    tag: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """The limits of the judgement. Times in seconds, `max_runtime_hours` in hours as documented.

    A task is ours if its `startedBy` is of this `installation`, if it has the tag of a state table, or if its task definition is
    of one of the `families`; of the last only its runtime can be judged. The first of `runtime_limits` that names a task goes
    before `max_runtime_hours`.
    """

    installation: str
    state_tables: Sequence[StateTable]
    max_runtime_hours: float = 6.0
    grace_s: float = 300.0
    families: frozenset[str] = frozenset()
    runtime_limits: Sequence[RuntimeLimit] = ()
    keep_tag: str = "dagy:keep"


@dataclass(frozen=True, slots=True)
class StateKey:
    """Which item of which state table a task is about."""

    table: StateTable
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTask:
    """As much of a task as its judgement needs: a scan holds all of the cluster's, and a task with its tags takes kilobytes.

    `identity`: the run of ours that it was started for. `states`: where its tags lead to. `keep_unclear`: its keep tag is no date.
    """

    arn: str
    started_at: datetime | None
    created_at: datetime | None
    max_runtime_hours: float
    identity: TaskIdentity | None = None
    states: tuple[StateKey, ...] = ()
    of_family: bool = False
    stopping: bool = False
    keep_until: datetime | None = None
    keep_unclear: bool = False


@dataclass(frozen=True, slots=True)
class StateRecord:
    """What a state table says of a task's key; `record` None: it has no such item."""

    table: StateTable
    record: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A running task and the records that it maps to. `unread`: one of them could not be read, so nothing can be said."""

    task: RunningTask
    run: RunGlance | None = None
    states: tuple[StateRecord, ...] = ()
    unread: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """`reason` in the documented words; `runtime_hours` only where the runtime is the reason; `confirm`: only a second scan makes it so."""

    verdict: Verdict
    reason: str = ""
    runtime_hours: float | None = None
    confirm: bool = False


def judge(suspect: Suspect, criteria: Criteria, now: datetime) -> Judgement:
    """The judgement of one running task. Total: the last rule always matches."""
    for rule in RULES:
        judgement = rule(suspect, criteria, now)
        if judgement is not None:
            return judgement
    raise AssertionError("unreachable: the last rule always matches")


def _foreign(suspect: Suspect, _criteria: Criteria, _now: datetime) -> Judgement | None:
    """Nothing by which it could be ours: counted, never stopped."""
    task = suspect.task
    if task.identity is None and not task.states and not task.of_family:
        return Judgement(Verdict.KEEP_FOREIGN)
    return None


def _stopping(suspect: Suspect, _criteria: Criteria, _now: datetime) -> Judgement | None:
    """Somebody has stopped it, and with that deleted its tags: what it was exempt from cannot be told any more."""
    return Judgement(Verdict.KEEP_STOPPING) if suspect.task.stopping else None


def _unread(suspect: Suspect, _criteria: Criteria, _now: datetime) -> Judgement | None:
    """A record that could not be read may say anything."""
    return Judgement(Verdict.KEEP_UNREAD) if suspect.unread else None


def _exempt(suspect: Suspect, _criteria: Criteria, now: datetime) -> Judgement | None:
    """Somebody wants it kept; if until when cannot be read, that is no reason to stop it."""
    if suspect.task.keep_unclear:
        return Judgement(Verdict.KEEP_UNCLEAR)
    if suspect.task.keep_until is not None and now < suspect.task.keep_until:
        return Judgement(Verdict.KEEP_EXEMPT)
    return None


def _too_young(suspect: Suspect, criteria: Criteria, now: datetime) -> Judgement | None:
    """Its record may not be written yet."""
    since = suspect.task.started_at or suspect.task.created_at
    if since is None or now - since < timedelta(seconds=criteria.grace_s):
        return Judgement(Verdict.KEEP_TOO_YOUNG)
    return None


def _launching(suspect: Suspect, _criteria: Criteria, _now: datetime) -> Judgement | None:
    """A launch of this very attempt is under way: this may be its task."""
    run, identity = suspect.run, suspect.task.identity
    if (
        run is not None
        and identity is not None
        and run.status is RunStatus.LAUNCHING
        and run.attempt == identity.attempt
    ):
        return Judgement(Verdict.KEEP_LAUNCHING)
    return None


def _runtime(suspect: Suspect, _criteria: Criteria, now: datetime) -> Judgement | None:
    """Documented: running longer than the maximum, by ECS's own startedAt."""
    task = suspect.task
    if task.started_at is None:
        return None
    hours = (now - task.started_at).total_seconds() / 3600
    if hours <= task.max_runtime_hours:
        return None
    reason = f"Exceeded max runtime ({hours:.1f}h > {task.max_runtime_hours:g}h)"
    return Judgement(Verdict.ORPHAN, reason, runtime_hours=round(hours, 1))


def _run_has_ended(suspect: Suspect, criteria: Criteria, now: datetime) -> Judgement | None:
    """Our run is over; its worker has a grace to exit."""
    run = suspect.run
    if run is None or run.status not in TERMINAL:
        return None
    if run.completed_at is not None and now - run.completed_at < timedelta(seconds=criteria.grace_s):
        return Judgement(Verdict.KEEP_JUST_ENDED)
    return Judgement(Verdict.ORPHAN, f"State shows '{run.status}' but task still running")


def _state_is_terminal(suspect: Suspect, _criteria: Criteria, _now: datetime) -> Judgement | None:
    """Documented: the state record shows a terminal status.

    One that names another task may be of the key's last job, its next one running already: then a second scan must see the same.
    """
    for state in suspect.states:
        status = None if state.record is None else state.record.get(state.table.status_attribute)
        if isinstance(status, str) and status in state.table.terminal_statuses:
            reason = f"State shows '{status}' but task still running"
            return Judgement(Verdict.ORPHAN, reason, confirm=_names_another(state, suspect.task.arn))
    return None


def _another_attempt(suspect: Suspect, _criteria: Criteria, _now: datetime) -> Judgement | None:
    """Our run has gone on to another attempt, or runs this one in another task."""
    run, identity = suspect.run, suspect.task.identity
    if run is None or identity is None:
        return None
    if run.attempt != identity.attempt:
        return Judgement(
            Verdict.ORPHAN, f"State shows attempt {run.attempt}, task is of attempt {identity.attempt}", confirm=True
        )
    if run.external_id is not None and run.external_id != suspect.task.arn:
        return Judgement(Verdict.ORPHAN, "State points to a different task", confirm=True)
    return None


def _another_task(suspect: Suspect, _criteria: Criteria, _now: datetime) -> Judgement | None:
    """Documented: the state record points to a different task_arn."""
    if any(_names_another(state, suspect.task.arn) for state in suspect.states):
        return Judgement(Verdict.ORPHAN, "State points to a different task", confirm=True)
    return None


def _names_another(state: StateRecord, arn: str) -> bool:
    """By the task's id: some systems record that alone, or an ARN of the older form without the cluster."""
    recorded = state.record.get(state.table.arn_attribute) if state.record is not None else None
    if not state.table.check_arn or not isinstance(recorded, str) or not recorded:
        return False
    return short_id(recorded) != short_id(arn)


def _no_record(suspect: Suspect, _criteria: Criteria, _now: datetime) -> Judgement | None:
    """Ours by its name, and nothing on record knows it. A family alone leads to no record."""
    known = suspect.run is not None or any(state.record is not None for state in suspect.states)
    if known or suspect.task.of_family:
        return None
    return Judgement(Verdict.ORPHAN, "No state record for a running task", confirm=True)


def _healthy(_suspect: Suspect, _criteria: Criteria, _now: datetime) -> Judgement:
    """Nothing speaks against it."""
    return Judgement(Verdict.KEEP_HEALTHY)


RULES: tuple[Callable[[Suspect, Criteria, datetime], Judgement | None], ...] = (
    _foreign,
    _stopping,
    _unread,
    _exempt,
    _too_young,
    _launching,
    _runtime,
    _run_has_ended,
    _state_is_terminal,
    _another_attempt,
    _another_task,
    _no_record,
    _healthy,
)
