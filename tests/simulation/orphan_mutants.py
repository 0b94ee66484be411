"""The rules by which the orphan scanner finds what to stop, and one by which it spares, each taken away.

Their scenarios have no other end for a task than the rule: no limit of runtime, and what is not ours never ends by itself.
"""

from typing import Any

from dagy_control.orphans import criteria
from dagy_control.orphans.effects import OrphanEffects
from tests.simulation.conduct import Conduct
from tests.simulation.faults import Fate, Outage
from tests.simulation.removing import CALM, Mutant, both, replaced, without_criterion


def _launching_is_running() -> Any:
    """Neither spared by its rule nor by the record, where a runtime limit is written for a run that is RUNNING only."""
    honest = OrphanEffects._record_timeout

    async def recorded(effects: Any, orphan: Any, run_id: str) -> bool:
        return await honest(effects, orphan, run_id) or True

    return both(without_criterion(criteria._launching)(), replaced(OrphanEffects, "_record_timeout", recorded))


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

ORPHAN_MUTANTS: tuple[Mutant, ...] = (
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
