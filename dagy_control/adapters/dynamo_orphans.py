"""`ports.Suspicions` and `ports.StateTables` on DynamoDB."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dagy_control.adapters.attributes import (
    Item,
    Reader,
    read_attributes,
    read_moment,
    read_text,
    to_item,
    to_plain,
    to_value,
)
from dagy_control.adapters.batches import Batches
from dagy_control.adapters.calls import AwsCalls
from dagy_control.kernel.clock import Clock
from dagy_control.model.suspicions import Suspicion

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

_READERS: Mapping[str, Reader] = {
    "task_arn": read_text,
    "reason": read_text,
    "first_seen": read_moment,
    "last_seen": read_moment,
    "expires_at": read_moment,
}


class DynamoSuspicions:
    """The orphans table. `expires_at` is stored in epoch seconds: DynamoDB's time to live wants a number."""

    def __init__(self, client: "DynamoDBClient", calls: AwsCalls, clock: Clock, *, table: str) -> None:
        self._table = table
        self._batches = Batches(client, calls.of("dynamodb"), clock)

    async def get_many(self, task_arns: Sequence[str]) -> Mapping[str, Suspicion]:
        """Consistent reads. DynamoDB deletes expired items within days, so they may still come: the caller looks at the time."""
        keys = [{"task_arn": to_value(arn)} for arn in dict.fromkeys(task_arns)]
        found = [_suspicion(item) for item in await self._batches.get(self._table, keys)]
        return {suspicion.task_arn: suspicion for suspicion in found}

    async def put_many(self, suspicions: Sequence[Suspicion]) -> None:
        """25 a call; of several for one task the last counts."""
        latest = {suspicion.task_arn: suspicion for suspicion in suspicions}
        await self._batches.put(self._table, [_item(suspicion) for suspicion in latest.values()])


class DynamoStateTables:
    """Tables of other systems, read only."""

    def __init__(self, client: "DynamoDBClient", calls: AwsCalls, clock: Clock) -> None:
        self._batches = Batches(client, calls.of("dynamodb"), clock)

    async def read(
        self, table: str, key_attribute: str, keys: Sequence[str], attributes: Sequence[str]
    ) -> Mapping[str, Mapping[str, Any]]:
        """BatchGetItem; numbers come as int or float. A missing table, or another key schema, raises `Permanent`."""
        wanted = [{key_attribute: to_value(key)} for key in dict.fromkeys(keys) if key]
        items = await self._batches.get(table, wanted, [key_attribute, *attributes])
        return {
            read_text(item[key_attribute]): {name: to_plain(item[name]) for name in attributes if name in item}
            for item in items
        }


def _item(suspicion: Suspicion) -> Item:
    return to_item(
        {
            "task_arn": suspicion.task_arn,
            "reason": suspicion.reason,
            "first_seen": suspicion.first_seen,
            "last_seen": suspicion.last_seen,
            "expires_at": int(suspicion.expires_at.timestamp()),
        }
    )


def _suspicion(item: Item) -> Suspicion:
    key = read_text(item["task_arn"])
    return Suspicion(**read_attributes(item, _READERS, key=key, needed=_READERS))
