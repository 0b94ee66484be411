"""What a stopped (or vanished) task means for its run: an ordered list of rules, first match wins, each with its reason.

The texts and codes are those of "Stopped tasks error messages" and "Task" (API reference) in the Amazon ECS documentation.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from dagy_control.model.runs import ActiveRun, FailureClass, ResultStatus, StopCause, WorkerResult
from dagy_control.model.stop_kinds import END_KINDS, EXIT_KINDS, START_KINDS, kind_of
from dagy_control.model.stop_words import text_of, thing_of, words_of
from dagy_control.model.tasks import SeenTask, TaskIdentity

EXIT_CLAIM_REFUSED = 75
"""The worker's reserved exit code (EX_TEMPFAIL): its claim was refused, so no user code has run."""

SHUTDOWN_MESSAGE = "Worker shutdown requested via SIGTERM"
MISSING_OBSERVATIONS_MIN = 2
"""One look that finds a task MISSING proves nothing: DescribeTasks is eventually consistent."""


class Ending(StrEnum):
    """What an attempt has come to."""

    UNDECIDED = "UNDECIDED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The judgement of one attempt. `rule` names the rule that matched; `message` is a sentence for a person."""

    ending: Ending
    rule: str
    message: str
    failure_class: FailureClass | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """All that a judgement of one task rests on.

    `task` None: DescribeTasks answered MISSING, for the `missing_observations`-th time in a row. `stored_result`: the worker's
    result object in S3, read only when the record holds none. `now` and the run's times are aware UTC.
    """

    run: ActiveRun
    task: SeenTask | None
    now: datetime
    container_name: str
    missing_grace_s: float
    missing_observations: int = 0
    stored_result: WorkerResult | None = None

    @property
    def exit_code(self) -> int | None:
        """The exit code of the worker's container, found by name (AWS injects sidecars); None when ECS knows none."""
        container = self.task.container(self.container_name) if self.task else None
        return container.exit_code if container else None

    @property
    def is_cancelled(self) -> bool:
        """Whether a cancel is on record."""
        return self.run.cancel_requested_at is not None or self.run.stop_cause is StopCause.CANCELLED

    @property
    def result(self) -> WorkerResult | None:
        """The worker's result for this attempt. A cancel beats one that only lies in S3: it was acknowledged before."""
        committed = self.run.committed_result
        if committed is not None:
            return committed
        stored = self.stored_result
        if stored is None or stored.attempt != self.run.attempt or self.is_cancelled:
            return None
        return stored


def judge(sighting: Sighting) -> Outcome:
    """The outcome of a run's task: the first rule that matches decides. Total: each list ends with a rule that always matches."""
    if sighting.task is None:
        verdicts = ((name, rule(sighting)) for name, rule in MISSING_RULES)
    else:
        task = sighting.task
        verdicts = ((name, rule(sighting, task)) for name, rule in TASK_RULES)
    return next(replace(outcome, rule=name) for name, outcome in verdicts if outcome is not None)


def _undecided(message: str) -> Outcome:
    return Outcome(ending=Ending.UNDECIDED, rule="", message=message)


def _failed(failure_class: FailureClass, message: str) -> Outcome:
    return Outcome(ending=Ending.FAILED, rule="", message=message, failure_class=failure_class)


def _stopped(failure_class: FailureClass, sentence: str) -> Outcome:
    """A failure that we read off a stopped task, in the runbook's wording."""
    return _failed(failure_class, f"Reconciled: Task was STOPPED: {sentence}")


_CANCELLED = Outcome(ending=Ending.CANCELLED, rule="", message="Cancelled on request")


def _by_result(result: WorkerResult) -> Outcome:
    if result.status is ResultStatus.SUCCEEDED:
        return Outcome(ending=Ending.SUCCEEDED, rule="", message=result.message)
    return _failed(result.failure_class or FailureClass.USER_ERROR, result.message or "The flow failed")


# A task that DescribeTasks calls MISSING.


def _young(seen: Sighting) -> Outcome | None:
    """ECS may not show a task for minutes after RunTask: young MISSING means "not yet"."""
    since = seen.run.launch_sent_at or seen.run.active_since
    if since is not None and seen.now - since < timedelta(seconds=seen.missing_grace_s):
        return _undecided("ECS does not show the task yet")
    if seen.missing_observations < MISSING_OBSERVATIONS_MIN:
        return _undecided("ECS does not show the task; one look is not proof")
    return None


def _missing_result(seen: Sighting) -> Outcome | None:
    """ECS forgets a stopped task after about an hour: what the worker left decides."""
    if seen.result is None or seen.result.failure_class is FailureClass.SHUTDOWN:
        return None
    return _by_result(seen.result)


