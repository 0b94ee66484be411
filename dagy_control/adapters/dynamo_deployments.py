"""`ports.Deployments` on DynamoDB."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from dagy_control.adapters.attributes import (
    Item,
    Reader,
    UnreadableRecord,
    Value,
    check_size,
    read_attributes,
    read_map,
    read_moment,
    read_text,
    read_texts,
    read_whole,
    to_item,
    to_value,
)
from dagy_control.adapters.calls import AwsCalls
from dagy_control.adapters.paging import all_items
from dagy_control.kernel.telemetry import log
from dagy_control.model.deployments import Deployment
from dagy_control.model.flow_templates import Json
from dagy_control.model.tables import DEPLOYMENTS_BY_ORG, deployment_key

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

_LOG = log(__name__)


def _parameters(value: Value) -> dict[str, Json]:
    parameters = json.loads(read_text(value))
    if not isinstance(parameters, dict):
        raise TypeError("it is no JSON object")
    return parameters


_READERS: Mapping[str, Reader] = {
    **{each.name: read_text for each in fields(Deployment)},
    "updated_at": read_moment,
    "parameters": _parameters,
    "dep_package_slugs": read_texts,
    "environment": read_map,
    **dict.fromkeys(("cpu", "memory", "ephemeral_storage_gib", "priority", "max_attempts"), read_whole),
}
_NEEDED = ("org_id", "deployment_name", "flow_name", "updated_at")


class DynamoDeployments:
    """The deployments table."""

    def __init__(self, client: "DynamoDBClient", calls: AwsCalls, *, table: str) -> None:
        self._client = client
        self._call = calls.of("dynamodb")
        self._table = table

    async def get(self, org_id: str, deployment_name: str) -> Deployment | None:
        """A consistent read. Raises `UnreadableRecord` for a record that is no deployment."""
        with self._call("GetItem"):
            answer: Any = await self._client.get_item(
                TableName=self._table, Key=_key(org_id, deployment_name), ConsistentRead=True
            )
        return _deployment(answer["Item"]) if "Item" in answer else None

    async def put(self, deployment: Deployment) -> None:
        """PutItem, without a condition."""
        values = {each.name: getattr(deployment, each.name) for each in fields(Deployment)}
        values["parameters"] = json.dumps(dict(deployment.parameters))
        item = {**to_item(values), **_key(deployment.org_id, deployment.deployment_name)}
        check_size(item, key=deployment_key(deployment.org_id, deployment.deployment_name))
        with self._call("PutItem"):
            await self._client.put_item(TableName=self._table, Item=item)

    async def delete(self, org_id: str, deployment_name: str) -> None:
        """DeleteItem, which succeeds for an item that is not there."""
        with self._call("DeleteItem"):
            await self._client.delete_item(TableName=self._table, Key=_key(org_id, deployment_name))

    async def of_org(self, org_id: str) -> Sequence[Deployment]:
        """By the table's own index of organisations. A record that cannot be read is logged as an error, and left out."""
        items = await all_items(
            self._call,
            "Query",
            self._client.query,
            TableName=self._table,
            IndexName=DEPLOYMENTS_BY_ORG.name,
            KeyConditionExpression="org_id = :key",
            ExpressionAttributeValues={":key": to_value(org_id)},
        )
        return [deployment for item in items if (deployment := _readable(item)) is not None]


def _key(org_id: str, deployment_name: str) -> Item:
    return to_item({"deployment_key": deployment_key(org_id, deployment_name)})


def _deployment(item: Item) -> Deployment:
    key = read_text(item["deployment_key"])
    return Deployment(**read_attributes(item, _READERS, key=key, needed=_NEEDED))


def _readable(item: Item) -> Deployment | None:
    try:
        return _deployment(item)
    except UnreadableRecord as error:
        _LOG.error(
            "Deployment record cannot be read",
            event_type="DEPLOYMENT_UNREADABLE",
            deployment=error.key,
            problem=str(error),
        )
        return None
