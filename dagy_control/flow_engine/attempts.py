"""What a place where attempts run (a child process, a thread) offers to the runner."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from dagy_control.flow_engine.calls import Call
from dagy_control.flow_engine.graph import AttemptEnd


@dataclass(frozen=True, slots=True)
class Finished:
    """An attempt's end. `result`: pickled, of a successful one. `peak_memory_mb` (MiB): of its process, None for a thread."""

    end: AttemptEnd
    result: bytes | None = None
    peak_memory_mb: float | None = None


class Attempt(Protocol):
    """One attempt that has been started. Its methods belong to the event loop's thread."""

    @property
    def ended(self) -> asyncio.Future[Finished]:
        """Done when the attempt has ended and holds nothing any more. Never an exception."""
        ...

    def terminate(self, verdict: AttemptEnd) -> None:
        """End it; whatever it does from now on, it ends as `verdict`. Later calls change nothing."""
        ...


class Host(Protocol):
    """A place where attempts run."""

    @property
    def ready(self) -> bool:
        """`start` may be called."""
        ...

    def start(self, call: Call) -> Attempt:
        """Begin an attempt; returns at once."""
        ...

    async def close(self) -> None:
        """End what still runs, and wait for it as far as it can be ended."""
        ...
