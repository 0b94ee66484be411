"""A batch: many orders in one request, under one parent correlation id, each of them launched or refused for itself."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dagy_control.errors import DagyError, Transient
from dagy_control.kernel.bounded import Outcome, run_bounded
from dagy_control.model.runs import Run
from dagy_control.requests.launch import Launcher
from dagy_control.requests.orders import (
    CORRELATION_ID_MAX_CHARACTERS,
    LaunchOrder,
    check_correlation_id,
    check_idempotency_key,
    differences,
    read_order,
)
from dagy_control.requests.refusals import RequestRefused

BATCH_MAX = 1_000
"""Orders of a batch."""
AT_ONCE = 16
"""Orders of a batch that are written at the same time: a thousand in seconds, and other callers still get connections."""
UNANSWERED_MAX = AT_ONCE
"""Orders that may end without an answer before the others are not even tried: each has been repeated for seconds."""


@dataclass(frozen=True, slots=True)
class ItemFailure:
    """An order that gave no run: its place in the batch from 0, the argument at fault, and why.

    `again`: nothing is wrong with it, the tables did not answer. Repeat the batch under the same parent.
    """

    index: int
    field: str
    message: str
    again: bool = False


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """Every order of a batch is in one of the two: `runs` by its place from 0, or `failures`, in order."""

    parent_correlation_id: str
    runs: Mapping[int, Run]
    failures: Sequence[ItemFailure]


async def launch_batch(
    launcher: Launcher,
    items: Sequence[object],
    *,
    parent_correlation_id: str,
    defaults: Mapping[str, Any] | None = None,
) -> BatchOutcome:
    """Launch 1 to 1,000 orders, each a mapping as `read_order` takes it, over `defaults`. One that fails stops no other.

    Every order gets an idempotency key of the parent and its own key, or of the parent and its place: the same batch again
    under the same parent finds the runs that are there and launches the others. A child's correlation id is `PARENT.PLACE`
    unless it has its own. Raises `RequestRefused`, having written nothing, for a batch that is wrong as a whole, and
    `QueueFull` for one that the queue has no room for, counting also those of its orders that are on record already.
    """
    if not 1 <= len(items) <= BATCH_MAX:
        hint = "; split it" if items else ""
        raise RequestRefused("batch", f"a batch has 1 to {BATCH_MAX:,} orders, not {len(items):,}{hint}")
    _check_parent(parent_correlation_id)
    failures: dict[int, ItemFailure] = {}
    orders = _read(items, parent_correlation_id, defaults or {}, failures)
    for executor, number in Counter(order.executor for _, order in orders).items():
        await launcher.check_room(number, executor=executor, seed=parent_correlation_id)
    outcomes = await _submit_all(launcher, orders)
    runs: dict[int, Run] = {}
    for (index, order), outcome in zip(orders, outcomes, strict=True):
        match outcome:
            case Run() if others := differences(order, outcome):
                failures[index] = ItemFailure(index, "idempotency_key", _taken(outcome, others))
            case Run():
                runs[index] = outcome
            case RequestRefused():
                failures[index] = ItemFailure(index, outcome.field, str(outcome))
            case _:
                failures[index] = ItemFailure(index, "", str(outcome), again=isinstance(outcome, Transient))
    return BatchOutcome(parent_correlation_id, runs, [failures[index] for index in sorted(failures)])


def _check_parent(parent: str) -> None:
    check_correlation_id("parent_correlation_id", parent)
    room = CORRELATION_ID_MAX_CHARACTERS - len(f".{BATCH_MAX - 1}")
    if len(parent) > room:
        raise RequestRefused(
            "parent_correlation_id",
            f"the parent's correlation id {parent!r} has {len(parent)} characters; {room} leave room for its children's",
        )


def _read(
    items: Sequence[object], parent: str, defaults: Mapping[str, Any], failures: dict[int, ItemFailure]
) -> list[tuple[int, LaunchOrder]]:
    """The orders that can be read, each with its place; the others are added to `failures`."""
    orders: list[tuple[int, LaunchOrder]] = []
    places: dict[tuple[str, str | None], int] = {}
    for index, item in enumerate(items):
        try:
            order = _child(item, index, parent, defaults)
            first = places.setdefault((order.org_id, order.idempotency_key), index)
            if first != index:
                raise RequestRefused(
                    "idempotency_key", f"order {first} of this batch has the same key; give each its own"
                )
        except RequestRefused as refused:
            failures[index] = ItemFailure(index, refused.field, str(refused))
        else:
            orders.append((index, order))
    return orders


def _child(item: object, index: int, parent: str, defaults: Mapping[str, Any]) -> LaunchOrder:
    if not isinstance(item, Mapping):
        raise RequestRefused("", f"an order must be a JSON object, not {item!r:.60}")
    order = read_order({**defaults, **{name: value for name, value in item.items() if value is not None}})
    if order.parent_correlation_id not in (None, parent):
        raise RequestRefused("parent_correlation_id", f"the parent of every order of this batch is {parent!r}")
    if order.idempotency_key is not None:
        check_idempotency_key(order.idempotency_key)
    return replace(
        order,
        parent_correlation_id=parent,
        correlation_id=order.correlation_id or f"{parent}.{index}",
        idempotency_key=_key(parent, index, order.idempotency_key),
    )


def _key(parent: str, index: int, own: str | None) -> str:
    """Unambiguous, because a correlation id has no `#`."""
    return f"{parent}#{index}" if own is None else f"{parent}##{own}"


async def _submit_all(launcher: Launcher, orders: Sequence[tuple[int, LaunchOrder]]) -> list[Run | DagyError]:
    """What became of each order, in their order. Any error that is none of ours is a bug, and raised once all have ended."""
    batch = launcher.for_batch()
    unanswered = 0

    async def submit(order: tuple[int, LaunchOrder]) -> Run:
        nonlocal unanswered
        try:
            return await batch.submit(order[1])
        except Transient:
            unanswered += 1
            raise

    outcomes = await run_bounded(orders, submit, limit=AT_ONCE, name="batch", stop=lambda: unanswered >= UNANSWERED_MAX)
    ended = [_ended(each) for each in outcomes]
    untried = Transient("not tried, because orders before it got no answer")
    return [*ended, *[untried] * (len(orders) - len(ended))]


def _ended(outcome: Outcome[tuple[int, LaunchOrder], Run]) -> Run | DagyError:
    if outcome.value is not None:
        return outcome.value
    if isinstance(outcome.error, DagyError):
        return outcome.error
    raise outcome.error or AssertionError("neither a run nor an error")


def _taken(run: Run, others: Sequence[str]) -> str:
    return (
        f"its key was used before, for run {run.run_id} of flow {run.flow_name} with {'; '.join(others)}: "
        "give the changed batch another parent, or the order its own idempotency_key"
    )
