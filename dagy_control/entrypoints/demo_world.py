"""What the demo sees and does from outside: records by the tables, tasks by ECS's switches, metrics by HTTP, commands by the shell."""

import json
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

import aiohttp

from dagy_control.entrypoints.local_stack import LocalStack
from dagy_control.entrypoints.wiring import Ports
from dagy_control.errors import DagyError
from dagy_control.model.flow_templates import Json
from dagy_control.model.resources import CapacityProvider
from dagy_control.model.runs import Run, RunStatus
from dagy_control.model.tasks import TaskIdentity
from dagy_control.ports.tasks import Started
from dagy_control.requests.orders import LaunchOrder

T = TypeVar("T")

POLL_S = 0.1

PATIENCE_S = 90.0
"""Within this everything awaited happens, also on a slow machine: it only ends a demo that has failed."""


class DemoFailed(DagyError):
    """Something that the demo waits for did not happen in time."""


class DemoWorld:
    """The embedded cloud and its records, as an operator would look at them."""

    def __init__(self, stack: LocalStack, ports: Ports, session: aiohttp.ClientSession) -> None:
        self.stack = stack
        self.ports = ports
        self._session = session
        self._launcher = ports.launcher()

    async def launch(
        self, flow_name: str, org_id: str, batch: str, *, max_attempts: int = 1, **parameters: Json
    ) -> Run:
        """Queue one run of the batch."""
        return await self._launcher.submit(
            LaunchOrder(
                flow_name=flow_name,
                org_id=org_id,
                parameters=parameters,
                parent_correlation_id=batch,
                workload_profile="small",
                max_attempts=max_attempts,
            )
        )

    async def write_stuck_run(self, like: Run) -> Run:
        """What is left when a worker and its task have vanished: a record that says RUNNING, of a task that nobody knows."""
        long_ago = self.ports.clock.now() - timedelta(hours=3)
        run_id = self.ports.new_id()
        stuck = Run(
            run_id=run_id,
            org_id=like.org_id,
            flow_name=like.flow_name,
            flow_version=like.flow_version,
            executor="ecs",
            status=RunStatus.RUNNING,
            attempt=1,
            launch_try=1,
            max_attempts=1,
            infra_failures=0,
            version=1,
            correlation_id=run_id,
            created_at=long_ago,
            active_since=long_ago,
            launch_sent_at=long_ago,
            started_at=long_ago,
            cluster=self.stack.cloud.cluster,
            external_id=f"arn:aws:ecs:us-east-1:123456789012:task/{self.stack.cloud.cluster}/{run_id.replace('-', '')}",
        )
        return await self.ports.writer.create(stuck)

    async def start_ghost(self, family: str) -> str:
        """A task behind the daemon's back, under its name, of a run that does not exist; the task's ARN."""
        identity = TaskIdentity(self.ports.settings.installation, self.ports.new_id(), 1)
        await self.ports.tasks.reserve_run_task(CapacityProvider.FARGATE)
        reply = await self.ports.tasks.run_task(
            {
                "cluster": self.stack.cloud.cluster,
                "taskDefinition": family,
                "capacityProviderStrategy": [{"capacityProvider": CapacityProvider.FARGATE.value, "weight": 1}],
                "count": 1,
                "clientToken": identity.run_id,
                "startedBy": identity.started_by(),
                "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-local"]}},
            }
        )
        if not isinstance(reply, Started):
            raise DemoFailed(f"the ghost task did not start: {reply.message}")
        return reply.task_arn

    async def run(self, run_id: str) -> Run:
        """The run as it is now."""
        run = await self.ports.runs.get(run_id)
        if run is None:
            raise DemoFailed(f"run {run_id} has no record")
        return run

    async def tasks(self) -> list[dict[str, Any]]:
        """Every task that ECS has ever made here."""
        answer = await self._get_json(f"{self.stack.cloud.ecs_url}/_local/tasks")
        tasks: list[dict[str, Any]] = answer["tasks"]
        return tasks

    async def task(self, arn: str) -> dict[str, Any]:
        """One of them."""
        return next(task for task in await self.tasks() if task["task_arn"] == arn)

    async def kill_worker(self, task_arn: str) -> bool:
        """SIGKILL from outside."""
        url = f"{self.stack.cloud.ecs_url}/_local/tasks/{task_arn.rsplit('/', 1)[-1]}/kill"
        async with self._session.post(url, json={"signal": "SIGKILL"}) as response:
            return bool((await response.json()).get("signalled"))

    async def hold_run_task_reply(self) -> None:
        """ECS will carry out the next RunTask and keep its answer back."""
        url = f"{self.stack.cloud.ecs_url}/_local/faults"
        async with self._session.post(url, json={"kind": "hold_reply", "operation": "RunTask", "calls": 1}) as response:
            response.raise_for_status()

    async def held_replies(self) -> int:
        """How many answers are being kept back right now."""
        return int((await self._get_json(f"{self.stack.cloud.ecs_url}/_local/faults"))["held_count"])

    async def clear_faults(self) -> None:
        """Everything answers as it should again."""
        async with self._session.delete(f"{self.stack.cloud.ecs_url}/_local/faults") as response:
            response.raise_for_status()

    async def metric(self, url: str, line: str) -> float:
        """The value of one sample of the daemon's metrics; 0 while it is absent."""
        async with self._session.get(f"{url}/metrics") as response:
            text = await response.text()
        return next((float(each.rsplit(" ", 1)[1]) for each in text.splitlines() if each.startswith(line)), 0.0)

    async def command(self, *arguments: str) -> dict[str, Any]:
        """The JSON that a `dagy-control` command prints."""
        process = await create_subprocess_exec(
            sys.executable, "-m", "dagy_control.entrypoints.cli", *arguments, stdout=PIPE, stderr=PIPE
        )
        out, err = await process.communicate()
        if process.returncode != 0:
            raise DemoFailed(f"dagy-control {' '.join(arguments)} failed: {err.decode().strip()}")
        document: dict[str, Any] = json.loads(out)
        return document

    async def until(self, what: str, look: Callable[[], Awaitable[T | None]], *, timeout_s: float = PATIENCE_S) -> T:
        """Look again and again until there is something; `DemoFailed` when there is nothing in time."""
        deadline = self.ports.clock.monotonic() + timeout_s
        while self.ports.clock.monotonic() < deadline:
            found = await look()
            if found is not None and found is not False:
                return found
            await self.ports.clock.sleep(POLL_S)
        raise DemoFailed(f"{what}: not within {timeout_s:g} s")

    async def tasks_by_attempt(self) -> Counter[str]:
        """How many tasks were ever made, by startedBy: by run and attempt."""
        return Counter(task["started_by"] for task in await self.tasks())

    async def _get_json(self, url: str) -> dict[str, Any]:
        async with self._session.get(url) as response:
            response.raise_for_status()
            document: dict[str, Any] = await response.json()
            return document
