"""`ports.TaskRuns` on DynamoDB."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from dagy_control.adapters.attributes import (
    Item,
    Reader,
    read_attributes,
    read_fraction,
    read_moment,
    read_text,
    read_whole,
    to_item,
    to_value,
)
from dagy_control.adapters.batches import Batches
from dagy_control.adapters.calls import AwsCalls
from dagy_control.adapters.paging import all_items
from dagy_control.kernel.clock import Clock
from dagy_control.model.task_runs import TaskRun

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

_READERS: Mapping[str, Reader] = {
    **{each.name: read_text for each in fields(TaskRun)},
    "attempts": read_whole,
    "run_attempt": read_whole,
    "started_at": read_moment,
    "completed_at": read_moment,
    "duration_seconds": read_fraction,
    "peak_memory_mb": read_fraction,
}
_DEFAULTS: Mapping[str, Any] = {"task_name": "", "status": "", "attempts": 1, "run_attempt": 1}


class DynamoTaskRuns:
    """The task-runs table."""

    def __init__(self, client: "DynamoDBClient", calls: AwsCalls, clock: Clock, *, table: str) -> None:
        self._client = client
        self._call = calls.of("dynamodb")
        self._table = table
        self._batches = Batches(client, self._call, clock)

    async def put_many(self, rows: Sequence[TaskRun]) -> None:
        """BatchWriteItem, 25 rows a call; of several rows with one key the last counts."""
        latest = {(row.run_id, row.task_run_id): row for row in rows}
        await self._batches.put(self._table, [to_item(asdict(row)) for row in latest.values()])

    async def of_run(self, run_id: str) -> Sequence[TaskRun]:
        """A consistent query, all pages."""
        items = await all_items(
            self._call,
            "Query",
            self._client.query,
            TableName=self._table,
            KeyConditionExpression="run_id = :run_id",
            ExpressionAttributeValues={":run_id": to_value(run_id)},
            ConsistentRead=True,
        )
        return [_task_run(item) for item in items]


def _task_run(item: Item) -> TaskRun:
    key = f"{item['run_id']['S']}/{item['task_run_id']['S']}"
    return TaskRun(**{**_DEFAULTS, **read_attributes(item, _READERS, key=key)})
