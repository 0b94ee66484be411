"""ECS tasks: starting, describing, listing and stopping them, within the account's API budget."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

from dagy_control.model.launch_failure import LaunchFailure
from dagy_control.model.tasks import SeenTask

DESCRIBE_MAX = 100
"""ARNs that one DescribeTasks takes; an empty list is an error (ECS API Reference, DescribeTasks)."""


class ReadPriority(IntEnum):
    """Who goes first for the shared read budget; the lower number wins."""

    RECONCILE = 1
    ORPHANS = 2


@dataclass(frozen=True, slots=True)
class Started:
    """RunTask made a task, or the token's earlier call had: `task_arn` is the one task of this token."""

    task_arn: str
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Described:
    """An answer to DescribeTasks: the tasks it showed, and the ARNs that it called MISSING."""

    tasks: Sequence[SeenTask]
    missing: Sequence[str]
    unreadable: Sequence[str] = ()
    """ARNs that ECS refused to look at (malformed): they never spoil the other ones of their call."""


@dataclass(frozen=True, slots=True)
class Looked:
    """As much of an answer to DescribeTasks as tells which tasks are over: those in full, the others by their desired status.

    `living`: the desired status of each task that has not ended, by ARN. `missing` and `unreadable` as in `Described`.
    """

    living: Mapping[str, str]
    over: Sequence[SeenTask]
    missing: Sequence[str]
    unreadable: Sequence[str] = ()


class Tasks(Protocol):
    """The ECS API as the loops use it."""

    async def reserve_run_task(self, provider: str) -> None:
        """Wait for one RunTask's place in the account's budget.

        Call it before the intent is written: the wait may be long, and a token's age must be checked after it.
        """
        ...

    async def run_task(self, request: Mapping[str, Any]) -> Started | LaunchFailure:
        """Send one RunTask exactly as `request` (ECS's own parameters, with `clientToken`), in a place reserved before.

        `Started` also when the token was already used: by the replayed answer or by the ARN that ConflictException names.
        `LaunchFailure` when ECS said that it made no task (body failures, which settle the token; throttling and refusals,
        which tell of this send only). Raises `Transient` when the outcome is unknown (timeout, 5xx, connection lost): only a
        replay of the same token can settle it.
        """
        ...

    async def describe(
        self, cluster: str, arns: Sequence[str], *, priority: ReadPriority, tags: bool = False
    ) -> Described:
        """Describe any number of tasks of one cluster, `DESCRIBE_MAX` a call. Safe to repeat.

        Every ARN is in exactly one part of the answer.
        """
        ...

    async def look(self, cluster: str, arns: Sequence[str], *, priority: ReadPriority) -> Looked:
        """The same calls for those who want to know what is over: much cheaper, for of a live task next to nothing is read.

        Every ARN is in exactly one part of the answer. Safe to repeat.
        """
        ...

    def list_running(self, cluster: str, *, started_by: str | None = None) -> AsyncIterator[Sequence[str]]:
        """Pages of ARNs of tasks whose desired status is RUNNING. Raises rather than end early: a listing that ends is complete."""
        ...

    async def stop(self, cluster: str, arn: str, *, reason: str) -> None:
        """StopTask. Success also for a task that is already stopped; `Gone` for one that ECS does not know. Safe to repeat."""
        ...
