"""A task as ECS shows it, in an answer of DescribeTasks or in a task state-change event: the same names in both.

Source: "Task" in the Amazon ECS API Reference; "Amazon ECS task state change events" in its Developer Guide. Times are epoch seconds
in an answer and text in an event; sizes are text, exit codes numbers.
"""

from datetime import datetime
from typing import Any

import msgspec
from typing_extensions import TypedDict

from dagy_control.adapters.attributes import in_utc
from dagy_control.adapters.hot_answers import AnswerForm
from dagy_control.kernel.telemetry import log
from dagy_control.model.tasks import SeenContainer, SeenTask

EVENT_SOURCE = "aws.ecs"
EVENT_TYPE = "ECS Task State Change"
CPU_ARCHITECTURE = "ecs.cpu-architecture"
"""The attribute under which Fargate shows a task's architecture: no other field of an answer or event has it."""

_LOG = log(__name__)


class NotATaskEvent(ValueError):
    """A message that is no readable task state-change event; the message says why."""


class _Shown(msgspec.Struct, rename="camel", gc=False):
    """A part of a task under ECS's own names. Null is as if absent; what is not named here is skipped."""


class ShownContainer(_Shown):
    """A container."""

    name: str | None = None
    last_status: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    image: str | None = None
    image_digest: str | None = None
    health_status: str | None = None


class ShownTag(_Shown):
    """A tag."""

    key: str
    value: str | None = None


class ShownAttribute(_Shown):
    """An attribute of the place where the task runs."""

    name: str | None = None
    value: str | None = None


class ShownStorage(_Shown):
    """Ephemeral storage."""

    size_in_gib: int | None = msgspec.field(name="sizeInGiB", default=None)


class ShownTask(_Shown):
    """A task: all that is read of it."""

    task_arn: str
    cluster_arn: str
    last_status: str
    desired_status: str | None = None
    started_by: str | None = None
    stop_code: str | None = None
    stopped_reason: str | None = None
    containers: list[ShownContainer] | None = None
    capacity_provider_name: str | None = None
    task_definition_arn: str | None = None
    cpu: int | str | None = None
    memory: int | str | None = None
    version: int | None = None
    created_at: datetime | None = None
    pull_started_at: datetime | None = None
    started_at: datetime | None = None
    stopping_at: datetime | None = None
    stopped_at: datetime | None = None
    tags: list[ShownTag] | None = None
    launch_type: str | None = None
    platform_version: str | None = None
    platform_family: str | None = None
    attributes: list[ShownAttribute] | None = None
    ephemeral_storage: ShownStorage | None = None
    fargate_ephemeral_storage: ShownStorage | None = None
    availability_zone: str | None = None
    connectivity: str | None = None
    health_status: str | None = None
    pull_stopped_at: datetime | None = None
    execution_stopped_at: datetime | None = None


class ShownFailure(_Shown):
    """Why DescribeTasks does not show a task."""

    arn: str | None = None
    reason: str | None = None


class TasksShown(TypedDict, total=False):
    """An answer of DescribeTasks."""

    tasks: list[ShownTask]
    failures: list[ShownFailure]


class TasksListed(TypedDict, total=False):
    """An answer of ListTasks."""

    taskArns: list[str]
    nextToken: str | None


class _TaskEvent(msgspec.Struct):
    """An EventBridge message. `version` is the detail's, which orders a task's events; the envelope's is always 0."""

    source: str | None = None
    detail_type: str | None = msgspec.field(name="detail-type", default=None)
    detail: msgspec.Raw = msgspec.Raw(b"null")


def _left_out(task: Any, problem: str) -> None:  # noqa: ANN401 - any JSON value
    arn = task.get("taskArn") if isinstance(task, dict) else None
    _LOG.error("ECS shows a task that cannot be read", event_type="TASK_UNREADABLE", task_arn=arn, problem=problem)


DESCRIBE_TASKS = AnswerForm("DescribeTasks", TasksShown, pieces="tasks", piece=ShownTask, left_out=_left_out)
LIST_TASKS = AnswerForm("ListTasks", TasksListed)
_EVENT = msgspec.json.Decoder(_TaskEvent)
_DETAIL = msgspec.json.Decoder(ShownTask, strict=False)


def seen_task(shown: ShownTask) -> SeenTask:
    """The task as the other rooms see it."""
    return SeenTask(
        arn=shown.task_arn,
        cluster=shown.cluster_arn,
        last_status=shown.last_status,
        desired_status=shown.desired_status or "",
        started_by=shown.started_by or "",
        stop_code=shown.stop_code or "",
        stopped_reason=shown.stopped_reason or "",
        containers=tuple([_container(each) for each in shown.containers or ()]),
        capacity_provider=shown.capacity_provider_name or "",
        task_definition=shown.task_definition_arn or "",
        cpu=_number(shown.cpu),
        memory_mib=_number(shown.memory),
        version=shown.version or 0,
        created_at=_utc(shown.created_at),
        pull_started_at=_utc(shown.pull_started_at),
        started_at=_utc(shown.started_at),
        stopping_at=_utc(shown.stopping_at),
        stopped_at=_utc(shown.stopped_at),
        tags={tag.key: tag.value or "" for tag in shown.tags or ()},
        launch_type=shown.launch_type or "",
        platform_version=shown.platform_version or "",
        platform_family=shown.platform_family or "",
        architecture=_architecture(shown),
        ephemeral_storage_gib=_storage_gib(shown),
        availability_zone=shown.availability_zone or "",
        connectivity=shown.connectivity or "",
        health=shown.health_status or "",
        pull_stopped_at=_utc(shown.pull_stopped_at),
        execution_stopped_at=_utc(shown.execution_stopped_at),
    )


def read_event(body: str) -> SeenTask:
    """The task of an EventBridge message. Raises `NotATaskEvent`."""
    try:
        event = _EVENT.decode(body)
    except msgspec.ValidationError as error:
        raise NotATaskEvent(f"it is no event: {error}") from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise NotATaskEvent(f"it is not JSON: {error}") from error
    if (event.source, event.detail_type) != (EVENT_SOURCE, EVENT_TYPE):
        raise NotATaskEvent(
            f"it is an event of source {event.source!r} and type {event.detail_type!r}; check the rule that feeds the queue"
        )
    try:
        return seen_task(_DETAIL.decode(event.detail))
    except (msgspec.DecodeError, ValueError) as error:
        raise NotATaskEvent(f"its detail is no task: {error}") from error


def _container(shown: ShownContainer) -> SeenContainer:
    return SeenContainer(
        name=shown.name or "",
        last_status=shown.last_status or "",
        exit_code=shown.exit_code,
        reason=shown.reason or "",
        image=shown.image or "",
        image_digest=shown.image_digest or "",
        health=shown.health_status or "",
    )


def _architecture(shown: ShownTask) -> str:
    """`x86_64` or `arm64`; empty when ECS shows none."""
    for attribute in shown.attributes or ():
        if attribute.name == CPU_ARCHITECTURE:
            return attribute.value or ""
    return ""


def _storage_gib(shown: ShownTask) -> int | None:
    """The task's ephemeral storage, under its older or its newer name (Fargate platform version 1.4.0 and later)."""
    storage = shown.ephemeral_storage or shown.fargate_ephemeral_storage
    return storage.size_in_gib if storage else None


def _number(value: int | str | None) -> int | None:
    """A size; None for a word that is none, which must not hide the task."""
    return int(value) if value is not None and str(value).isdecimal() else None


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else in_utc(moment)
