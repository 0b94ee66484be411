"""What tests of the engine share: specs written by hand, a reporter that remembers, and bounded waits on a condition."""

import asyncio
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dagy_control.flow_engine.execution import EngineOptions, FlowRunner
from dagy_control.flow_engine.graph import FlowOutcome
from dagy_control.flow_engine.reporting import TaskRunState
from dagy_control.kernel.clock import SystemClock
from dagy_control.model.flow_templates import Json
from dagy_control.model.flows import FlowSpec, Isolation, ParameterSpec, TaskSpec, TaskState

WAIT_S_MAX = 30.0
OPTIONS = EngineOptions(max_concurrency=2, stop_grace_s=0.3)


def a_task(key: str, function: str, *args: Json, isolation: Isolation = Isolation.PROCESS, **settings: Any) -> TaskSpec:
    """A task of `tests.flows.tasks`."""
    path = function if ":" in function else f"tests.flows.tasks:{function}"
    return TaskSpec(key=key, name=key, import_path=path, args=args, isolation=isolation, **settings)


def a_flow(*tasks: TaskSpec, result: Json = None, **settings: Any) -> FlowSpec:
    """A flow of these tasks."""
    return FlowSpec(
        name="flow", version="1", import_path="tests.flows.orders:orders", tasks=tasks, result=result, **settings
    )


def with_parameter(spec: FlowSpec, name: str) -> FlowSpec:
    """The same flow with one required parameter."""
    return FlowSpec(
        name=spec.name,
        version=spec.version,
        import_path=spec.import_path,
        parameters=(ParameterSpec(name),),
        tasks=spec.tasks,
        result=spec.result,
    )


class RecordingReporter:
    """Remembers every change."""

    def __init__(self) -> None:
        self.changes: list[TaskRunState] = []

    async def task_changed(self, task: TaskRunState) -> None:
        """Remember it."""
        assert task.ended_at is None or task.ended_at >= datetime(2020, 1, 1, tzinfo=UTC)
        self.changes.append(task)

    def last(self, key: str) -> TaskRunState:
        """The task's newest state."""
        return [change for change in self.changes if change.task_key == key][-1]

    def states(self, key: str) -> list[TaskState]:
        """Every state of the task, in order."""
        return [change.state for change in self.changes if change.task_key == key]


class Run:
    """A runner with its reporter."""

    def __init__(
        self, spec: FlowSpec, parameters: Mapping[str, Json] | None = None, options: EngineOptions = OPTIONS
    ) -> None:
        self.outcome: FlowOutcome  # once it has finished
        self.reporter = RecordingReporter()
        self.runner = FlowRunner(spec, parameters or {}, reporter=self.reporter, clock=SystemClock(), options=options)

    async def finish(self) -> FlowOutcome:
        """Run to the end, within bounds."""
        async with asyncio.timeout(WAIT_S_MAX):
            self.outcome = await self.runner.run()
        return self.outcome


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds, within bounds."""
    async with asyncio.timeout(WAIT_S_MAX):
        while not condition():  # noqa: ASYNC110 - no event tells of another process
            await asyncio.sleep(0.005)  # noqa: TID251 - polls a condition on a real process


async def pid_in(file: Path) -> int:
    """The process id that a task wrote."""
    await until(file.exists)
    return int(file.read_text())


def is_gone(pid: int) -> bool:
    """No live process has this id. One that is dead and waits for its new parent to notice counts as gone."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True
