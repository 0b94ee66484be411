"""What a place where attempts run (a child process, a thread) offers to the runner."""

from datetime import datetime
from typing import NamedTuple, Protocol

from dagy_control.flow_engine.calls import Call
from dagy_control.flow_engine.graph import AttemptEnd
from dagy_control.flow_engine.packing import PackedResult


class Moment(NamedTuple):
    """One moment on both clocks: the wall's (aware, UTC), and monotonic seconds."""

    at: datetime
    s: float


class Finished(NamedTuple):
    """An attempt's end. `result`: packed, of a successful one. `peak_memory_mb` (MiB): of its process, None for a thread.

    `at`: when it ended; None: just now.
    """

    end: AttemptEnd
    result: PackedResult | None = None
    peak_memory_mb: float | None = None
    at: Moment | None = None


class Listener(Protocol):
    """Who hears of an attempt, on the event loop's thread."""

    def began(self, moment: Moment) -> None:
        """Only of an attempt that was started `ahead`: it has begun."""
        ...

    def ended(self, finished: Finished) -> None:
        """Once: the attempt has ended and holds nothing any more. Never while it is being started."""
        ...


class Attempt(Protocol):
    """One attempt that has been started. Its methods belong to the event loop's thread."""

    def terminate(self, verdict: AttemptEnd) -> None:
        """End it; whatever it does from now on, it ends as `verdict`. Later calls change nothing."""
        ...


class Host(Protocol):
    """A place where attempts run."""

    @property
    def ready(self) -> bool:
        """`start` may be called."""
        ...

    def start(self, call: Call, listener: Listener) -> Attempt:
        """Begin an attempt; returns at once."""
        ...

    async def close(self) -> None:
        """End what still runs, and wait for it as far as it can be ended."""
        ...
