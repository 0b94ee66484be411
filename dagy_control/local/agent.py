"""What the agents have in common. An agent carries out the ECS model's effects, and reports what becomes of each container.

How a container is made to run is the agents' own: as a process (`process_agent.py`) or from its image (`container_agent.py`).
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, Signals
from typing import Any, Protocol

import structlog

from dagy_control.kernel.clock import Clock
from dagy_control.kernel.tasks import end_tasks, start_task
from dagy_control.local.ecs_lifecycle import Effect, SignalContainer, StartContainer
from dagy_control.local.task_logs import TaskLogs

OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"
METADATA_VARIABLE = "ECS_CONTAINER_METADATA_URI_V4"
MIB = 1024 * 1024

logger = structlog.get_logger(__name__)


class Reports(Protocol):
    """Whom the agent tells. Called on the event loop; never raises for a task that the agent was given."""

    def container_started(self, task_arn: str) -> None:
        """The process runs."""
        ...

    def container_failed_to_start(self, task_arn: str, reason: str) -> None:
        """The process could not be started."""
        ...

    def container_exited(self, task_arn: str, exit_code: int, reason: str) -> None:
        """The process has ended: its exit code, or 128 + signal; `reason` only for the memory limit."""
        ...


@dataclass(frozen=True, slots=True)
class AgentPolicy:
    """What an agent needs to know.

    `workdir`: logs go to `logs/`, each task's own directory is made below `scratch/` and removed with it.
    `environment`: what the platform injects into every container. `metadata_url`: the metadata endpoint's base, without
    the task's id. `watch_every_s`: how often memory and logs are looked at. `log_bytes_max`: a longer log is cut, its
    newest half kept in `<task-id>.log.1`.
    """

    workdir: Path
    environment: dict[str, str]
    metadata_url: str
    watch_every_s: float = 0.1
    log_bytes_max: int = 10 * MIB

    @property
    def logs(self) -> TaskLogs:
        """Where the containers' output goes."""
        return TaskLogs(self.workdir / "logs", self.log_bytes_max)


@dataclass(slots=True)
class Container:
    """A container that was asked for and has not ended. `pending`: a signal that was asked for before it was up."""

    start: StartContainer
    pending: Signals | None = None

    @property
    def task_id(self) -> str:
        """The last part of its task's ARN."""
        return self.start.task_arn.rsplit("/", 1)[1]


@dataclass(frozen=True, slots=True)
class End:
    """How a container ended: its exit code, or 128 + signal. `out_of_memory`: it was killed for its memory limit."""

    exit_code: int
    out_of_memory: bool


class NotStartedError(Exception):
    """The container did not come up; the text is the reason in ECS's words."""


class Agent(ABC):
    """Nothing of it blocks the event loop; what becomes of an effect is told to `Reports`. `stop` leaves nothing behind."""

    def __init__(self, policy: AgentPolicy, *, clock: Clock, reports: Reports) -> None:
        self._policy = policy
        self._logs = policy.logs
        self._clock = clock
        self._reports = reports
        self._live: dict[str, Container] = {}
        self._pids: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None
        self._complaint = ""
        self._cleared = asyncio.Event()

    def start(self) -> None:
        """Begin. What an earlier cloud of the same work folder left behind is ended before anything new is started."""
        self._watch = start_task(self._watch_for_ever(), name="agent: watch")
        self._own(self._clear(), "agent: clear up")

    def apply(self, effect: Effect) -> None:
        """Start a container, or send it a signal. Returns at once; reports follow."""
        match effect:
            case StartContainer():
                container = self._live[effect.task_arn] = Container(effect)
                self._own(self._see_through(container), f"agent: container of {container.task_id}")
            case SignalContainer():
                self.signal(effect.task_arn, Signals[effect.signal.value])

    def signal(self, task_arn: str, number: Signals) -> bool:
        """Send a signal to a task's first process (SIGKILL to all of its processes); False if it is not running."""
        container = self._live.get(task_arn)
        if container is None:
            return False
        if task_arn not in self._pids:
            container.pending = number
        else:
            self._send(container, number)
        return True

    def pid(self, task_arn: str) -> int | None:
        """The first process that a task has, or had, as this machine sees it; None if it never had one."""
        return self._pids.get(task_arn)

    def log_path(self, task_arn: str) -> Path:
        """Where a task's standard output and error go."""
        return self._logs.path(task_arn)

    async def stop(self) -> None:
        """End every container and wait for it. Idempotent."""
        if self._watch is not None:
            await end_tasks(self._watch)
            self._watch = None
        for task_arn in list(self._live):
            self.signal(task_arn, SIGKILL)
        while self._tasks:  # the end of a container may still be telling its reports
            await asyncio.wait(self._tasks)
        await self._remove_left()

    @abstractmethod
    async def _run(self, container: Container) -> End:
        """Run it to its end: `_is_up` when it runs, out of `_live` when it is over, and nothing of it stays.

        Raises `NotStartedError`, `OSError` or `ValueError` (a NUL in an argument) if it does not come up.
        """

    @abstractmethod
    def _send(self, container: Container, number: Signals) -> None:
        """Send a signal to one that is up."""

    @abstractmethod
    async def _remove_left(self) -> int:
        """End whatever runs for this work folder; how many there were."""

    async def _look(self) -> None:
        """What is done each `watch_every_s`. May raise `OSError`."""
        for task_arn in self._live:
            self._logs.bound(task_arn)

    def _is_up(self, container: Container, pid: int) -> None:
        arn = container.start.task_arn
        self._pids[arn] = pid
        self._reports.container_started(arn)
        if container.pending is not None:
            self.signal(arn, container.pending)

    def _environment(self, container: Container) -> dict[str, str]:
        return {
            **self._policy.environment,
            **container.start.environment,
            METADATA_VARIABLE: self._metadata_uri(container),
        }

    def _metadata_uri(self, container: Container) -> str:
        return f"{self._policy.metadata_url}/{container.task_id}"

    def _own(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = start_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("the embedded cloud's agent failed", work=task.get_name(), exc_info=task.exception())

    async def _see_through(self, container: Container) -> None:
        arn = container.start.task_arn
        await self._cleared.wait()
        try:
            end = await self._run(container)
        except (NotStartedError, OSError, ValueError) as error:
            if arn in self._pids:
                raise
            said = str(error) if isinstance(error, NotStartedError) else f"CannotStartContainerError: {error}"
            self._reports.container_failed_to_start(arn, said)
        else:
            self._reports.container_exited(arn, end.exit_code, OUT_OF_MEMORY if end.out_of_memory else "")
        finally:
            self._live.pop(arn, None)

    async def _clear(self) -> None:
        try:
            if left := await self._remove_left():
                logger.warning("ended what an earlier embedded cloud has left running", count=left)
        finally:
            self._cleared.set()

    async def _watch_for_ever(self) -> None:
        while True:
            await self._clock.sleep(self._policy.watch_every_s)
            try:
                await self._look()
            except OSError as error:  # a full disk, say: the next look may be luckier, and no limit holds without one
                if str(error) != self._complaint:
                    logger.warning("the containers could not be watched", error=str(error))
                self._complaint = str(error)
