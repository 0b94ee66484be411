"""The process agent: runs each container of the ECS model as a real process, and reports what becomes of it.

As in a container: the environment is the definition's, the overrides' and what the platform injects, nothing of the
user's own; SIGTERM goes to the first process only (so a worker that leaves its children alone is found out here, not
on AWS); when the first process ends, everything that it started ends with it; the memory limit holds for all of it
together, and when it is exceeded the process dies that the kernel would choose, which is counted where a container finds
the kernel's count: in the files of its control group, here a folder that `DAGY_CGROUP_DIR` names.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from dagy_control.kernel.clock import Clock
from dagy_control.kernel.tasks import end_tasks, start_task
from dagy_control.local.ecs_lifecycle import Effect, SignalContainer, StartContainer
from dagy_control.local.processes import Exceeded, Watched, kill_container, kill_marked, kill_process, over_limit
from dagy_control.local.task_logs import TaskLogs

OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"
CLOUD_VARIABLE = "EMBEDDED_CLOUD_DIR"
CGROUP_VARIABLE = "DAGY_CGROUP_DIR"
METADATA_VARIABLE = "ECS_CONTAINER_METADATA_URI_V4"
_MIB = 1024 * 1024

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


class Agent(Protocol):
    """Whoever carries out the model's effects. Nothing of it blocks the event loop; what becomes of an effect is told to `Reports`."""

    def start(self) -> None:
        """Begin. What an earlier cloud of the same work folder left behind is ended before anything new is started."""
        ...

    def apply(self, effect: Effect) -> None:
        """Start a container, or send it a signal. Returns at once; reports follow."""
        ...

    def signal(self, task_arn: str, number: signal.Signals) -> bool:
        """Send a signal to a task's first process (SIGKILL to all of its processes); False if it is not running."""
        ...

    def pid(self, task_arn: str) -> int | None:
        """The first process that a task has, or had, as this machine sees it; None if it never had one."""
        ...

    def log_path(self, task_arn: str) -> Path:
        """Where a task's standard output and error go."""
        ...

    async def stop(self) -> None:
        """End every container and wait for it. Idempotent."""
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
    log_bytes_max: int = 10 * _MIB

    @property
    def logs(self) -> TaskLogs:
        """Where the containers' output goes."""
        return TaskLogs(self.workdir / "logs", self.log_bytes_max)


@dataclass(slots=True)
class _Container:
    start: StartContainer
    pid: int | None = None
    pending: signal.Signals | None = None  # asked for before the process existed
    out_of_memory: bool = False
    kills: int = 0


