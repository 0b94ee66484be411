"""Faults, switched in the emulator and never in the product: what the next N calls (or events) will suffer."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

CAPACITY_REASON = "Capacity is unavailable at this time. Please try again later or in a different availability zone"


class FaultKind(StrEnum):
    """What goes wrong. The first five befall a call, the next two a launch, the last three a task-state event."""

    THROTTLE = "throttle"
    ERROR_NOT_APPLIED = "error_not_applied"
    ERROR_APPLIED = "error_applied"
    DROP_REPLY = "drop_reply"
    HOLD_REPLY = "hold_reply"
    LAUNCH_FAILURE = "launch_failure"
    START_FAILURE = "start_failure"
    DROP_EVENT = "drop_event"
    DUPLICATE_EVENT = "duplicate_event"
    DELAY_EVENT = "delay_event"


CALL_FAULTS = frozenset(
    {
        FaultKind.THROTTLE,
        FaultKind.ERROR_NOT_APPLIED,
        FaultKind.ERROR_APPLIED,
        FaultKind.DROP_REPLY,
        FaultKind.HOLD_REPLY,
    }
)
LAUNCH_FAULTS = frozenset({FaultKind.LAUNCH_FAILURE, FaultKind.START_FAILURE})
EVENT_FAULTS = frozenset({FaultKind.DROP_EVENT, FaultKind.DUPLICATE_EVENT, FaultKind.DELAY_EVENT})


@dataclass(frozen=True, slots=True)
class Fault:
    """One order: the next `calls` calls of `operation` (or events; `operation` is then ignored) suffer `kind`.

    `throttle`, `error_not_applied` (HTTP 500, nothing done), `error_applied` (HTTP 500, but done), `drop_reply` (done,
    connection cut), `hold_reply` (done, the answer waits until released or the connection dies).
    `launch_failure`: RunTask answers 200 with `failures[]` and this `reason` (capacity unless given; "RESOURCE:CPU" is
    another).
    `start_failure`: RunTask succeeds, and later the task stops with TaskFailedToStart and this `reason` as
    stoppedReason. `delay_s`: for `delay_event`, by how many seconds.
    """

    kind: FaultKind
    operation: str = "RunTask"
    calls: int = 1
    reason: str = CAPACITY_REASON
    delay_s: float = 0.0


class Faults:
    """The faults that are switched on, oldest first."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Fault, int]] = []

    def add(self, fault: Fault) -> None:
        """Switch a fault on, after those of the same kind that still wait."""
        self._waiting.append((fault, fault.calls))

    def clear(self) -> None:
        """Switch every fault off."""
        self._waiting.clear()

    def waiting(self) -> list[tuple[Fault, int]]:
        """What is still switched on, each with the number of calls that it will yet befall."""
        return list(self._waiting)

    def take(self, kinds: Collection[FaultKind], operation: str = "") -> Fault | None:
        """The oldest waiting fault of these kinds for this operation, counted down by one; None when there is none."""
        for index, (fault, left) in enumerate(self._waiting):
            if fault.kind in kinds and (not operation or fault.operation == operation):
                if left <= 1:
                    del self._waiting[index]
                else:
                    self._waiting[index] = (fault, left - 1)
                return fault
        return None


class EventQueue:
    """Task-state events on their way out, with the delivery faults of EventBridge: at least once, unordered, sometimes lost."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._queue: list[tuple[datetime, dict[str, Any]]] = []

    def put(self, event: dict[str, Any], now: datetime) -> None:
        """Queue an event, or drop, double or delay it when such a fault waits."""
        fault = self._faults.take(EVENT_FAULTS)
        if fault is None:
            self._queue.append((now, event))
        elif fault.kind is FaultKind.DUPLICATE_EVENT:
            self._queue += [(now, event), (now, event)]
        elif fault.kind is FaultKind.DELAY_EVENT:
            self._queue.append((now + timedelta(seconds=fault.delay_s), event))

    def drain(self, now: datetime) -> list[dict[str, Any]]:
        """The events that are due, in the order in which they fall due; they leave the queue."""
        due = sorted((item for item in self._queue if item[0] <= now), key=lambda item: item[0])
        self._queue = [item for item in self._queue if item[0] > now]
        return [event for _, event in due]

    def next_due(self) -> datetime | None:
        """When the next event falls due."""
        return min((at for at, _ in self._queue), default=None)
