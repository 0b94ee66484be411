"""`ports.Flows` on DynamoDB."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dagy_control.adapters.attributes import (
    Item,
    Reader,
    UnreadableRecord,
    Value,
    check_size,
    read_attributes,
    read_enum,
    read_moment,
    read_text,
    read_whole,
    to_item,
    to_value,
)
from dagy_control.adapters.calls import AwsCalls
from dagy_control.adapters.paging import all_items
from dagy_control.errors import Conflict
from dagy_control.kernel.telemetry import log
from dagy_control.model.flow_templates import FlowSpecError
from dagy_control.model.flows import FlowRecord, FlowSpec, FlowStatus
from dagy_control.model.tables import FLOWS_BY_ORG, flow_key

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

_LOG = log(__name__)


SPEC_TEXT_MAX_CHARACTERS = 64 * 1024
"""A longer spec is compressed: an item holds 400 KB, and 10,000 tasks are some 2.4 MB of JSON, 93 KB compressed."""

SPEC_MAX_BYTES = 64 * 1024 * 1024
"""Of a spec that is read, so that a record of somebody else's making cannot fill the memory."""


def _stored_spec(spec: FlowSpec) -> str | bytes:
    text = spec.to_json()
    return text if len(text) <= SPEC_TEXT_MAX_CHARACTERS else zlib.compress(text.encode())


def _spec(value: Value) -> FlowSpec:
    try:
        return FlowSpec.from_json(_expanded(value["B"]) if "B" in value else value["S"])
    except FlowSpecError as error:
        raise ValueError(str(error)) from error


def _expanded(compressed: bytes) -> bytes:
    expander = zlib.decompressobj()
    try:
        text = expander.decompress(compressed, SPEC_MAX_BYTES)
    except zlib.error as error:
        raise ValueError(f"it is no zlib data: {error}") from error
    if not expander.eof:
        raise ValueError(f"it is cut off, or more than {SPEC_MAX_BYTES:,} bytes")
    return text


_READERS: Mapping[str, Reader] = {
    **{each.name: read_text for each in fields(FlowRecord)},
    "spec": _spec,
    "artifact_size_bytes": read_whole,
    "status": read_enum(FlowStatus),
    "registered_at": read_moment,
}


class DynamoFlows:
    """The flows table. A version is written once; registering it again may change its status, never its artifact."""

    def __init__(self, client: "DynamoDBClient", calls: AwsCalls, *, table: str) -> None:
        self._client = client
        self._call = calls.of("dynamodb")
        self._table = table

    async def get(self, org_id: str, flow_name: str, flow_version: str | None = None) -> FlowRecord | None:
        """A consistent read. Raises `UnreadableRecord` for a record that is no flow."""
        key = flow_key(org_id, flow_name)
        if flow_version is None:
            flow_version = await self._newest_version(key)
            if flow_version is None:
                return None
        with self._call("GetItem"):
            answer: Any = await self._client.get_item(
                TableName=self._table,
                Key={"flow_key": to_value(key), "flow_version": to_value(flow_version)},
                ConsistentRead=True,
            )
        return _record(answer["Item"]) if "Item" in answer else None

    async def put(self, record: FlowRecord) -> None:
        """UpdateItem on the condition that the version is new or has this artifact; the first registration's time stays."""
        values = {each.name: getattr(record, each.name) for each in fields(FlowRecord)}
        values["spec"] = _stored_spec(record.spec)
        key = {"flow_key": flow_key(record.org_id, record.flow_name), "flow_version": record.flow_version}
        check_size(to_item({**values, **key}), key=str(key))
        del values["flow_version"]
        sets = [
            f"#{name} = if_not_exists(#{name}, :{name})" if name == "registered_at" else f"#{name} = :{name}"
            for name in values
        ]
        try:
            with self._call("UpdateItem"):
                await self._client.update_item(
                    TableName=self._table,
                    Key=to_item(key),
                    UpdateExpression=f"SET {', '.join(sets)}",
                    ConditionExpression="attribute_not_exists(flow_key) OR artifact_sha256 = :artifact_sha256",
                    ExpressionAttributeNames={f"#{name}": name for name in values},
                    ExpressionAttributeValues={f":{name}": to_value(value) for name, value in values.items()},
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
        except Conflict as error:
            old: Any = error.current
            message = f"version {record.flow_version} of flow {record.flow_name} is registered with another artifact"
            raise Conflict(message, current=_record(old) if old else None) from error

    async def of_org(self, org_id: str) -> Sequence[FlowRecord]:
        """By the table's own index of organisations. A record that cannot be read is logged as an error, and left out."""
        items = await self._query(
            IndexName=FLOWS_BY_ORG.name,
            KeyConditionExpression="org_id = :key",
            ExpressionAttributeValues={":key": to_value(org_id)},
        )
        records = [record for item in items if (record := _readable(item)) is not None]
        return sorted(records, key=lambda record: (record.flow_name, record.flow_version))

    async def _newest_version(self, key: str) -> str | None:
        items = await self._query(
            KeyConditionExpression="flow_key = :key",
            ExpressionAttributeValues={":key": to_value(key)},
            ExpressionAttributeNames={"#status": "status"},
            ProjectionExpression="flow_version, registered_at, #status",
            ConsistentRead=True,
        )
        active = [item for item in items if item.get("status") == to_value(FlowStatus.ACTIVE)]
        versions = [(_registered_at(item, key), read_text(item["flow_version"])) for item in active]
        return max(versions)[1] if versions else None

    async def _query(self, **request: Any) -> list[Item]:  # noqa: ANN401 - Query's own parameters
        return await all_items(self._call, "Query", self._client.query, TableName=self._table, **request)


def _registered_at(item: Item, flow: str) -> datetime:
    key = f"{flow}/{read_text(item['flow_version'])}"
    readers: Mapping[str, Reader] = {"registered_at": read_moment}
    registered_at: datetime = read_attributes(item, readers, key=key, needed=readers)["registered_at"]
    return registered_at


def _record(item: Item) -> FlowRecord:
    key = f"{read_text(item['flow_key'])}/{read_text(item['flow_version'])}"
    return FlowRecord(**read_attributes(item, _READERS, key=key, needed=_READERS))


def _readable(item: Item) -> FlowRecord | None:
    try:
        return _record(item)
    except UnreadableRecord as error:
        _LOG.error("Flow record cannot be read", event_type="FLOW_UNREADABLE", flow=error.key, problem=str(error))
        return None
