"""The EventBridge event that ECS publishes for each change of a task's state.

Source: Amazon ECS developer guide, "Amazon ECS task state change events". The envelope's `version` is always "0";
`detail.version` orders. No tags.
"""

from datetime import datetime
from typing import Any

from dagy_control.local.ecs_state import Task


def iso(at: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and a Z, as EventBridge writes instants."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def task_state_change(task: Task, *, event_id: str, at: datetime) -> dict[str, Any]:
    """The whole event, as an SQS message's body holds it."""
    _, _, _, region, account, _ = task.arn.split(":", 5)
    detail = {
        key: iso(value) if isinstance(value, datetime) else value
        for key, value in task.describe(with_tags=False).items()
    }
    return {
        "version": "0",
        "id": event_id,
        "detail-type": "ECS Task State Change",
        "source": "aws.ecs",
        "account": account,
        "time": iso(at),
        "region": region,
        "resources": [task.arn],
        "detail": {**detail, "updatedAt": iso(at)},
    }
