"""A task as ECS shows it, in an answer of DescribeTasks or in a task state-change event: the same names in both.

Source: "Task" in the Amazon ECS API Reference; "Amazon ECS task state change events" in its Developer Guide. In an answer
botocore has made datetimes of the times; in an event they are text.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from dagy_control.model.tasks import SeenContainer, SeenTask

EVENT_SOURCE = "aws.ecs"
EVENT_TYPE = "ECS Task State Change"
CPU_ARCHITECTURE = "ecs.cpu-architecture"
"""The attribute under which Fargate shows a task's architecture: no other field of an answer or event has it."""


class NotATaskEvent(ValueError):
    """A message that is no readable task state-change event; the message says why."""


def seen_task(shown: Mapping[str, Any]) -> SeenTask:
    """The task. Raises KeyError, TypeError or ValueError for what cannot be one."""
    return SeenTask(
        arn=shown["taskArn"],
        cluster=shown["clusterArn"],
        last_status=shown["lastStatus"],
        desired_status=shown.get("desiredStatus") or "",
        started_by=shown.get("startedBy") or "",
        stop_code=shown.get("stopCode") or "",
        stopped_reason=shown.get("stoppedReason") or "",
        containers=tuple(_container(each) for each in shown.get("containers") or ()),
        capacity_provider=shown.get("capacityProviderName") or "",
        task_definition=shown.get("taskDefinitionArn") or "",
        cpu=_number(shown.get("cpu")),
        memory_mib=_number(shown.get("memory")),
        version=int(shown.get("version") or 0),
        created_at=_moment(shown.get("createdAt")),
        pull_started_at=_moment(shown.get("pullStartedAt")),
        started_at=_moment(shown.get("startedAt")),
        stopping_at=_moment(shown.get("stoppingAt")),
        stopped_at=_moment(shown.get("stoppedAt")),
        tags={tag["key"]: tag.get("value", "") for tag in shown.get("tags") or ()},
        launch_type=shown.get("launchType") or "",
        platform_version=shown.get("platformVersion") or "",
        platform_family=shown.get("platformFamily") or "",
        architecture=_architecture(shown),
        ephemeral_storage_gib=_storage_gib(shown),
        availability_zone=shown.get("availabilityZone") or "",
        connectivity=shown.get("connectivity") or "",
        health=shown.get("healthStatus") or "",
        pull_stopped_at=_moment(shown.get("pullStoppedAt")),
        execution_stopped_at=_moment(shown.get("executionStoppedAt")),
    )


def read_event(body: str) -> SeenTask:
    """The task of an EventBridge message. Raises `NotATaskEvent`.

    `version` is the detail's, which orders a task's events; the envelope's is always 0.
    """
    try:
        envelope = json.loads(body)
    except ValueError as error:
        raise NotATaskEvent(f"it is not JSON: {error}") from error
    if not isinstance(envelope, dict):
        raise NotATaskEvent("it is not a JSON object")
    kind = (envelope.get("source"), envelope.get("detail-type"))
    if kind != (EVENT_SOURCE, EVENT_TYPE):
        raise NotATaskEvent(
            f"it is an event of source {kind[0]!r} and type {kind[1]!r}; check the rule that feeds the queue"
        )
    try:
        return seen_task(envelope["detail"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotATaskEvent(f"its detail is no task: {type(error).__name__}: {error}") from error


def _container(shown: Mapping[str, Any]) -> SeenContainer:
    return SeenContainer(
        name=shown.get("name") or "",
        last_status=shown.get("lastStatus") or "",
        exit_code=_number(shown.get("exitCode")),
        reason=shown.get("reason") or "",
        image=shown.get("image") or "",
        image_digest=shown.get("imageDigest") or "",
        health=shown.get("healthStatus") or "",
    )


def _architecture(shown: Mapping[str, Any]) -> str:
    """`x86_64` or `arm64`; empty when ECS shows none."""
    attributes = shown.get("attributes") or ()
    return next((each.get("value") or "" for each in attributes if each.get("name") == CPU_ARCHITECTURE), "")


def _storage_gib(shown: Mapping[str, Any]) -> int | None:
    """The task's ephemeral storage, under its older or its newer name (Fargate platform version 1.4.0 and later)."""
    storage = shown.get("ephemeralStorage") or shown.get("fargateEphemeralStorage") or {}
    return _number(storage.get("sizeInGiB"))


def _number(value: Any) -> int | None:  # noqa: ANN401 - ECS writes sizes as text and exit codes as numbers
    return None if value in (None, "") else int(value)


def _moment(value: datetime | str | None) -> datetime | None:
    if not value:
        return None
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
