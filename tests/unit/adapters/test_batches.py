"""What DynamoDB leaves unprocessed is sent again, with waits, and never silently dropped.

The client here is a stateful fake of the two batch operations: no server that we can run leaves keys unprocessed.
"""

from typing import Any, cast

import pytest

from dagy_control.adapters.attributes import Item, to_value
from dagy_control.adapters.batches import ROUNDS_MAX, Batches
from dagy_control.adapters.calls import AwsCalls
from dagy_control.errors import Transient
from tests.fakes.clock import VirtualClock


class StingyDynamo:
    """Processes at most `per_call` keys or items a call, and leaves the others unprocessed."""

    def __init__(self, per_call: int, items: dict[str, Item] | None = None) -> None:
        self.per_call = per_call
        self.items: dict[str, Item] = items or {}
        self.calls: list[int] = []

    async def batch_get_item(self, *, RequestItems: Any) -> Any:  # noqa: N803 - DynamoDB's name
        ((table, asked),) = RequestItems.items()
        keys = asked["Keys"]
        self.calls.append(len(keys))
        taken, left = keys[: self.per_call], keys[self.per_call :]
        found = [self.items[key["id"]["S"]] for key in taken if key["id"]["S"] in self.items]
        return {"Responses": {table: found}, "UnprocessedKeys": {table: {**asked, "Keys": left}} if left else {}}

    async def batch_write_item(self, *, RequestItems: Any) -> Any:  # noqa: N803 - DynamoDB's name
        ((table, asked),) = RequestItems.items()
        self.calls.append(len(asked))
        for each in asked[: self.per_call]:
            item = each["PutRequest"]["Item"]
            self.items[item["id"]["S"]] = item
        left = asked[self.per_call :]
        return {"UnprocessedItems": {table: left} if left else {}}


def batches_of(dynamo: StingyDynamo, clock: VirtualClock) -> Batches:
    return Batches(cast("Any", dynamo), AwsCalls(clock).of("dynamodb"), clock)


def items(count: int) -> dict[str, Item]:
    return {f"{number:03d}": {"id": to_value(f"{number:03d}")} for number in range(count)}


async def test_unprocessed_keys_are_asked_again_until_all_are_read() -> None:
    clock, dynamo = VirtualClock(), StingyDynamo(40, items(130))
    keys = list(items(130).values())
    found = await clock.run(batches_of(dynamo, clock).get("t", keys))
    assert sorted(item["id"]["S"] for item in found) == sorted(items(130))
    assert dynamo.calls == [100, 60, 20, 30]
    assert clock.monotonic() > 1000, "it waited between the calls"


async def test_keys_that_stay_unprocessed_raise_rather_than_answer_in_part() -> None:
    clock, dynamo = VirtualClock(), StingyDynamo(0, items(3))
    with pytest.raises(Transient, match="left keys of t unread"):
        await clock.run(batches_of(dynamo, clock).get("t", list(items(3).values())))
    assert len(dynamo.calls) == ROUNDS_MAX


async def test_after_the_last_try_nobody_waits_any_more() -> None:
    clock = VirtualClock()

    class Timed(StingyDynamo):
        async def batch_get_item(self, *, RequestItems: Any) -> Any:  # noqa: N803 - DynamoDB's name
            self.called_at = clock.monotonic()
            return await super().batch_get_item(RequestItems=RequestItems)

    dynamo = Timed(0, items(1))
    with pytest.raises(Transient):
        await clock.run(batches_of(dynamo, clock).get("t", list(items(1).values())))
    assert clock.monotonic() == dynamo.called_at


async def test_unprocessed_items_are_written_in_the_end() -> None:
    clock, dynamo = VirtualClock(), StingyDynamo(10)
    await clock.run(batches_of(dynamo, clock).put("t", list(items(30).values())))
    assert dynamo.items == items(30)
    assert dynamo.calls == [25, 15, 5, 5]


async def test_items_that_stay_unwritten_raise() -> None:
    clock, dynamo = VirtualClock(), StingyDynamo(0)
    with pytest.raises(Transient, match="left items of t unwritten") as unwritten:
        await clock.run(batches_of(dynamo, clock).put("t", list(items(1).values())))
    assert not unwritten.value.throttled, "some may be written"
