"""Whom an agent of the embedded cloud tells what becomes of its containers."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Told:
    """What the agent has reported. `ended` is set by the last report that there is of a task, which `error` makes fail."""

    on_start: Callable[[], None] = lambda: None
    error: Exception | None = None
    reports: list[tuple[object, ...]] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def container_started(self, task_arn: str) -> None:
        """Noted."""
        self.reports.append(("started",))
        self.on_start()

    def container_failed_to_start(self, task_arn: str, reason: str) -> None:
        """Noted: there is no other."""
        self.reports.append(("failed to start", reason))
        self.ended.set()

    def container_exited(self, task_arn: str, exit_code: int, reason: str) -> None:
        """Noted: there is no other."""
        self.reports.append(("exited", exit_code, reason))
        self.ended.set()
        if self.error is not None:
            raise self.error