class ProcessAgent:
    """Carries out the model's effects. `stop` leaves no process behind."""

    def __init__(self, policy: AgentPolicy, *, clock: Clock, reports: Reports) -> None:
        self._policy = policy
        self._logs = policy.logs
        self._clock = clock
        self._reports = reports
        self._live: dict[str, _Container] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None
        self._pids: dict[str, int] = {}

    def start(self) -> None:
        """Begin to watch memory and logs; kill what an earlier cloud of the same work folder left behind."""
        left = kill_marked(CLOUD_VARIABLE, str(self._policy.workdir))
        if left:
            logger.warning("killed workers of an earlier embedded cloud", processes=left)
        self._watch = start_task(self._watch_containers(), name="agent: watch memory and logs")

    def apply(self, effect: Effect) -> None:
        """Start a container, or send it a signal. Returns at once; reports follow."""
        match effect:
            case StartContainer():
                self._live[effect.task_arn] = _Container(effect)
                name = f"agent: container of {effect.task_arn.rsplit('/', 1)[1]}"
                task = start_task(self._run(self._live[effect.task_arn]), name=name)
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            case SignalContainer():
                self.signal(effect.task_arn, signal.Signals[effect.signal.value])

    def signal(self, task_arn: str, number: signal.Signals) -> bool:
        """Send a signal to a task's first process (SIGKILL to all of its processes); False if it is not running."""
        container = self._live.get(task_arn)
        if container is None:
            return False
        if container.pid is None:
            container.pending = number
        elif number is signal.SIGKILL:
            kill_container(container.pid)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(container.pid, number)
        return True

    def pid(self, task_arn: str) -> int | None:
        """The process that a task has, or had; None if it never had one."""
        return self._pids.get(task_arn)

    def log_path(self, task_arn: str) -> Path:
        """Where a task's standard output and error go."""
        return self._logs.path(task_arn)

    async def stop(self) -> None:
        """Kill every container and wait for its end. Idempotent."""
        if self._watch is not None:
            await end_tasks(self._watch)
            self._watch = None
        for task_arn in list(self._live):
            self.signal(task_arn, signal.SIGKILL)
        await asyncio.gather(*self._tasks)
        kill_marked(CLOUD_VARIABLE, str(self._policy.workdir))

    async def _run(self, container: _Container) -> None:
        arn = container.start.task_arn
        scratch = self._policy.workdir / "scratch" / arn.rsplit("/", 1)[1]
        _write_cgroup(self._cgroup(arn), container)
        try:
            process = await self._spawn(container, scratch)
        except (OSError, ValueError) as error:  # ValueError: a NUL in an argument
            del self._live[arn]
            self._reports.container_failed_to_start(arn, f"CannotStartContainerError: {error}")
            return
        self._pids[arn] = container.pid = process.pid
        self._reports.container_started(arn)
        if container.pending is not None:
            self.signal(arn, container.pending)
        returned = await process.wait()
        del self._live[arn]
        await asyncio.to_thread(self._clean_up, process.pid, arn, scratch)
        exit_code = returned if returned >= 0 else 128 - returned
        killed_for_memory = container.out_of_memory and returned == -signal.SIGKILL
        self._reports.container_exited(arn, exit_code, OUT_OF_MEMORY if killed_for_memory else "")

    async def _spawn(self, container: _Container, scratch: Path) -> asyncio.subprocess.Process:
        start = container.start
        scratch.mkdir(parents=True, exist_ok=True)
        log = self._logs.open(start.task_arn)
        try:
            return await asyncio.create_subprocess_exec(
                *start.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=scratch,
                env=self._environment(start, scratch),
                start_new_session=True,
            )
        finally:
            os.close(log)

    def _environment(self, start: StartContainer, scratch: Path) -> dict[str, str]:
        return {
            "HOME": str(scratch),
            "TMPDIR": str(scratch),
            **self._policy.environment,
            **start.environment,
            METADATA_VARIABLE: self._metadata_uri(start.task_arn),
            CLOUD_VARIABLE: str(self._policy.workdir),
            CGROUP_VARIABLE: str(self._cgroup(start.task_arn)),
        }

    def _cgroup(self, task_arn: str) -> Path:
        return self._policy.workdir / "cgroups" / task_arn.rsplit("/", 1)[1]

    def _metadata_uri(self, task_arn: str) -> str:
        return f"{self._policy.metadata_url}/{task_arn.rsplit('/', 1)[1]}"

    def _clean_up(self, root_pid: int, task_arn: str, scratch: Path) -> None:
        kill_container(root_pid)
        kill_marked(METADATA_VARIABLE, self._metadata_uri(task_arn))
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(self._cgroup(task_arn), ignore_errors=True)

    async def _watch_containers(self) -> None:
        while True:
            await self._clock.sleep(self._policy.watch_every_s)
            running = [(c, c.pid) for c in self._live.values() if c.pid is not None]
            if not running:
                continue
            watched = [Watched(c.start.task_arn, pid, c.start.memory_mib * _MIB) for c, pid in running]
            for exceeded in await asyncio.to_thread(over_limit, watched):
                self._kill_for_memory(exceeded)
            for container, _ in running:
                self._logs.bound(container.start.task_arn)

    def _kill_for_memory(self, exceeded: Exceeded) -> None:
        container = self._live.get(exceeded.container.task_arn)
        if container is None or container.pid is None:
            return
        container.kills += 1
        _write_cgroup(
            self._cgroup(exceeded.container.task_arn), container
        )  # first: whoever sees the death finds it counted
        if exceeded.victim_pid == container.pid:
            container.out_of_memory = True
            kill_container(container.pid)
        else:
            kill_process(exceeded.victim_pid)


def _write_cgroup(folder: Path, container: _Container) -> None:
    """The files of a control group, version 2, that tell a container of its memory."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{container.start.memory_mib * _MIB}\n")
    (folder / "memory.events.new").write_text(f"oom {container.kills}\noom_kill {container.kills}\n")
    (folder / "memory.events.new").replace(folder / "memory.events")
