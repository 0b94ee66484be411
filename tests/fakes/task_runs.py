"""The task-runs table in memory."""

from collections.abc import Sequence

from dagy_control.model.task_runs import TaskRun
from tests.fakes.faults import Faulty, lost


class FakeTaskRuns(Faulty):
    """`ports.TaskRuns` in memory; `records` by (run_id, task_run_id)."""

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[tuple[str, str], TaskRun] = {}

    async def put_many(self, rows: Sequence[TaskRun]) -> None:
        after = await self._begin("put_many")
        self.records.update(((row.run_id, row.task_run_id), row) for row in rows)
        lost(after)

    async def of_run(self, run_id: str) -> Sequence[TaskRun]:
        lost(await self._begin("of_run"))
        return [row for key, row in sorted(self.records.items()) if key[0] == run_id]
