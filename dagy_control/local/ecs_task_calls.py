"""DescribeTasks, ListTasks, StopTask and the tags of tasks.

Source: Amazon ECS API reference of these operations, and "eventual consistency" under RunTask.
"""

import base64
import binascii
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from dagy_control.local.ecs_errors import EcsError, invalid
from dagy_control.local.ecs_lifecycle import Lifecycle
from dagy_control.local.ecs_registry import Registry
from dagy_control.local.ecs_requests import Request, check_tags
from dagy_control.local.ecs_state import Cluster, Status, StopCode, Task

_TASK_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(slots=True)
class TaskShelf:
    """Every task ever made, by ARN, and which of them the API shows. `visible_after_s`: the eventual-consistency window in seconds."""

    prefix: str
    visible_after_s: float
    tasks: dict[str, Task] = field(default_factory=dict)

    def arn(self, cluster: Cluster, name: str) -> str:
        """The ARN of a task named by ARN or id; a malformed name or another cluster's ARN spoils the whole call."""
        if not name.startswith("arn:"):
            if not _TASK_ID.fullmatch(name):
                raise invalid("taskId length should be one of [32,36]")
            return f"{self.prefix}:task/{cluster.name}/{name}"
        head, _, task_id = name.rpartition("/")
        if not _TASK_ID.fullmatch(task_id) or not head.startswith(f"{self.prefix}:task/"):
            raise invalid("Invalid identifier: Unexpected task ARN format.")
        if head != f"{self.prefix}:task/{cluster.name}":
            other = head.rpartition("/")[2]
            raise invalid(f"Invalid identifier: Identifier is for cluster {other}. Your cluster is {cluster.name}")
        return name

    def visible(self, task_arn: str, now: datetime) -> Task | None:
        """The task as the API sees it: not yet within the consistency window, no longer once its retention has passed."""
        task = self.tasks.get(task_arn)
        if task is None or task.last_status is Status.DELETED:
            return None
        return task if now >= task.created_at + timedelta(seconds=self.visible_after_s) else None


class TaskCalls:
    """The operations on tasks that exist."""

    def __init__(self, shelf: TaskShelf, registry: Registry, life: Lifecycle) -> None:
        self._shelf = shelf
        self._registry = registry
        self._life = life

    def describe_tasks(self, request: Request, now: datetime) -> dict[str, Any]:
        """1 to 100 tasks; tags only with `include=["TAGS"]`; unknown ones in `failures` as MISSING."""
        cluster = self._registry.cluster(request)
        wanted = request.get("tasks", [])
        if not 1 <= len(wanted) <= 100:
            raise invalid("Tasks can have at most 100 items." if wanted else "Tasks cannot be empty.")
        arns = [self._shelf.arn(cluster, name) for name in wanted]
        with_tags = "TAGS" in request.get("include", [])
        seen = {arn: self._shelf.visible(arn, now) for arn in arns}
        return {
            "tasks": [task.describe(with_tags=with_tags) for task in seen.values() if task is not None],
            "failures": [{"arn": arn, "reason": "MISSING"} for arn, task in seen.items() if task is None],
        }

    def list_tasks(self, request: Request, now: datetime) -> dict[str, Any]:
        """ARNs by desired status (RUNNING unless said), in pages of at most 100.

        `startedBy` excludes every other filter; `desiredStatus` may go with it (Airflow's ECS operator lists by both).
        """
        cluster = self._registry.cluster(request)
        desired = request.get("desiredStatus", "RUNNING")
        size = request.get("maxResults", 100)
        if desired not in {"RUNNING", "PENDING", "STOPPED"}:
            raise invalid(f"Invalid desired status: {desired}")
        if not 1 <= size <= 100:
            raise invalid("maxResults must be between 1 and 100.")
        started_by, family = request.get("startedBy"), request.get("family")
        others = [key for key in ("family", "serviceName", "containerInstance", "launchType") if request.get(key)]
        if started_by is not None and others:
            raise invalid(f"cannot specify startedBy and {others[0]}")
        after = _decode_page(request["nextToken"]) if request.get("nextToken") else -1
        matching = [
            (index, arn)
            for index, (arn, task) in enumerate(self._shelf.tasks.items())
            if index > after
            and task.cluster is cluster
            and task.desired_status.value == desired
            and self._shelf.visible(arn, now) is not None
            and started_by in {None, task.started_by}
            and family in {None, task.definition.family}
        ]
        page = matching[:size]
        answer: dict[str, Any] = {"taskArns": [arn for _, arn in page]}
        if len(matching) > size:
            answer["nextToken"] = _encode_page(page[-1][0])
        return answer

    def stop_task(self, request: Request, now: datetime) -> dict[str, Any]:
        """Begin to stop a task; harmless for one that stops or has stopped. Deletes the task's tags, as AWS does."""
        cluster = self._registry.cluster(request)
        task = self._shelf.visible(self._shelf.arn(cluster, request.get("task", "")), now)
        if task is None:
            raise invalid("The referenced task was not found.")
        task.tags.clear()
        if task.stopped_at is None:
            self._life.stop(task, StopCode.USER_INITIATED, request.get("reason") or "Task stopped by user", now)
        return {"task": task.describe(with_tags=False)}

    def tag_resource(self, request: Request, now: datetime) -> dict[str, Any]:
        """Add or replace tags of a task."""
        task = self._tagged(request, now)
        merged = {tag["key"]: tag for tag in task.tags} | {
            tag["key"]: tag for tag in check_tags(request.get("tags", []))
        }
        task.tags[:] = check_tags(list(merged.values()))
        return {}

    def list_tags(self, request: Request, now: datetime) -> dict[str, Any]:
        """The tags of a task."""
        return {"tags": list(self._tagged(request, now).tags)}

    def _tagged(self, request: Request, now: datetime) -> Task:
        task = self._shelf.visible(request.get("resourceArn", ""), now)
        if task is None:
            raise EcsError(
                "ResourceNotFoundException", "The specified task was not found (only tasks carry tags here)."
            )
        return task


def _encode_page(index: int) -> str:
    return base64.urlsafe_b64encode(f"after:{index}".encode()).decode()


def _decode_page(token: str) -> int:
    try:
        return int(base64.urlsafe_b64decode(token.encode()).decode().removeprefix("after:"))
    except (binascii.Error, ValueError):
        raise invalid("Invalid token") from None
