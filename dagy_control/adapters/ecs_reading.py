"""A task as ECS shows it, in an answer of DescribeTasks or in a task state-change event: the same names in both.

Source: "Task" in the Amazon ECS API Reference; "Amazon ECS task state change events" in its Developer Guide. Times are epoch seconds
in an answer and text in an event; sizes are text, exit codes numbers.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, TypeAlias

import msgspec
from typing_extensions import TypedDict, override

from dagy_control.adapters.attributes import UNREADABLE, in_utc
from dagy_control.adapters.hot_answers import AnswerForm, without_nulls
from dagy_control.kernel.telemetry import log
from dagy_control.model.tasks import ENDED_STATUSES, SeenTask

EVENT_SOURCE = "aws.ecs"
EVENT_TYPE = "ECS Task State Change"
CPU_ARCHITECTURE = "ecs.cpu-architecture"
"""The attribute under which Fargate shows a task's architecture: no other field of an answer or event has it."""

_LOG = log(__name__)


class NotATaskEvent(ValueError):
    """A message that is no readable task state-change event; the message says why."""


Moment: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)] | None


class _Shown(msgspec.Struct, rename="camel", gc=False):
    """A part of a task under ECS's own names; what is not named here is skipped."""


class ShownContainer(_Shown):
    """What becomes a `SeenContainer`: the same fields."""

    name: str = ""
    last_status: str = ""
    exit_code: int | None = None
    reason: str = ""
    image: str = ""
    image_digest: str = ""
    health: str = msgspec.field(name="healthStatus", default="")


class _Named(_Shown):
    """A tag (`key`) or an attribute of the place where the task runs (`name`)."""

    key: str = ""
    name: str = ""
    value: str = ""


class _Storage(_Shown):
    gib: int | None = msgspec.field(name="sizeInGiB", default=None)


class ShownTask(_Shown):
    """What becomes a `SeenTask`: the same fields, and what some of them are found in."""

    arn: str = msgspec.field(name="taskArn")
    cluster: str = msgspec.field(name="clusterArn")
    last_status: str
    desired_status: str = ""
    started_by: str = ""
    stop_code: str = ""
    stopped_reason: str = ""
    containers: tuple[ShownContainer, ...] = ()
    capacity_provider: str = msgspec.field(name="capacityProviderName", default="")
    task_definition: str = msgspec.field(name="taskDefinitionArn", default="")
    cpu: int | None = None
    memory_mib: int | None = msgspec.field(name="memory", default=None)
    version: int = 0
    created_at: Moment = None
    pull_started_at: Moment = None
    started_at: Moment = None
    stopping_at: Moment = None
    stopped_at: Moment = None
    shown_tags: tuple[_Named, ...] = msgspec.field(name="tags", default=())
    launch_type: str = ""
    platform_version: str = ""
    platform_family: str = ""
    attributes: tuple[_Named, ...] = ()
    storage: _Storage | None = msgspec.field(name="ephemeralStorage", default=None)
    fargate_storage: _Storage | None = msgspec.field(name="fargateEphemeralStorage", default=None)
    availability_zone: str = ""
    connectivity: str = ""
    health: str = msgspec.field(name="healthStatus", default="")
    pull_stopped_at: Moment = None
    execution_stopped_at: Moment = None

    @property
    def tags(self) -> dict[str, str]:
        """By key."""
        return {tag.key: tag.value for tag in self.shown_tags}

    @property
    def architecture(self) -> str:
        """`x86_64` or `arm64`; empty when ECS shows none."""
        for attribute in self.attributes:
            if attribute.name == CPU_ARCHITECTURE:
                return attribute.value
        return ""

    @property
    def ephemeral_storage_gib(self) -> int | None:
        """Under its older or its newer name (Fargate platform version 1.4.0 and later)."""
        storage = self.storage or self.fargate_storage
        return storage.gib if storage else None


class GlancedTask(_Shown):
    """As much of a task as tells whether it is over, and if not whether it shall be."""

    arn: str = msgspec.field(name="taskArn")
    last_status: str
    desired_status: str = ""


class ShownFailure(_Shown):
    """Why DescribeTasks does not show a task."""

    arn: str = ""
    reason: str = ""


class TasksShown(TypedDict, total=False):
    """An answer of DescribeTasks."""

    tasks: list[ShownTask]
    failures: list[ShownFailure]


