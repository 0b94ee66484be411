"""The switches of the embedded ECS, for tests and demonstrations. JSON in, JSON out.

`GET /_local/tasks`: `{"tasks": [...]}`, every task ever made, oldest first, also those that ECS has forgotten:
task_arn, task_id, cluster, family, revision, started_by, client_token, capacity, last_status, desired_status,
stop_code, stopped_reason, exit_code, container_reason, created_at, started_at, stopped_at (ISO 8601 or null), pid,
log_path.

`POST /_local/faults` with `{"kind": ..., "operation": "RunTask", "calls": 1, "reason": ..., "delay_s": 0}` switches a
fault on; the kinds are those of `ecs_faults.FaultKind`, all members but `kind` may be left out. Answers 201.
`GET /_local/faults`: `{"waiting": [{kind, operation, calls, reason, delay_s}], "held": [operation, ...], "held_count":
n}`; held are the calls whose answer waits right now. `DELETE /_local/faults` switches every fault off and releases
what is held: `{"released": n}`.

`POST /_local/tasks/{id}/kill` with `{"signal": "SIGKILL"}` signals the task's process from outside: `{"signalled":
true}`, false when it is not running. `POST /_local/tasks/{id}/spot-interruption`, `/host-failure`, `/retirement`: 202.

Errors: 400 (bad input) or 404 (no such task) with `{"error": "..."}`.
"""

import json
import signal
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from datetime import datetime
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dagy_control.local.ecs_driver import EcsDriver
from dagy_control.local.ecs_errors import EcsError
from dagy_control.local.ecs_faults import Fault, FaultKind
from dagy_control.local.ecs_http import HeldCalls, find_task
from dagy_control.local.ecs_state import Task


class EcsAdmin:
    """The switches of one driver."""

    def __init__(self, driver: EcsDriver, held: HeldCalls) -> None:
        self._driver = driver
        self._held = held

    def routes(self) -> list[Route]:
        """Everything below `/_local/`."""
        task = "/_local/tasks/{task_id}"
        return [
            Route("/_local/tasks", self.tasks, methods=["GET"]),
            Route("/_local/faults", self.faults, methods=["GET"]),
            Route("/_local/faults", self.add_fault, methods=["POST"]),
            Route("/_local/faults", self.clear_faults, methods=["DELETE"]),
            Route(f"{task}/kill", self.kill, methods=["POST"]),
            Route(f"{task}/spot-interruption", self._befall(self._driver.interrupt_spot), methods=["POST"]),
            Route(f"{task}/host-failure", self._befall(self._driver.fail_host), methods=["POST"]),
            Route(f"{task}/retirement", self._befall(self._driver.retire), methods=["POST"]),
        ]

    async def tasks(self, _request: HttpRequest) -> Response:
        """Every task ever made."""
        return JSONResponse({"tasks": [self._describe(task) for task in self._driver.tasks().values()]})

    async def faults(self, _request: HttpRequest) -> Response:
        """What is switched on, and what is held right now."""
        waiting = [asdict(replace(fault, calls=left)) for fault, left in self._driver.model.faults.waiting()]
        held = [operation for operation, _ in self._held.waiting.values()]
        return JSONResponse({"waiting": waiting, "held": held, "held_count": len(held)})

    async def add_fault(self, request: HttpRequest) -> Response:
        """Switch a fault on."""
        try:
            fault = parse_fault(await _json(request))
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 400)
        self._driver.model.faults.add(fault)
        return JSONResponse(asdict(fault), 201)

    async def clear_faults(self, _request: HttpRequest) -> Response:
        """Switch all faults off and release what is held."""
        self._driver.model.faults.clear()
        return JSONResponse({"released": self._held.release()})

    async def kill(self, request: HttpRequest) -> Response:
        """Signal a task's process from outside, as an operator with a shell on the host would."""
        task = find_task(self._driver, request.path_params["task_id"])
        if task is None:
            return _no_such_task()
        try:
            number = signal.Signals[(await _json(request)).get("signal", "SIGKILL")]
        except (KeyError, ValueError) as error:
            return JSONResponse({"error": f"no such signal: {error}"}, 400)
        return JSONResponse({"signalled": self._driver.agent.signal(task.arn, number)})

    def _befall(self, happen: Callable[[str], None]) -> Callable[[HttpRequest], Any]:
        async def endpoint(request: HttpRequest) -> Response:
            task = find_task(self._driver, request.path_params["task_id"])
            if task is None:
                return _no_such_task()
            try:
                happen(task.arn)
            except EcsError as error:
                return JSONResponse({"error": error.message}, 400)
            return JSONResponse({"task_arn": task.arn}, 202)

        return endpoint

    def _describe(self, task: Task) -> dict[str, Any]:
        return {
            "task_arn": task.arn,
            "task_id": task.task_id,
            "cluster": task.cluster.name,
            "family": task.definition.family,
            "revision": task.definition.revision,
            "started_by": task.started_by,
            "client_token": task.client_token,
            "capacity": task.capacity.value,
            "last_status": task.last_status.value,
            "desired_status": task.desired_status.value,
            "stop_code": task.stop_code.value if task.stop_code is not None else None,
            "stopped_reason": task.stopped_reason,
            "exit_code": task.exit_code,
            "container_reason": task.container_reason,
            "created_at": _iso(task.created_at),
            "started_at": _iso(task.started_at),
            "stopped_at": _iso(task.stopped_at),
            "pid": self._driver.agent.pid(task.arn),
            "log_path": str(self._driver.agent.log_path(task.arn)),
        }


def parse_fault(body: dict[str, Any]) -> Fault:
    """A fault from JSON; ValueError for an unknown kind or member, or a number that makes no sense."""
    unknown = sorted(set(body) - {each.name for each in fields(Fault)})
    if unknown:
        raise ValueError(f"a fault has no member {unknown[0]!r}")
    try:
        kind = FaultKind(body["kind"])
    except (KeyError, ValueError):
        raise ValueError(f"kind must be one of {', '.join(FaultKind)}") from None
    calls, delay_s = body.get("calls", 1), body.get("delay_s", 0.0)
    if not isinstance(calls, int) or calls < 1:
        raise ValueError("calls must be a whole number from 1")
    if not isinstance(delay_s, int | float) or delay_s < 0:
        raise ValueError("delay_s must be a number from 0")
    texts = {name: str(body[name]) for name in ("operation", "reason") if name in body}
    return Fault(kind=kind, calls=calls, delay_s=delay_s, **texts)


async def _json(request: HttpRequest) -> dict[str, Any]:
    body = json.loads(await request.body() or b"{}")
    if not isinstance(body, dict):
        raise ValueError("a JSON object is expected")  # noqa: TRY004 - for the caller it is bad input like any other
    return body


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _no_such_task() -> Response:
    return JSONResponse({"error": "no such task"}, 404)
