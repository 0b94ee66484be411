"""When a running task is an orphan: ordered rules over one task and its state record, first match wins. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from dagy_control.model.runs import TERMINAL, RunStatus
from dagy_control.model.tasks import SeenTask, TaskIdentity


class Verdict(StrEnum):
    """What a task is to the scanner."""

    KEEP_FOREIGN = "keep_foreign"
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
class Criteria:
    """The limits of the judgement. Times in seconds, `max_runtime_hours` in hours as documented."""

    installation: str
    state_tables: Sequence[StateTable]
    max_runtime_hours: float = 6.0
    grace_s: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRun:
    """What a scan needs of one of our runs."""

    run_id: str
    status: RunStatus
    attempt: int
    external_id: str | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A running task and the record that it maps to: one of our runs, an item of a state table, or none."""

    task: SeenTask
    identity: TaskIdentity | None
    table: StateTable | None
    run: OwnRun | None
    record: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Judgement:
    """`reason` in the documented words; `runtime_hours` only where the runtime is the reason; `confirm`: only a second scan makes it so."""

    verdict: Verdict
    reason: str = ""
    runtime_hours: float | None = None
    confirm: bool = False


def judge(suspect: Suspect, criteria: Criteria, now: datetime) -> Judgement:
    """The judgement of one running task. Total: the last rule always matches."""
    judgements = (rule(suspect, criteria, now) for rule in RULES)
    return next(judgement for judgement in judgements if judgement is not None)


def _foreign(suspect: Suspect, _criteria: Criteria, _now: datetime) -> Judgement | None:
    """Neither started by this installation nor tagged for a configured table: counted, never stopped."""
    if suspect.identity is None and suspect.table is None:
        return Judgement(Verdict.KEEP_FOREIGN)
    return None


def _too_young(suspect: Suspect, criteria: Criteria, now: datetime) -> Judgement | None:
    """Its record may not be written yet."""
    since = suspect.task.started_at or suspect.task.created_at
    if since is None or now - since < timedelta(seconds=criteria.grace_s):
        return Judgement(Verdict.KEEP_TOO_YOUNG)
    return None


def _launching(suspect: Suspect, _criteria: Criteria, _now: datetime) -> Judgement | None:
    """A launch of this very attempt is under way: this may be its task."""
    run, identity = suspect.run, suspect.identity
    if (
        run is not None
        and identity is not None
        and run.status is RunStatus.LAUNCHING
        and run.attempt == identity.attempt
    ):
        return Judgement(Verdict.KEEP_LAUNCHING)
    return None


def _runtime(suspect: Suspect, criteria: Criteria, now: datetime) -> Judgement | None:
    """Documented: running longer than the maximum, by ECS's own startedAt."""
    if suspect.task.started_at is None:
        return None
    hours = (now - suspect.task.started_at).total_seconds() / 3600
    if hours <= criteria.max_runtime_hours:
        return None
    reason = f"Exceeded max runtime ({hours:.1f}h > {criteria.max_runtime_hours:g}h)"
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
    """Documented: the state record shows a terminal status."""
    if suspect.table is None or suspect.record is None:
        return None
    status = suspect.record.get(suspect.table.status_attribute)
    if status not in suspect.table.terminal_statuses:
        return None
    return Judgement(Verdict.ORPHAN, f"State shows '{status}' but task still running")


def _another_attempt(suspect: Suspect, _criteria: Criteria, _now: datetime) -> Judgement | None:
    """Our run has gone on to another attempt, or runs this one in another task."""
    run, identity = suspect.run, suspect.identity
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
    if suspect.table is None or suspect.record is None or not suspect.table.check_arn:
        return None
    recorded = suspect.record.get(suspect.table.arn_attribute)
    if not recorded or recorded == suspect.task.arn:
        return None
    return Judgement(Verdict.ORPHAN, "State points to a different task", confirm=True)


def _no_record(suspect: Suspect, _criteria: Criteria, _now: datetime) -> Judgement | None:
    """Ours by its name, and nothing on record knows it."""
    if suspect.run is not None or suspect.record is not None:
        return None
    return Judgement(Verdict.ORPHAN, "No state record for a running task", confirm=True)


def _healthy(_suspect: Suspect, _criteria: Criteria, _now: datetime) -> Judgement:
    """Nothing speaks against it."""
    return Judgement(Verdict.KEEP_HEALTHY)


RULES: tuple[Callable[[Suspect, Criteria, datetime], Judgement | None], ...] = (
    _foreign,
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