class TasksGlanced(TypedDict, total=False):
    """The same, read only as far as somebody needs it who asks what is over."""

    living: list[GlancedTask]
    over: list[ShownTask]
    failures: list[ShownFailure]


class _Glances(TypedDict, total=False):
    tasks: list[GlancedTask]
    failures: list[ShownFailure]


class _Pieces(TypedDict, total=False):
    tasks: list[msgspec.Raw]


class TasksListed(TypedDict, total=False):
    """An answer of ListTasks."""

    taskArns: list[str]
    nextToken: str


class _TaskEvent(msgspec.Struct):
    """An EventBridge message. `version` is the detail's, which orders a task's events; the envelope's is always 0."""

    source: str | None = None
    detail_type: str | None = msgspec.field(name="detail-type", default=None)
    detail: msgspec.Raw = msgspec.Raw(b"null")


def _mended(task: Any) -> Any:  # noqa: ANN401 - any JSON value
    """As AWS writes it: a time with a zone, which is UTC where none is named; a size that is a number, or none."""
    if not isinstance(task, dict):
        return task
    times = {
        name: in_utc(datetime.fromisoformat(value)).isoformat()
        for name, value in task.items()
        if name.endswith("At") and isinstance(value, str) and not _is_number(value)
    }
    sizes = {name for name in ("cpu", "memory") if not _is_number(str(task.get(name)))}
    return {name: value for name, value in {**task, **times}.items() if name not in sizes}


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal()


def _left_out(task: Any, problem: str) -> None:  # noqa: ANN401 - any JSON value
    arn = task.get("taskArn") if isinstance(task, dict) else None
    _LOG.error("ECS shows a task that cannot be read", event_type="TASK_UNREADABLE", task_arn=arn, problem=problem)


DESCRIBE_TASKS = AnswerForm(
    "DescribeTasks", TasksShown, pieces="tasks", piece=ShownTask, mend=_mended, left_out=_left_out
)
LIST_TASKS = AnswerForm("ListTasks", TasksListed)


class _LookAtTasks(AnswerForm):
    """An answer of DescribeTasks in which only ended tasks are read whole: two thirds of the work are saved, for most tasks live.

    Anything unusual in it, and it is read as `DESCRIBE_TASKS` reads it.
    """

    def __init__(self) -> None:
        super().__init__("DescribeTasks", TasksShown)
        self._glances = msgspec.json.Decoder(_Glances)
        self._pieces_of = msgspec.json.Decoder(_Pieces)

    @override
    def decode(self, body: bytes) -> dict[str, Any]:
        try:
            answer = self._glances.decode(body)
            tasks = answer.get("tasks", [])
            over = [number for number, task in enumerate(tasks) if task.last_status in ENDED_STATUSES]
            pieces = self._pieces_of.decode(body)["tasks"] if over else []
            whole = [_DETAIL.decode(pieces[number]) for number in over]
        except (msgspec.DecodeError, UnicodeDecodeError):
            return _glanced(DESCRIBE_TASKS.decode(body))
        living = [task for task in tasks if task.last_status not in ENDED_STATUSES] if over else tasks
        return {"living": living, "over": whole, "failures": answer.get("failures", [])}

    @override
    def of(self, members: Any) -> dict[str, Any]:
        return _glanced(DESCRIBE_TASKS.of(members))


def _glanced(answer: dict[str, Any]) -> dict[str, Any]:
    tasks = answer.get("tasks", [])
    return {
        "living": [task for task in tasks if task.last_status not in ENDED_STATUSES],
        "over": [task for task in tasks if task.last_status in ENDED_STATUSES],
        "failures": answer.get("failures", []),
    }


LOOK_AT_TASKS = _LookAtTasks()
_EVENT = msgspec.json.Decoder(_TaskEvent)
_DETAIL = msgspec.json.Decoder(ShownTask, strict=False)


def seen_tasks(shown: Sequence[ShownTask]) -> list[SeenTask]:
    """The tasks as the other rooms see them."""
    return msgspec.convert(shown, list[SeenTask], from_attributes=True)


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
        return seen_tasks([_detail(event.detail)])[0]
    except UNREADABLE as error:  # of which msgspec's ValidationError is one
        raise NotATaskEvent(f"its detail is no task: {error}") from error


def _detail(detail: msgspec.Raw) -> ShownTask:
    try:
        return _DETAIL.decode(detail)
    except msgspec.ValidationError:
        mended = _mended(without_nulls(msgspec.json.decode(detail)))
        return msgspec.convert(mended, ShownTask, strict=False)
