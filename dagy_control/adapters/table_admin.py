"""Making the tables of `model/tables.py`, and saying what is wrong with tables that exist."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dagy_control.adapters.calls import AwsCalls, CallNamer
from dagy_control.errors import Permanent, Transient
from dagy_control.kernel.clock import Clock
from dagy_control.model.tables import TABLES, IndexSpec, Projection, TableSpec

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

POLL_S = 1.0
LOOKS_MAX = 180
"""Looks at a table that is being made, one a second; AWS takes seconds for a new table, longer for an index of a large one."""


@dataclass(frozen=True, slots=True)
class TableResult:
    """What became of one table: `outcome` is created, exists or problem; `problem` then says what is wrong and what to do."""

    table: str
    outcome: str
    problem: str = ""


class TableAdmin:
    """Creates tables. Safe to repeat, and to run twice at once."""

    def __init__(self, client: "DynamoDBClient", calls: AwsCalls, clock: Clock) -> None:
        self._client = client
        self._call: CallNamer = calls.of("dynamodb")
        self._clock = clock

    async def create(self, names: Mapping[str, str], tables: Sequence[TableSpec] = TABLES) -> list[TableResult]:
        """Create what is missing, wait until it can be used, enable expiry. `names`: table names by `TableSpec.setting`.

        A table that exists is looked at, never changed, except that expiry is enabled when it is off.
        """
        return [await self._ensure(spec, names[spec.setting]) for spec in tables]

    async def _ensure(self, spec: TableSpec, name: str) -> TableResult:
        outcome = "exists"
        if await self._describe(name) is None and await self._create(spec, name):
            outcome = "created"
        table = await self._when_active(name)
        if problem := schema_problem(spec, table):
            return TableResult(name, "problem", problem)
        if spec.ttl_attribute is not None:
            await self._enable_expiry(name, spec.ttl_attribute)
        return TableResult(name, outcome)

    async def _create(self, spec: TableSpec, name: str) -> bool:
        """Whether it was us who made it: somebody else may at the same moment (ResourceInUseException)."""
        try:
            with self._call("CreateTable"):
                await self._client.create_table(**create_request(spec, name))
        except Permanent as error:
            if error.code == "ResourceInUseException":
                return False
            raise
        return True

    async def _describe(self, name: str) -> Mapping[str, Any] | None:
        try:
            with self._call("DescribeTable"):
                answer: Any = await self._client.describe_table(TableName=name)
        except Permanent as error:
            if error.code == "ResourceNotFoundException":
                return None
            raise
        table: Mapping[str, Any] = answer["Table"]
        return table

    async def _when_active(self, name: str) -> Mapping[str, Any]:
        for _ in range(LOOKS_MAX):
            table = await self._describe(name)
            if table is not None and _is_active(table):
                return table
            await self._clock.sleep(POLL_S)
        raise Transient(f"table {name} and its indexes are not ACTIVE after {LOOKS_MAX * POLL_S:g} s; run this again")

    async def _enable_expiry(self, name: str, attribute: str) -> None:
        with self._call("DescribeTimeToLive"):
            answer = await self._client.describe_time_to_live(TableName=name)
        if answer["TimeToLiveDescription"].get("TimeToLiveStatus") in ("ENABLED", "ENABLING"):
            return
        with self._call("UpdateTimeToLive"):
            await self._client.update_time_to_live(
                TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": attribute}
            )


def create_request(spec: TableSpec, name: str) -> Any:  # noqa: ANN401 - CreateTable's own parameters
    """The CreateTable request of a table: string keys, on-demand billing."""
    request: dict[str, Any] = {
        "TableName": name,
        "KeySchema": _key_schema(spec.hash_key, spec.range_key),
        "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"} for key in spec.key_attributes],
        "BillingMode": "PAY_PER_REQUEST",
    }
    if spec.indexes:
        request["GlobalSecondaryIndexes"] = [
            {
                "IndexName": index.name,
                "KeySchema": _key_schema(index.hash_key, index.range_key),
                "Projection": _projection(index),
            }
            for index in spec.indexes
        ]
    return request


def schema_problem(spec: TableSpec, table: Mapping[str, Any]) -> str:
    """What makes an existing table (as DescribeTable shows it) unusable as `spec`; empty when nothing does. Extras are fine."""
    if table["KeySchema"] != _key_schema(spec.hash_key, spec.range_key):
        wanted = ", ".join(filter(None, (spec.hash_key, spec.range_key)))
        found = ", ".join(key["AttributeName"] for key in table["KeySchema"])
        return f"its key is ({found}), not ({wanted}); a table's key cannot be changed: give another name, or move its data"
    existing = {index["IndexName"]: index for index in table.get("GlobalSecondaryIndexes", ())}
    for index in spec.indexes:
        if index.name not in existing:
            return f"it has no index {index.name!r}; add it (UpdateTable) or let the table be made anew"
        if existing[index.name]["KeySchema"] != _key_schema(index.hash_key, index.range_key):
            return f"its index {index.name!r} is not keyed by ({index.hash_key}, {index.range_key}); delete it and add it anew"
        if lacking := _unprojected(index, existing[index.name].get("Projection", {})):
            return f"its index {index.name!r} does not project {', '.join(lacking)}; delete it and add it anew"
    return ""


def _is_active(table: Mapping[str, Any]) -> bool:
    indexes = table.get("GlobalSecondaryIndexes", ())
    return table["TableStatus"] == "ACTIVE" and all(index.get("IndexStatus", "ACTIVE") == "ACTIVE" for index in indexes)


def _unprojected(index: IndexSpec, projection: Mapping[str, Any]) -> list[str]:
    kind = projection.get("ProjectionType")
    if kind == Projection.ALL or index.projection is Projection.KEYS_ONLY:
        return []
    if index.projection is Projection.ALL:
        return ["all attributes"]
    return sorted(set(index.included) - set(projection.get("NonKeyAttributes", ())))


def _key_schema(hash_key: str, range_key: str | None) -> list[dict[str, str]]:
    schema = [{"AttributeName": hash_key, "KeyType": "HASH"}]
    return schema if range_key is None else [*schema, {"AttributeName": range_key, "KeyType": "RANGE"}]


def _projection(index: IndexSpec) -> dict[str, Any]:
    if index.projection is Projection.INCLUDE:
        return {"ProjectionType": "INCLUDE", "NonKeyAttributes": list(index.included)}
    return {"ProjectionType": str(index.projection)}
