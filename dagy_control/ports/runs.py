"""Where runs, and the tasks of a run, are recorded."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Protocol

from dagy_control.model.runs import ActiveRun, Run, RunChange, RunGlance, RunStatus
from dagy_control.model.task_runs import TaskRun


class Runs(Protocol):
    """The runs table. Times are stored as ISO 8601 UTC; the `active` index is kept by the store itself."""

    async def get(self, run_id: str) -> Run | None:
        """The run as it is now (a consistent read); None when there is none. Safe to repeat."""
        ...

    async def glance_many(self, run_ids: Sequence[str]) -> Mapping[str, RunGlance | None]:
        """As much of these runs as tells whether their tasks should run (consistent reads, 100 a call).

        No entry: there is no such run. None: its record cannot be understood. Raises rather than answer in part.
        """
        ...

    async def create(self, run: Run, op_id: str) -> Run:
        """Put a new run. Returns it; raises `Conflict(current=Run)` when a run of that id exists.

        Safe to repeat with the same `op_id`: if an earlier try had won, that is a success.
        """
        ...

    async def change(self, change: RunChange, op_id: str) -> Run:
        """Apply one conditional write and return the run after it.

        Raises `Conflict(current=Run | None)` when the stored version is not the expected one. Safe to repeat with the same
        `op_id`: if an earlier try had won, the run is returned as a success.
        """
        ...

    def active(
        self, status: RunStatus, *, executor: str = "ecs", limit: int | None = None
    ) -> AsyncIterator[Sequence[ActiveRun]]:
        """Pages of the active runs of one status, all shards, oldest first within a shard; at most `limit` a shard.

        Eventually consistent: an item may be stale, missing, or seen after it has ended. Decide, then write conditionally.
        Ends early only by raising: a listing that ends has been complete.
        """
        ...

    async def by_org(self, org_id: str, *, limit: int) -> Sequence[Run]:
        """The newest `limit` runs of an organisation, newest first. Eventually consistent."""
        ...

    async def by_flow(self, org_id: str, flow_name: str, *, limit: int) -> Sequence[Run]:
        """The newest `limit` runs of one flow of an organisation, newest first. Eventually consistent."""
        ...


class RunListings(Protocol):
    """What requests ask of the runs table beside single runs. Kept by the same store as `Runs`."""

    async def count_active(self, status: RunStatus, shard: int, *, executor: str = "ecs", up_to: int) -> int:
        """How many runs of one status one shard of the `active` index holds; counting ends at `up_to`. Eventually consistent."""
        ...

    def of_correlation(self, correlation_id: str) -> AsyncGenerator[Sequence[Run], None]:
        """Pages of the runs of a batch: those whose root correlation id it is, newest first. Eventually consistent."""
        ...


class TaskRuns(Protocol):
    """The task-runs table: one row for each task of a run, written by its worker."""

    async def put_many(self, rows: Sequence[TaskRun]) -> None:
        """Write rows whole, each replacing the one of the same key. Safe to repeat. Unprocessed rows are retried inside."""
        ...

    async def of_run(self, run_id: str) -> Sequence[TaskRun]:
        """All task runs of a run, by task_run_id. Empty when there are none."""
        ...
