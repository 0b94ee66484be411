"""The one rule for every write to a run: conditional on the version that was read, with a fresh `op_id`, decided again on conflict."""

from collections.abc import Callable
from typing import TypeVar

from dagy_control.errors import Conflict
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.retrying import retrying
from dagy_control.model.runs import TERMINAL, ActiveRun, Run, RunChange
from dagy_control.ports.runs import Runs

T = TypeVar("T")


class RecordWriter:
    """Writes changes of runs so that a lost reply is never a lost or a doubled write.

    `new_id` gives an id that no other write has; every write takes one and repeats only with the same. `on_end` is told of each
    run that a write of ours has brought to its end: the one place through which all of them pass.
    """

    def __init__(
        self, runs: Runs, clock: Clock, new_id: Callable[[], str], *, on_end: Callable[[Run], None] | None = None
    ) -> None:
        self._runs = runs
        self._clock = clock
        self._new_id = new_id
        self._on_end = on_end

    async def write(self, change: RunChange) -> Run:
        """The run after the change. Raises `Conflict(current)` when another writer was first, `Transient` when it stays unknown."""
        op_id = self._new_id()
        run = await retrying(lambda: self._runs.change(change, op_id), self._clock, key=change.run_id)
        if self._on_end is not None and change.fields.get("status") in TERMINAL:
            self._on_end(run)
        return run

    async def create(self, run: Run) -> Run:
        """Put a new run. Raises `Conflict(current)` when a run of that id exists."""
        op_id = self._new_id()
        return await retrying(lambda: self._runs.create(run, op_id), self._clock, key=run.run_id)

    async def settle(
        self, run: ActiveRun, decide: Callable[[ActiveRun], RunChange | T], *, tries: int = 5
    ) -> tuple[Run | None, T | None]:
        """Decide from the run and write; when another writer was first, decide again from the record as it then is.

        Gives (the written run, None), or (None, what `decide` gave instead of a change). Raises `Conflict` after `tries`
        lost races, and when the record is gone.
        """
        for remaining in reversed(range(tries)):
            decision = decide(run)
            if not isinstance(decision, RunChange):
                return None, decision
            try:
                return await self.write(decision), None
            except Conflict as conflict:
                if remaining == 0 or not isinstance(conflict.current, ActiveRun):
                    raise
                run = conflict.current
        raise AssertionError("unreachable: the last try returns or raises")