def _missing_cancelled(seen: Sighting) -> Outcome | None:
    """A cancel was acknowledged and nothing runs any more: that is all the user asked for."""
    return _CANCELLED if seen.is_cancelled else None


def _lost(seen: Sighting) -> Outcome:
    """Nobody knows how it ended. Never relaunched blindly: it may have done its work."""
    run = seen.run
    looked = f"looked for {seen.missing_observations} times, last at {seen.now:%Y-%m-%d %H:%M:%S} UTC"
    cause = f"; it was being stopped: {run.stop_cause}" if run.stop_cause else ""
    left = "only a SHUTDOWN" if seen.result else "no result"
    return _failed(
        FailureClass.LOST,
        f"Reconciled: Task is MISSING: ECS no longer knows {run.external_id} ({looked}), and its worker left {left}{cause}",
    )


MISSING_RULES: tuple[tuple[str, Callable[[Sighting], Outcome | None]], ...] = (
    ("missing_young", _young),
    ("missing_result", _missing_result),
    ("missing_cancelled", _missing_cancelled),
    ("missing_lost", _lost),
)


# A task that ECS shows.


def _another_task(seen: Sighting, task: SeenTask) -> Outcome | None:
    """A task of another attempt, or another task of this one, says nothing about the task on record."""
    if seen.run.external_id is not None and task.arn != seen.run.external_id:
        return _undecided("the task is not the one on record")
    identity = TaskIdentity.parse(task.started_by)
    if identity is not None and (identity.run_id, identity.attempt) != (seen.run.run_id, seen.run.attempt):
        return _undecided("the task belongs to another attempt")
    return None


def _not_ended(_seen: Sighting, task: SeenTask) -> Outcome | None:
    """Before STOPPED nothing counts: a Spot warning carries its stop code while the task still runs."""
    return None if task.has_ended else _undecided(f"the task is {task.last_status}")


def _claim_refused(seen: Sighting, _task: SeenTask) -> Outcome | None:
    """A worker that exits with the reserved code was refused its attempt: nothing of the user's has run."""
    if seen.exit_code != EXIT_CLAIM_REFUSED:
        return None
    if seen.is_cancelled:
        return _CANCELLED
    return _stopped(
        FailureClass.INFRASTRUCTURE, "its worker was refused the attempt before anything ran; its log says why"
    )


def _worker_result(seen: Sighting, _task: SeenTask) -> Outcome | None:
    """What the worker committed before it exited beats any reading of its exit; a SHUTDOWN is only a hint."""
    if seen.result is None or seen.result.failure_class is FailureClass.SHUTDOWN:
        return None
    return _by_result(seen.result)


def _our_cause(seen: Sighting, _task: SeenTask) -> Outcome | None:
    """We stopped it ourselves, and wrote why before we did."""
    if seen.is_cancelled:
        return _CANCELLED
    match seen.run.stop_cause:
        case StopCause.TIMED_OUT:
            return _stopped(FailureClass.TIMED_OUT, "the run exceeded timeout (its maximum runtime)")
        case StopCause.START_TIMEOUT:
            return _stopped(FailureClass.START_TIMEOUT, "the task did not start in time")
        case StopCause.SUPERSEDED:
            return _stopped(FailureClass.INFRASTRUCTURE, "the task was superseded")
        case _:  # LINGERING only ends a worker that outlives its result: the result, or its SHUTDOWN, decides
            return None


def _spot(_seen: Sighting, task: SeenTask) -> Outcome | None:
    """A Spot reclaim, with or without an exit code; `TerminationNotice` is its older name."""
    said = task.stopped_reason.lower().startswith("your spot task was interrupted")
    if said or task.stop_code in ("SpotInterruption", "TerminationNotice"):
        return _stopped(FailureClass.SPOT_INTERRUPTED, "Fargate Spot reclaimed the capacity")
    return None


_INFRASTRUCTURE_TEXT = re.compile(r"infrastructure (issue|failure)", re.IGNORECASE)
_AWS_SENTENCE = re.compile(r"(Service \S+: )?(ECS is performing maintenance|Host EC2 \(instance)", re.IGNORECASE)
"""How AWS itself begins a reason, whatever the stop code."""


def _infrastructure(_seen: Sighting, task: SeenTask) -> Outcome | None:
    """The host went away, was retired, or was found unhealthy: not the user's doing. Not what a person wrote to StopTask."""
    kind = kind_of(f"{task.stop_code} {text_of(task)}", END_KINDS)
    if _by_a_person(task):
        if not _AWS_SENTENCE.match(task.stopped_reason):
            return None
    elif kind is None and task.stop_code != "InfrastructureHealth" and not _INFRASTRUCTURE_TEXT.search(text_of(task)):
        return None
    finding = kind.finding if kind else "the infrastructure under the task failed"
    return _stopped(FailureClass.INFRASTRUCTURE, f"{finding} ({words_of(task)})")


