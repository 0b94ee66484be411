"""DynamoDB's batch calls, complete: split to the sizes that DynamoDB takes, unprocessed parts sent again.

Source: DynamoDB API Reference, BatchGetItem (100 keys, 16 MB; UnprocessedKeys) and BatchWriteItem (25 items; UnprocessedItems).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dagy_control.adapters.attributes import Item
from dagy_control.adapters.calls import CallNamer
from dagy_control.errors import Transient
from dagy_control.kernel.backoff import backoff_s
from dagy_control.kernel.clock import Clock

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

KEYS_MAX = 100
WRITES_MAX = 25
ROUNDS_MAX = 8
"""Calls for one batch before giving up; with the waits between them about ten seconds."""


class Batches:
    """Batch reads and writes. Both are safe to repeat, and raise `Transient` rather than answer or write in part."""

    def __init__(self, client: "DynamoDBClient", call: CallNamer, clock: Clock) -> None:
        self._client = client
        self._call = call
        self._clock = clock

    async def get(self, table: str, keys: Sequence[Item], attributes: Sequence[str] | None = None) -> list[Item]:
        """The items that exist, in no order (consistent reads). `keys` must be distinct; `attributes` None: whole items."""
        found: list[Item] = []
        for start in range(0, len(keys), KEYS_MAX):
            found += await self._get_batch(table, keys[start : start + KEYS_MAX], attributes)
        return found

    async def put(self, table: str, items: Sequence[Item]) -> None:
        """Write items whole. Of several with one key in a batch DynamoDB takes none: give each key once."""
        for start in range(0, len(items), WRITES_MAX):
            await self._put_batch(table, items[start : start + WRITES_MAX])

    async def _get_batch(self, table: str, keys: Sequence[Item], attributes: Sequence[str] | None) -> list[Item]:
        asked: Any = {"Keys": list(keys), "ConsistentRead": True}
        if attributes is not None:
            names = {f"#a{number}": name for number, name in enumerate(dict.fromkeys(attributes))}
            asked |= {"ProjectionExpression": ", ".join(names), "ExpressionAttributeNames": names}
        found: list[Item] = []
        for failures in range(ROUNDS_MAX):
            await self._pause(failures, table)
            with self._call("BatchGetItem"):
                answer: Any = await self._client.batch_get_item(RequestItems={table: asked})
            found += answer["Responses"].get(table, [])
            asked = answer.get("UnprocessedKeys", {}).get(table)
            if not asked:
                return found
        raise Transient(f"DynamoDB left keys of {table} unread in {ROUNDS_MAX} calls", throttled=True)

    async def _put_batch(self, table: str, items: Sequence[Item]) -> None:
        asked: Any = [{"PutRequest": {"Item": item}} for item in items]
        for failures in range(ROUNDS_MAX):
            await self._pause(failures, table)
            with self._call("BatchWriteItem"):
                answer: Any = await self._client.batch_write_item(RequestItems={table: asked})
            asked = answer.get("UnprocessedItems", {}).get(table)
            if not asked:
                return
        raise Transient(f"DynamoDB left items of {table} unwritten in {ROUNDS_MAX} calls")

    async def _pause(self, failures: int, table: str) -> None:
        """Before the call that follows so many in vain; none before the first."""
        if failures:
            await self._clock.sleep(backoff_s(failures, min_s=0.1, max_s=5.0, key=table))
