"""How often in a row a run's task was found MISSING: one look proves nothing. Pure but for its own memory."""

from dataclasses import dataclass

from dagy_control.model.runs import ActiveRun

REMEMBERED_MAX = 10_000
"""Runs remembered at most, some 3 MB. More are missing only where a whole cluster is; then nothing is ended anyway."""


@dataclass(slots=True)
class _Missed:
    arn: str | None
    times: int
    look: int
    turn: int


class MissingSightings:
    """Remembers missing runs between looks. A pass is one *look*, or two; a *turn* ends when every due run has been looked at."""

    def __init__(self, remembered_max: int = REMEMBERED_MAX) -> None:
        self._missed: dict[str, _Missed] = {}
        self._max = remembered_max
        self._look = 0
        self._turn = 0

    def __bool__(self) -> bool:
        """Whether any run is remembered."""
        return bool(self._missed)

    def begin_look(self) -> None:
        """A look begins. A run that it lists twice (the index moved under it) is missed once."""
        self._look += 1

    def end_turn(self) -> None:
        """Every due run has been looked at: those remembered that were not missed since the last time are not due any more."""
        self._missed = {run_id: missed for run_id, missed in self._missed.items() if missed.turn == self._turn}
        self._turn += 1

    def missed(self, run: ActiveRun) -> int:
        """The run's task is missing; gives how many looks in a row have missed this very task."""
        before = self._missed.get(run.run_id)
        if before is None or before.arn != run.external_id:
            if before is None and len(self._missed) >= self._max:
                return 1
            before = self._missed[run.run_id] = _Missed(run.external_id, 0, 0, self._turn)
        if before.look != self._look:
            before.times += 1
        before.look, before.turn = self._look, self._turn
        return before.times

    def seen(self, run_id: str) -> None:
        """The run's task is there, or its run is over."""
        self._missed.pop(run_id, None)
