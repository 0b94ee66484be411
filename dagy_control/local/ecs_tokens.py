"""RunTask's client tokens: the same request sent twice starts one task.

Source: Amazon ECS API reference, "Ensuring idempotency". A token is scoped to its cluster and lives min(24 h, life of
the task + 1 h). With the same parameters it answers what the first call answered; with others it is a
ConflictException whose `resourceIds` are the ARNs of the existing tasks.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from dagy_control.local.ecs_errors import EcsError
from dagy_control.local.ecs_requests import Request
from dagy_control.local.ecs_state import Lifetimes, Task


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the first call with a token did."""

    fingerprint: str
    at: datetime
    tasks: tuple[Task, ...]
    failures: tuple[dict[str, Any], ...]

    def expires(self, lifetimes: Lifetimes) -> datetime:
        """When the token is free again. An answer that was all failures counts as a task that lived for no time."""
        latest = self.at + timedelta(seconds=lifetimes.token_life_s)
        stops = [task.stopped_at for task in self.tasks]
        if any(stop is None for stop in stops):
            return latest
        ended = max((stop for stop in stops if stop is not None), default=self.at)
        return min(latest, ended + timedelta(seconds=lifetimes.token_after_stop_s))

    def replay(self) -> dict[str, Any]:
        """The answer to a repeated call: live tasks as they are now, a stopped one with three members only."""
        return {
            "tasks": [_replayed(task) for task in self.tasks],
            "failures": [dict(failure) for failure in self.failures],
        }


def _replayed(task: Task) -> dict[str, Any]:
    if task.stopped_at is None:
        return task.describe(with_tags=True)
    return {"taskArn": task.arn, "lastStatus": task.last_status.value, "desiredStatus": task.desired_status.value}


def fingerprint(request: Request) -> str:
    """The request's parameters without the token and the cluster's spelling, in a form that compares."""
    return json.dumps({k: v for k, v in request.items() if k not in {"clientToken", "cluster"}}, sort_keys=True)


class TokenBook:
    """Every client token in use."""

    def __init__(self, lifetimes: Lifetimes) -> None:
        self._lifetimes = lifetimes
        self._book: dict[tuple[str, str], Remembered] = {}

    def recall(self, cluster_arn: str, token: str, request: Request, now: datetime) -> dict[str, Any] | None:
        """The answer of the first call with this token, None if it is new or has expired; ConflictException if the parameters differ."""
        remembered = self._book.get((cluster_arn, token))
        if remembered is None:
            return None
        if now >= remembered.expires(self._lifetimes):
            del self._book[cluster_arn, token]
            return None
        if remembered.fingerprint != fingerprint(request):
            raise EcsError(
                "ConflictException",
                "The request's client token was already used with different parameters.",
                extra={"resourceIds": [task.arn for task in remembered.tasks]},
            )
        return remembered.replay()

    def remember(
        self,
        cluster_arn: str,
        token: str,
        request: Request,
        now: datetime,
        *,
        tasks: list[Task],
        failures: list[dict[str, Any]],
    ) -> None:
        """Keep what the first call with this token answered."""
        self._book[cluster_arn, token] = Remembered(fingerprint(request), now, tuple(tasks), tuple(failures))
