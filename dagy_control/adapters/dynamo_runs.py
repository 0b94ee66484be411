"""`ports.Runs` on DynamoDB: every write is one conditional call, every loop's read one query a shard."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import TypedDict

from dagy_control.adapters.active_pages import ActivePages
from dagy_control.adapters.attributes import Item, UnreadableRecord, to_value
from dagy_control.adapters.batches import KEYS_MAX, Batches
from dagy_control.adapters.calls import AwsCalls
from dagy_control.adapters.hot_answers import AnswerForm, answered_as
from dagy_control.adapters.run_codec import GLANCE_ATTRIBUTES, read_glance, read_run, run_item
from dagy_control.adapters.run_update import update_request
from dagy_control.errors import Conflict
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.telemetry import log
from dagy_control.model.runs import ActiveRun, Run, RunChange, RunGlance, RunStatus, active_keys
from dagy_control.model.tables import BY_CORRELATION, BY_FLOW, BY_ORG, IndexSpec, flow_key

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

T = TypeVar("T")


class ItemRead(TypedDict, total=False):
    """An answer of GetItem."""

    Item: dict[str, dict[str, Any]]


class ItemWritten(TypedDict):
    """An answer of UpdateItem that was asked for the whole new item."""

    Attributes: dict[str, dict[str, Any]]


ITEM_READ = AnswerForm("GetItem", ItemRead)
ITEM_WRITTEN = AnswerForm("UpdateItem", ItemWritten)
_LOG = log(__name__)


class DynamoRuns:
    """The runs table. `executor` is the one whose runs this process changes: it goes into the key of the `active` index."""

    def __init__(
        self, client: "DynamoDBClient", calls: AwsCalls, clock: Clock, *, table: str, executor: str = "ecs"
    ) -> None:
        self._client = client
        self._call = calls.of("dynamodb")
        self._table = table
        self._executor = executor
        self._batches = Batches(client, self._call, clock)
        self._pages = ActivePages(client, self._call, table)

    async def get(self, run_id: str) -> Run | None:
        """The run by a consistent read. Raises `UnreadableRecord` for an item that is no run."""
        with self._call("GetItem"), answered_as(ITEM_READ):
            answer = await self._client.get_item(
                TableName=self._table, Key={"run_id": {"S": run_id}}, ConsistentRead=True
            )
        item: Any = answer.get("Item")
        return read_run(item) if item else None

    async def glance_many(self, run_ids: Sequence[str]) -> Mapping[str, RunGlance | None]:
        """BatchGetItem of a few attributes: a whole run may have 400 KB, a call's answer 16 MB at most."""
        keys = [{"run_id": to_value(run_id)} for run_id in dict.fromkeys(run_ids)]
        items = await self._batches.get(self._table, keys, GLANCE_ATTRIBUTES)
        return {item["run_id"]["S"]: _read_or_none(read_glance, item) for item in items}

    async def create(self, run: Run, op_id: str) -> Run:
        """PutItem on the condition that the id is new."""
        new = replace(run, op_id=op_id)
        try:
            with self._call("PutItem"):
                await self._client.put_item(
                    TableName=self._table,
                    Item=run_item(new),
                    ConditionExpression="attribute_not_exists(run_id)",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
        except Conflict as error:
            return _ours_or_conflict(error, op_id, f"run {run.run_id} exists")
        return new

    async def change(self, change: RunChange, op_id: str) -> Run:
        """UpdateItem of the changed attributes on the condition of the expected version.

        A timed-out write may have been applied, and repeating it then fails the condition: our own `op_id` in the old item
        that comes with that failure says so (DynamoDB API Reference, ReturnValuesOnConditionCheckFailure).
        """
        request = update_request(change, op_id, executor=self._executor)
        try:
            with self._call("UpdateItem"), answered_as(ITEM_WRITTEN):
                answer: Any = await self._client.update_item(TableName=self._table, **request)
        except Conflict as error:
            return _ours_or_conflict(error, op_id, f"run {change.run_id} is not at version {change.expected_version}")
        return read_run(answer["Attributes"])

    def active(
        self, status: RunStatus, *, executor: str = "ecs", limit: int | None = None
    ) -> AsyncIterator[Sequence[ActiveRun]]:
        """Pages of the `active` index. An entry that cannot be read is logged as an error, and left out."""
        return self._pages.read(status, executor=executor, limit=limit)

    async def by_org(self, org_id: str, *, limit: int) -> Sequence[Run]:
        """By the index of that name."""
        return await self._newest(BY_ORG, org_id, limit)

    async def by_flow(self, org_id: str, flow_name: str, *, limit: int) -> Sequence[Run]:
        """By the index of that name."""
        return await self._newest(BY_FLOW, flow_key(org_id, flow_name), limit)

    async def of_correlation(self, correlation_id: str) -> AsyncGenerator[Sequence[Run], None]:
        """By the index `by_correlation`, whose key is the root correlation id, page by page."""
        run_ids, after = await self._id_page(BY_CORRELATION, correlation_id, size=KEYS_MAX)
        yield await self._runs(run_ids)
        while after is not None:
            run_ids, after = await self._id_page(BY_CORRELATION, correlation_id, size=KEYS_MAX, after=after)
            yield await self._runs(run_ids)

    async def count_active(self, status: RunStatus, shard: int, *, executor: str = "ecs", up_to: int) -> int:
        """COUNT queries of one partition of the `active` index."""
        return await self._pages.count(active_keys(executor, status)[shard], up_to=up_to)

    async def _newest(self, index: IndexSpec, key: str, limit: int) -> Sequence[Run]:
        """Ids from the index, which holds keys only, then the items themselves."""
        return await self._runs(await self._newest_ids(index, key, limit))

    async def _runs(self, run_ids: Sequence[str]) -> Sequence[Run]:
        items = await self._batches.get(self._table, [{"run_id": {"S": run_id}} for run_id in run_ids])
        by_id = {item["run_id"]["S"]: item for item in items}
        return [
            run for run_id in run_ids if run_id in by_id and (run := _read_or_none(read_run, by_id[run_id])) is not None
        ]

    async def _newest_ids(self, index: IndexSpec, key: str, limit: int) -> list[str]:
        run_ids, after = await self._id_page(index, key, size=limit)
        while after is not None and len(run_ids) < limit:
            more, after = await self._id_page(index, key, size=limit - len(run_ids), after=after)
            run_ids += more
        return run_ids

    async def _id_page(
        self, index: IndexSpec, key: str, *, size: int, after: Mapping[str, Any] | None = None
    ) -> tuple[list[str], Mapping[str, Any] | None]:
        """At most `size` run ids, newest first, and after which key to go on; None: there are no more."""
        request: dict[str, Any] = {
            "TableName": self._table,
            "IndexName": index.name,
            "KeyConditionExpression": "#key = :key",
            "ExpressionAttributeNames": {"#key": index.hash_key},
            "ExpressionAttributeValues": {":key": to_value(key)},
            "ScanIndexForward": False,
            "Limit": size,
        }
        if after is not None:
            request["ExclusiveStartKey"] = after
        with self._call("Query"):
            answer: Mapping[str, Any] = await self._client.query(**request)
        return [item["run_id"]["S"] for item in answer["Items"]], answer.get("LastEvaluatedKey")


def _ours_or_conflict(error: Conflict, op_id: str, message: str) -> Run:
    """The run, when an earlier try of this very write had won; else raises `Conflict` with the run as it is."""
    old: Any = error.current
    current = read_run(old) if old else None
    if current is not None and current.op_id == op_id:
        return current
    raise Conflict(message, current=current) from error


def _read_or_none(read: Callable[[Item], T], item: Item) -> T | None:
    try:
        return read(item)
    except UnreadableRecord as error:
        _LOG.error("Run record cannot be read", event_type="RUN_UNREADABLE", run_id=error.key, problem=str(error))
        return None
