"""`ports.Leases` on DynamoDB: consistent reads, and PutItem on the condition of the nonce that was seen."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dagy_control.adapters.attributes import (
    Item,
    Reader,
    UnreadableRecord,
    Value,
    read_attributes,
    read_fraction,
    read_text,
    read_whole,
    to_item,
    to_value,
)
from dagy_control.adapters.calls import AwsCalls
from dagy_control.errors import Conflict
from dagy_control.model.leases import Lease

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient


def _read_flag(value: Value) -> bool:
    return bool(value["BOOL"])


_READERS: Mapping[str, Reader] = {
    "lease_name": read_text,
    "holder": read_text,
    "epoch": read_whole,
    "nonce": read_text,
    "lease_s": read_fraction,
    "released": _read_flag,
}
_NEEDED = tuple(name for name in _READERS if name != "released")


class DynamoLeases:
    """The leases table. Nothing expires by DynamoDB's time to live: that is a wall clock, and a deleted epoch begins again."""

    def __init__(self, client: "DynamoDBClient", calls: AwsCalls, *, table: str) -> None:
        self._client = client
        self._call = calls.of("dynamodb")
        self._table = table

    async def get(self, lease_name: str) -> Lease | None:
        """The lease by a consistent read. Raises `UnreadableRecord` for an item that is no lease."""
        with self._call("GetItem"):
            answer: Any = await self._client.get_item(
                TableName=self._table, Key={"lease_name": {"S": lease_name}}, ConsistentRead=True
            )
        item = answer.get("Item")
        return _lease(item) if item else None

    async def put_if(self, lease: Lease, *, seen_nonce: str | None) -> None:
        """A write that timed out may have been applied; its own nonce in the old item, which comes with the failed condition, says so.

        (DynamoDB API Reference, ReturnValuesOnConditionCheckFailure.)
        """
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(lease_name)"}
        if seen_nonce is not None:
            condition = {
                "ConditionExpression": "#nonce = :seen",
                "ExpressionAttributeNames": {"#nonce": "nonce"},
                "ExpressionAttributeValues": {":seen": to_value(seen_nonce)},
            }
        try:
            with self._call("PutItem"):
                await self._client.put_item(
                    TableName=self._table,
                    Item=_item(lease),
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                    **condition,
                )
        except Conflict as error:
            old: Any = error.current
            current = _lease(old) if old else None
            if current is None or current.nonce != lease.nonce:
                raise Conflict(f"lease {lease.lease_name} has changed hands or nonce", current=current) from error


def _item(lease: Lease) -> Item:
    return to_item({name: getattr(lease, name) for name in _READERS})


def _lease(item: Item) -> Lease:
    key = read_text(item["lease_name"])
    values = {"released": False, **read_attributes(item, _READERS, key=key, needed=_NEEDED)}
    if values["lease_s"] <= 0:
        raise UnreadableRecord(key, f"lease_s is {values['lease_s']}, not more than 0")
    return Lease(**values)
