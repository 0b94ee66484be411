"""The `active` index read page by page over all its shards, a few at a time, never more in memory than those."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dagy_control.adapters.active_items import ACTIVE_PAGE, ActivePage, active_runs
from dagy_control.adapters.attributes import to_value
from dagy_control.adapters.calls import CallNamer
from dagy_control.adapters.hot_answers import answered_as
from dagy_control.kernel.tasks import end_tasks, start_task
from dagy_control.model.runs import ActiveRun, RunStatus, active_keys
from dagy_control.model.tables import ACTIVE_INDEX

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

SHARDS_AT_ONCE = 4
PAGE_MAX = 1000
"""Items a page. A full 1 MB page of these small items would be several thousand, and parsing it would stall the event loop."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where to go on: a shard, the key after which its next page begins (None: its start), and how many items may still come."""

    key: str
    after: Mapping[str, Any] | None
    left: int | None


class ActivePages:
    """Reads the index of one table."""

    def __init__(self, client: "DynamoDBClient", call: CallNamer, table: str, *, page_max: int = PAGE_MAX) -> None:
        self._client = client
        self._call = call
        self._table = table
        self._page_max = page_max

    async def read(self, status: RunStatus, *, executor: str, limit: int | None) -> AsyncIterator[Sequence[ActiveRun]]:
        """Pages in no order among shards, oldest first within one. Any page's error ends the listing by raising."""
        waiting = deque(_Place(key, None, limit) for key in active_keys(executor, status))
        under_way: list[asyncio.Task[tuple[ActivePage, _Place | None]]] = []
        try:
            while waiting or under_way:
                while waiting and len(under_way) < SHARDS_AT_ONCE:
                    place = waiting.popleft()
                    under_way.append(start_task(self._page(place), name=f"active {place.key}"))
                await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                done = next(task for task in under_way if task.done())
                under_way.remove(done)
                page, following = done.result()
                if following is not None:
                    waiting.appendleft(following)
                if page["Items"]:
                    yield active_runs(page["Items"], executor=executor, status=status)
        finally:
            await end_tasks(*under_way)

    async def count(self, key: str, *, up_to: int) -> int:
        """How many items one partition holds, at most `up_to`: DynamoDB counts them (at the price of reading), none is sent."""
        request: dict[str, Any] = {
            "TableName": self._table,
            "IndexName": ACTIVE_INDEX.name,
            "KeyConditionExpression": "active_key = :key",
            "ExpressionAttributeValues": {":key": to_value(key)},
            "Select": "COUNT",
        }
        found = 0
        while found < up_to:
            with self._call("Query"):
                answer: Any = await self._client.query(**request, Limit=up_to - found)
            found += answer["Count"]
            if "LastEvaluatedKey" not in answer:
                break
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
        return found

    async def _page(self, place: _Place) -> tuple[ActivePage, _Place | None]:
        size = self._page_max if place.left is None else min(self._page_max, place.left)
        request: dict[str, Any] = {
            "TableName": self._table,
            "IndexName": ACTIVE_INDEX.name,
            "KeyConditionExpression": "active_key = :key",
            "ExpressionAttributeValues": {":key": to_value(place.key)},
            "Limit": size,
        }
        if place.after is not None:
            request["ExclusiveStartKey"] = place.after
        with self._call("Query"), answered_as(ACTIVE_PAGE):
            answer: Any = await self._client.query(**request)
        page: ActivePage = answer
        left = None if place.left is None else place.left - len(page["Items"])
        after = page.get("LastEvaluatedKey")
        return page, None if after is None or left == 0 else _Place(place.key, after, left)
