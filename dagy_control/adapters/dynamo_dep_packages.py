"""`ports.DepPackages` on DynamoDB."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dagy_control.adapters.attributes import (
    Item,
    Reader,
    UnreadableRecord,
    read_attributes,
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
from dagy_control.model.dep_packages import DepPackage

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

_LOG = log(__name__)

_READERS: Mapping[str, Reader] = {
    "slug": read_text,
    "package_s3_uri": read_text,
    "sha256": read_text,
    "size": read_whole,
    "added_at": read_moment,
}
_NEEDED = ("package_s3_uri", "sha256", "size")


class DynamoDepPackages:
    """The table of the dependency packages."""

    def __init__(self, client: "DynamoDBClient", calls: AwsCalls, *, table: str) -> None:
        self._client = client
        self._call = calls.of("dynamodb")
        self._table = table

    async def get(self, slug: str) -> DepPackage | None:
        """A consistent read. Raises `UnreadableRecord` for a record that lacks what a worker must check."""
        with self._call("GetItem"):
            answer: Any = await self._client.get_item(
                TableName=self._table, Key={"slug": to_value(slug)}, ConsistentRead=True
            )
        return _package(answer["Item"]) if "Item" in answer else None

    async def put(self, package: DepPackage, *, replace: bool = False) -> None:
        """PutItem, on the condition that the slug is new or has this content unless it is to be replaced."""
        condition: dict[str, Any] = {
            "ConditionExpression": "attribute_not_exists(slug) OR sha256 = :sha256",
            "ExpressionAttributeValues": {":sha256": to_value(package.sha256)},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        try:
            with self._call("PutItem"):
                await self._client.put_item(
                    TableName=self._table, Item=to_item(asdict(package)), **({} if replace else condition)
                )
        except Conflict as error:
            old: Any = error.current
            message = f"dependency package {package.slug!r} exists with another content"
            raise Conflict(message, current=_readable(old) if old else None) from error

    async def all(self) -> Sequence[DepPackage]:
        """A scan: the table has a few dozen items. A record that cannot be read is logged as an error, and left out."""
        items = await all_items(self._call, "Scan", self._client.scan, TableName=self._table)
        found = [package for item in items if (package := _readable(item)) is not None]
        return sorted(found, key=lambda package: package.slug)


def _package(item: Item) -> DepPackage:
    slug = read_text(item["slug"])
    values = read_attributes(item, _READERS, key=slug)
    if missing := [name for name in _NEEDED if name not in values]:
        raise UnreadableRecord(slug, f"it has no {', '.join(missing)}; add the package again")
    return DepPackage(**values)


def _readable(item: Item) -> DepPackage | None:
    try:
        return _package(item)
    except UnreadableRecord as error:
        _LOG.error(
            "Dependency package cannot be read", event_type="DEP_PACKAGE_UNREADABLE", slug=error.key, problem=str(error)
        )
        return None
