"""The runs table in memory."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import fields, replace

from dagy_control.errors import Conflict
from dagy_control.model.runs import (
    ActiveRun,
    Run,
    RunChange,
    RunGlance,
    RunStatus,
    active_key,
    active_keys,
    active_view,
    applied,
)
from tests.fakes.faults import Faulty, lost


class FakeRuns(Faulty):
    """`ports.Runs` in memory. `records` may be read and seeded freely; `writes` are the changes that took effect, in order."""

    def __init__(self, *runs: Run, page_size: int = 100) -> None:
        super().__init__()
        self.records: dict[str, Run] = {run.run_id: run for run in runs}
        self.writes: list[tuple[RunChange, str]] = []
        self.page_size = page_size
        self._index: Mapping[str, Run] | None = None

    def seed(self, *runs: Run) -> None:
        """Put runs as they are, past every condition."""
        self.records.update((run.run_id, run) for run in runs)

    def freeze_index(self) -> None:
        """From now on all indexes show the records of this moment: a secondary index lags behind. `get` stays consistent."""
        self._index = dict(self.records)

    def thaw_index(self) -> None:
        """The indexes are up to date again."""
        self._index = None

    async def get(self, run_id: str) -> Run | None:
        lost(await self._begin("get"))
        return self.records.get(run_id)

    async def glance_many(self, run_ids: Sequence[str]) -> Mapping[str, RunGlance | None]:
        lost(await self._begin("glance_many"))
        return {run_id: glance_of(self.records[run_id]) for run_id in run_ids if run_id in self.records}

    async def create(self, run: Run, op_id: str) -> Run:
        after = await self._begin("create")
        current = self.records.get(run.run_id)
        if current is not None and current.op_id != op_id:
            raise Conflict(f"run {run.run_id} exists", current=current)
        if current is None:
            current = replace(run, op_id=op_id)
            self.records[run.run_id] = current
        lost(after)
        return current

    async def change(self, change: RunChange, op_id: str) -> Run:
        after = await self._begin("change")
        current = self.records.get(change.run_id)
        if current is None or current.version != change.expected_version or _resurrects(current, change):
            if current is None or current.op_id != op_id:
                raise Conflict(f"run {change.run_id} is not at version {change.expected_version}", current=current)
        else:
            current = applied(current, change, op_id)
            self.records[change.run_id] = current
            self.writes.append((change, op_id))
        lost(after)
        return current

    async def active(
        self, status: RunStatus, *, executor: str = "ecs", limit: int | None = None
    ) -> AsyncIterator[Sequence[ActiveRun]]:
        for key in active_keys(executor, status):
            lost(await self._begin("active"))
            shard = [
                active_view(run)
                for run in self._indexed()
                if run.status == status and active_key(run.executor, run.status, run.run_id) == key
            ]
            shard = sorted((run for run in shard if run.active_since), key=_active_since)[:limit]
            for start in range(0, len(shard), self.page_size):
                yield shard[start : start + self.page_size]

    async def by_org(self, org_id: str, *, limit: int) -> Sequence[Run]:
        lost(await self._begin("by_org"))
        return self._newest(lambda run: run.org_id == org_id, limit)

    async def by_flow(self, org_id: str, flow_name: str, *, limit: int) -> Sequence[Run]:
        lost(await self._begin("by_flow"))
        return self._newest(lambda run: (run.org_id, run.flow_name) == (org_id, flow_name), limit)

    async def of_correlation(self, correlation_id: str) -> AsyncGenerator[Sequence[Run], None]:
        runs = self._newest(lambda run: (run.parent_correlation_id or run.correlation_id) == correlation_id, None)
        for start in range(0, max(len(runs), 1), self.page_size):
            lost(await self._begin("of_correlation"))
            yield runs[start : start + self.page_size]

    async def count_active(self, status: RunStatus, shard: int, *, executor: str = "ecs", up_to: int) -> int:
        lost(await self._begin("count_active"))
        key = active_keys(executor, status)[shard]
        found = sum(active_key(run.executor, run.status, run.run_id) == key for run in self._indexed())
        return min(found, up_to)

    def _indexed(self) -> Sequence[Run]:
        return list((self.records if self._index is None else self._index).values())

    def _newest(self, wanted: Callable[[Run], bool], limit: int | None) -> Sequence[Run]:
        return sorted(filter(wanted, self._indexed()), key=lambda run: run.created_at, reverse=True)[:limit]


def glance_of(run: Run) -> RunGlance:
    """What a scan reads of the run."""
    return RunGlance(**{each.name: getattr(run, each.name) for each in fields(RunGlance)})


def _resurrects(run: Run, change: RunChange) -> bool:
    """A terminal status never changes, even where the version would allow it."""
    return run.status.is_terminal and "status" in change.fields


def _active_since(run: ActiveRun) -> float:
    return run.active_since.timestamp() if run.active_since else 0.0
