"""The rules by which the orphan scanner finds what to stop, and one by which it spares, each taken away.

Their scenarios have no other end for a task than the rule: no limit of runtime, and what is not ours never ends by itself.
"""

from dataclasses import replace
from typing import Any

from dagy_control.model.tasks import TaskIdentity
from dagy_control.orphans import criteria, decide, mapping
from dagy_control.orphans.effects import OrphanEffects
from tests.simulation.conduct import Conduct
from tests.simulation.faults import Fate, Outage, Slow
from tests.simulation.removing import CALM, Mutant, both, policies, replaced, without_criterion
from tests.simulation.scenario import STRANGERS


def _orphan_without_cause() -> Any:
    async def recorded(*_: Any) -> bool:
        return True

    return replaced(OrphanEffects, "_record_timeout", recorded)


def _one_scan() -> Any:
    def judged(suspect: Any, limits: Any, now: Any) -> Any:
        return replace(criteria_judge(suspect, limits, now), confirm=False)

    criteria_judge = criteria.judge
    return replaced(criteria, "judge", judged)


def _no_grace() -> Any:
    honest = criteria.judge

    def judged(suspect: Any, limits: Any, now: Any) -> Any:
        return honest(suspect, replace(limits, grace_s=0.0), now)

    return replaced(criteria, "judge", judged)


def _blind_reads() -> Any:
    async def load_runs(*_: Any) -> dict[str, Any]:
        return {}

    return replaced(OrphanEffects, "_load_runs", load_runs)


def _unread_states_are_absent() -> Any:
    honest = OrphanEffects._load_records

    async def load(effects: Any, keys: Any, problems: Any) -> Any:
        found = await honest(effects, keys, problems)
        return {key: record for key, record in found.items() if record is not None}

    return replaced(OrphanEffects, "_load_records", load)


def _any_installation() -> Any:
    def own(task: Any, _: Any) -> Any:
        return TaskIdentity.parse(task.started_by)

    return replaced(mapping, "_own_identity", own)


def _launching_is_running() -> Any:
    """Neither spared by its rule nor by the record, where a runtime limit is written for a run that is RUNNING only."""
    honest = OrphanEffects._record_timeout

    async def recorded(effects: Any, orphan: Any, run_id: str) -> bool:
        return await honest(effects, orphan, run_id) or True

    return both(without_criterion(criteria._launching)(), replaced(OrphanEffects, "_record_timeout", recorded))


def _cut_unseen() -> Any:
    honest = decide.decide

    def decided(snapshot: Any, *args: Any) -> Any:
        return honest(replace(snapshot, cut=""), *args)

    return replaced(decide, "decide", decided)


ENDLESS: dict[str, Any] = {
    **CALM,
    "runs": 4,
    "conducts": ((1.0, Conduct.SUCCEED),),
    "strange_s": 10.0**6,
    "max_runtime_hours": 1000.0,
    "orphans_gone_from_s": 0.0,
}
OUR_ENDLESS: dict[str, Any] = {**ENDLESS, "with_trainer": False}
SURPLUS: dict[str, Any] = {
    **OUR_ENDLESS,
    "conducts": ((0.5, Conduct.SLOW), (1.0, Conduct.STUCK)),
    "acts": tuple((300.0 * step, "surplus") for step in range(1, 18)),
}
"""Tasks beside those of the runs, which never come to their claim; the runs go on for most of an hour."""

LAUNCHING_FOR_LONG: dict[str, Any] = {
    **CALM,
    "burst": True,
    "runs": 4,
    "conducts": ((1.0, Conduct.LATE),),
    "outages": (Outage(0, 1500, Fate.TIMEOUT_APPLIED, ("RunTask",)),),
    "max_runtime_hours": 0.1,
    "with_trainer": False,
    "orphans_gone_from_s": 7200.0,
}
"""No answer to RunTask for so long that the only task of a launch exceeds the limit of runtime before anybody knows of it."""

MISTAKEN: dict[str, Any] = {
    **CALM,
    "runs": 4,
    "conducts": ((1.0, Conduct.SUCCEED),),
    "acts": STRANGERS,
    "strange_s": 6000.0,
    "max_runtime_hours": 1000.0,
    "with_trainer": False,
    "with_earlier_version": False,
}
"""Another control plane was given our name, and its tasks go on for long."""

ORPHAN_MUTANTS: tuple[Mutant, ...] = (
    Mutant("timeout_before_stop", "that a run was too long is on record first", _orphan_without_cause),
    Mutant("two_scans", "one look at another system's record is not proof", _one_scan),
    Mutant("orphan_grace", "a worker that has just ended may leave", _no_grace),
    Mutant("orphan_reads_records", "no record is not an unread record", _blind_reads),
    Mutant("orphan_reads_states", "the same for another system's record", _unread_states_are_absent),
    Mutant("orphan_installation", "the tasks of another installation are not ours", _any_installation),
    Mutant("orphan_too_young", "a young task's record may not be written yet", without_criterion(criteria._too_young)),
    Mutant("orphan_runtime", "what runs too long is stopped", without_criterion(criteria._runtime)),
    Mutant(
        "orphan_cap",
        "so many orphans are more likely a mistake of ours",
        policies("ORPHANS", max_stops_per_scan=10**6),
        {**MISTAKEN, "min_running_for_share": 10**6},
    ),
    Mutant(
        "orphan_share",
        "so large a part of all tasks is more likely a mistake of ours",
        policies("ORPHANS", max_stop_share=2.0),
        {**MISTAKEN, "strangers": 20, "min_running_for_share": 10},
    ),
    Mutant(
        "orphan_cut",
        "a scan that has not seen all tasks stops none",
        _cut_unseen,
        {**MISTAKEN, "slow": (Slow(2500.0, 6500.0, ("ListTasks",), 7.0, 7.0),)},
    ),
    Mutant(
        "orphan_launching",
        "the task of a launch under way is not stopped",
        _launching_is_running,
        LAUNCHING_FOR_LONG,
    ),
    Mutant(
        "orphan_run_over",
        "the task of a run that is over is stopped",
        without_criterion(criteria._run_has_ended),
        {**OUR_ENDLESS, "conducts": ((1.0, Conduct.LINGER),)},
    ),
    Mutant(
        "orphan_other_attempt",
        "a task beside the one that its run goes on in is stopped",
        without_criterion(criteria._another_attempt),
        SURPLUS,
    ),
    Mutant(
        "orphan_no_record",
        "a task under our name that no record knows is stopped",
        without_criterion(criteria._no_record),
        {**OUR_ENDLESS, "acts": ((100.0, "ghost"),)},
    ),
    Mutant(
        "orphan_state_over",
        "a task whose record in a state table is over is stopped",
        without_criterion(criteria._state_is_terminal),
        ENDLESS,
    ),
    Mutant(
        "orphan_other_task",
        "a task beside the one that a state table names is stopped",
        without_criterion(criteria._another_task),
        ENDLESS,
    ),
)
