"""The ECS model over HTTP, for real AWS clients: JSON 1.1, instants as epoch seconds, errors as botocore parses them.

`POST /` with `X-Amz-Target: AmazonEC2ContainerServiceV20141113.<Operation>` is the API. `GET /v4/{task_id}/task` and
`GET /v4/{task_id}` are the task metadata endpoint (version 4) that a container finds in
`ECS_CONTAINER_METADATA_URI_V4`. The switches for tests and demonstrations below `/_local/` are in `ecs_admin`.
"""

import asyncio
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dagy_control.kernel.tasks import end_tasks, start_task
from dagy_control.local.ecs_driver import EcsDriver
from dagy_control.local.ecs_errors import EcsError
from dagy_control.local.ecs_model import Delivery, Reply
from dagy_control.local.ecs_state import Task

TARGET_PREFIX = "AmazonEC2ContainerServiceV20141113."
_JSON_TYPE = "application/x-amz-json-1.1"


@dataclass(slots=True)
class HeldCalls:
    """The calls whose answers are being withheld, by an id of their own; each waits for its event."""

    waiting: dict[int, tuple[str, asyncio.Event]] = field(default_factory=dict)
    _count: int = 0

    def hold(self, operation: str) -> tuple[int, asyncio.Event]:
        """Note one more held call."""
        self._count += 1
        released = asyncio.Event()
        self.waiting[self._count] = (operation, released)
        return self._count, released

    def release(self) -> int:
        """Let every held answer go; how many there were."""
        for _, released in self.waiting.values():
            released.set()
        return len(self.waiting)


class EcsApi:
    """The HTTP face of one driver."""

    def __init__(self, driver: EcsDriver, held: HeldCalls) -> None:
        self._driver = driver
        self._held = held

    def routes(self) -> list[Route]:
        """The API and the metadata endpoint."""
        return [
            Route("/", self.call, methods=["POST"]),
            Route("/v4/{task_id}", self.container_metadata, methods=["GET"]),
            Route("/v4/{task_id}/task", self.task_metadata, methods=["GET"]),
        ]

    async def call(self, request: HttpRequest) -> Response:
        """One API call, with what the injected faults make of its answer."""
        operation = request.headers.get("x-amz-target", "").removeprefix(TARGET_PREFIX)
        try:
            body = json.loads(await request.body() or b"{}")
        except ValueError:
            return _render(Reply(error=EcsError("SerializationException", "The request is not JSON.")))
        reply = self._driver.call(operation, body)
        if reply.delivery is Delivery.HOLD and not await self._withhold(operation, request):
            return Response()  # nobody is there to read it
        if reply.delivery is Delivery.DROP:
            transport: asyncio.Transport = request.state.transport
            transport.abort()
            return Response()
        return _render(reply)

    async def _withhold(self, operation: str, request: HttpRequest) -> bool:
        """Wait until the answer is released (True) or its connection dies (False)."""
        held_id, released = self._held.hold(operation)
        let_go = start_task(released.wait(), name=f"held answer {held_id}: release")
        gone = start_task(_disconnected(request), name=f"held answer {held_id}: connection")
        try:
            await asyncio.wait({let_go, gone}, return_when=asyncio.FIRST_COMPLETED)
            return released.is_set()
        finally:
            del self._held.waiting[held_id]
            await end_tasks(let_go, gone)

    async def task_metadata(self, request: HttpRequest) -> Response:
        """`${ECS_CONTAINER_METADATA_URI_V4}/task`."""
        task = self._find(request)
        return JSONResponse(_task_metadata(task)) if task else JSONResponse({"error": "no such task"}, 404)

    async def container_metadata(self, request: HttpRequest) -> Response:
        """`${ECS_CONTAINER_METADATA_URI_V4}` itself: the container that asks."""
        task = self._find(request)
        return JSONResponse(_container_metadata(task)) if task else JSONResponse({"error": "no such task"}, 404)

    def _find(self, request: HttpRequest) -> Task | None:
        return find_task(self._driver, request.path_params["task_id"])


def find_task(driver: EcsDriver, task_id: str) -> Task | None:
    """A task ever made, by the last part of its ARN."""
    return next((task for task in driver.tasks().values() if task.task_id == task_id), None)


async def _disconnected(request: HttpRequest) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _render(reply: Reply) -> Response:
    status = reply.error.http_status if reply.error is not None else 200
    body = reply.error.body() if reply.error is not None else reply.answer
    return Response(
        json.dumps(body, default=_epoch_seconds),
        status_code=status,
        media_type=_JSON_TYPE,
        headers={"x-amzn-RequestId": str(uuid.uuid4())},
    )


def _epoch_seconds(value: object) -> float:
    if not isinstance(value, datetime):
        raise TypeError(f"{type(value).__name__} is not part of an answer")
    return value.timestamp()


def _task_metadata(task: Task) -> dict[str, Any]:
    """Source: Amazon ECS developer guide, "Task metadata endpoint version 4 for tasks on Fargate"."""
    return {
        "Cluster": task.cluster.arn,
        "TaskARN": task.arn,
        "Family": task.definition.family,
        "Revision": str(task.definition.revision),
        "DesiredStatus": task.desired_status.value,
        "KnownStatus": task.last_status.value,
        "Limits": {"CPU": task.cpu / 1024, "Memory": task.memory_mib},
        "Containers": [_container_metadata(task)],
        "LaunchType": "FARGATE",
        "AvailabilityZone": "us-east-1a",
        **_times({"PullStartedAt": task.pull_started_at, "PullStoppedAt": task.pull_stopped_at}),
    }


def _times(known: Mapping[str, datetime | None]) -> dict[str, str]:
    """Times as the endpoint writes them; what has not happened yet is left out."""
    return {name: at.isoformat().replace("+00:00", "Z") for name, at in known.items() if at is not None}


def _container_metadata(task: Task) -> dict[str, Any]:
    container = task.definition.container
    return {
        "DockerId": f"{task.task_id}-0",
        "Name": container["name"],
        "DockerName": container["name"],
        "Image": container["image"],
        "Labels": {
            "com.amazonaws.ecs.cluster": task.cluster.arn,
            "com.amazonaws.ecs.container-name": container["name"],
            "com.amazonaws.ecs.task-arn": task.arn,
            "com.amazonaws.ecs.task-definition-family": task.definition.family,
            "com.amazonaws.ecs.task-definition-version": str(task.definition.revision),
        },
        "DesiredStatus": task.desired_status.value,
        "KnownStatus": task.container_status.value,
        "Type": "NORMAL",
    }


def ecs_app(driver: EcsDriver, held: HeldCalls, *more: Route) -> Starlette:
    """The whole application: the API, the metadata endpoint, and further routes."""
    return Starlette(routes=[*EcsApi(driver, held).routes(), *more])
