"""What people are told, and why a task is stopped or said to have ended: each safeguard of these taken away."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

from dagy_control.errors import Transient
from dagy_control.kernel.record_writer import RecordWriter
from dagy_control.orphans import criteria
from dagy_control.reconciling import decide as reconciling
from dagy_control.requests import cancel as cancelling
from dagy_control.requests.known_run import known_run
from tests.simulation.conduct import Conduct
from tests.simulation.removing import CALM, Mutant, policies, replaced, without_rule
from tests.simulation.retry_mutants import TASKS_GO_ON


def _acknowledged_unwritten() -> Any:
    async def cancel(runs: Any, _writer: Any, _clock: Any, run_id: str) -> Any:
        return await known_run(runs, run_id)

    return replaced(cancelling, "cancel", cancel)


def _acknowledged_unanswered() -> Any:
    """A launch counts as written though the table has not said so."""
    honest = RecordWriter.create

    async def create(writer: Any, run: Any) -> Any:
        with suppress(Transient):
            return await honest(writer, run)
        return run

    return replaced(RecordWriter, "create", create)


def _own_limit_halved() -> Any:
    """A run of ours may take half as long as the policy says."""
    honest = criteria._runtime

    def runtime(suspect: Any, *args: Any) -> Any:
        if suspect.run is not None:
            task = replace(suspect.task, max_runtime_hours=0.5 * suspect.task.max_runtime_hours)
            suspect = replace(suspect, task=task)
        return honest(suspect, *args)

    return replaced(criteria, "RULES", tuple(runtime if rule is honest else rule for rule in criteria.RULES))


def _start_is_late_at_once() -> Any:
    def late(run: Any, *_: Any) -> bool:
        return run.started_at is None

    return replaced(reconciling, "_start_is_late", late)


def _stopped_by(act: str, conduct: Conduct) -> dict[str, Any]:
    """Tasks that would go on for most of an hour are told to stop, by ECS or by somebody. One that hangs does not hear it."""
    acts = tuple((300.0 * step, act) for step in range(2, 10))
    return {**CALM, "runs": 4, "burst": True, "conducts": ((1.0, conduct),), "acts": acts, "with_trainer": False}


CAUSE_MUTANTS: tuple[Mutant, ...] = (
    Mutant("cancel_written_first", "a cancel is acknowledged once it is on record", _acknowledged_unwritten),
    Mutant("launch_written_first", "a launch is acknowledged once it is on record", _acknowledged_unanswered),
    Mutant("runtime_is_true", "what is stopped as too long has run for so long", _own_limit_halved),
    Mutant("start_timeout_is_true", "what is stopped as not started had its time to start", _start_is_late_at_once),
    Mutant(
        "lingering_is_true",
        "a worker that has left its result has its time to leave",
        policies("RECONCILING", result_linger_s=0.0),
        {**TASKS_GO_ON, "conducts": ((1.0, Conduct.FAIL_AND_LINGER),)},
    ),
    *(
        Mutant(f"rule_{name}", "what ECS says is read as what it means", without_rule("TASK_RULES", name), story)
        for name, story in (
            ("infrastructure", _stopped_by("retire", Conduct.SLOW)),
            ("shutdown", _stopped_by("meddle", Conduct.SLOW)),
            ("stopped_by_somebody", _stopped_by("meddle", Conduct.HANG)),
        )
    ),
)