def _never_started(seen: Sighting, task: SeenTask) -> Outcome | None:
    """`TaskFailedToStart` often has no containers at all; the reason's words give the class. A stop by a person cancels a pull too."""
    if _by_a_person(task):
        return None
    kind = kind_of(text_of(task), START_KINDS)
    ran = seen.exit_code is not None or task.started_at is not None
    if task.stop_code != "TaskFailedToStart" and (kind is None or ran):
        return None
    if kind is None:
        return _stopped(FailureClass.INFRASTRUCTURE, f"the task did not start ({words_of(task)})")
    finding = kind.finding.format(thing=thing_of(task, kind, worker=seen.container_name))
    return _stopped(kind.failure_class, f"{finding} ({words_of(task)})")


def _by_a_person(task: SeenTask) -> bool:
    """Whether `stoppedReason` is what somebody gave to StopTask, and no word of ECS's."""
    return task.stop_code == "UserInitiated"


_MEMORY_TEXT = re.compile(r"out ?of ?memory|memory usage|memory exhaustion|\bOOM", re.IGNORECASE)


def _out_of_memory(seen: Sighting, task: SeenTask) -> Outcome | None:
    """The words of the worker's container or of ECS, whatever the exit code: 137 alone is any SIGKILL.

    Not the words of a sidecar, which may die while the worker goes on, nor those that a person gave to StopTask.
    """
    container = task.container(seen.container_name)
    words = [container.reason] if container else []
    if task.stop_code != "UserInitiated":
        words.append(task.stopped_reason)
    if not any(map(_MEMORY_TEXT.search, words)):
        return None
    had = "" if task.memory_mib is None else f", with {task.memory_mib} MiB for the whole task"
    return _stopped(
        FailureClass.OUT_OF_MEMORY, f"Container was killed due to memory exhaustion{had} ({words_of(task)})"
    )


def _shutdown(seen: Sighting, _task: SeenTask) -> Outcome | None:
    """The worker was told to stop and ECS gives no better reason."""
    if seen.result is None or seen.result.failure_class is not FailureClass.SHUTDOWN:
        return None
    return _failed(FailureClass.SHUTDOWN, SHUTDOWN_MESSAGE)


def _stopped_by_somebody(_seen: Sighting, task: SeenTask) -> Outcome | None:
    """StopTask by somebody else: no cause of ours is on record."""
    if task.stop_code != "UserInitiated":
        return None
    return _stopped(FailureClass.STOPPED, f"somebody called StopTask: {task.stopped_reason[:500] or 'no reason given'}")


def _died_before_claim(seen: Sighting, task: SeenTask) -> Outcome | None:
    """It exited before its claim was on record: nothing of the user's has run, so it is none of the user's failures."""
    if seen.exit_code is None or seen.run.started_at is not None:
        return None
    why = f"the worker exited with code {seen.exit_code} before it had claimed the attempt ({words_of(task)})"
    return _stopped(FailureClass.INFRASTRUCTURE, why)


def _no_result(seen: Sighting, _task: SeenTask) -> Outcome | None:
    """Exit code 0 is not success: only the worker's committed result is."""
    if seen.exit_code != 0:
        return None
    return _stopped(FailureClass.NO_RESULT, "the worker exited with code 0 without committing a result")


def _exit_code(seen: Sighting, task: SeenTask) -> Outcome | None:
    """Any other exit code is the worker's or its user's own."""
    code = seen.exit_code
    if code is None:
        return None
    meaning = f", {EXIT_KINDS[code].meaning}" if code in EXIT_KINDS else ""
    return _stopped(FailureClass.USER_ERROR, f"the worker exited with code {code}{meaning} ({words_of(task)})")


def _anything_else(_seen: Sighting, task: SeenTask) -> Outcome:
    """Unknown stop codes and texts are reported as they are, never guessed."""
    return _stopped(FailureClass.INFRASTRUCTURE, words_of(task))


TASK_RULES: tuple[tuple[str, Callable[[Sighting, SeenTask], Outcome | None]], ...] = (
    ("another_task", _another_task),
    ("not_ended", _not_ended),
    ("claim_refused", _claim_refused),
    ("worker_result", _worker_result),
    ("our_cause", _our_cause),
    ("spot", _spot),
    ("infrastructure", _infrastructure),
    ("never_started", _never_started),
    ("out_of_memory", _out_of_memory),
    ("shutdown", _shutdown),
    ("stopped_by_somebody", _stopped_by_somebody),
    ("died_before_claim", _died_before_claim),
    ("no_result", _no_result),
    ("exit_code", _exit_code),
    ("anything_else", _anything_else),
)
