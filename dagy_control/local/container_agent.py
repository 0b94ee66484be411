"""The container agent: runs each container of the ECS model from its image, by podman, and reports what becomes of it.

What a process of this machine can only imitate is real here: the image's user and file system, a root that may be read-only, process 1,
and the kernel's own memory limit. Not as on Fargate: the network is this machine's (the embedded cloud listens on loopback), and CPU
is shared by weight instead of being cut off, so that a small task is not slow on an idle laptop.
"""

import asyncio
import json
import os
import shutil
import subprocess
from asyncio.subprocess import Process
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, Signals
from typing import Any

import structlog

from dagy_control.kernel.clock import Clock
from dagy_control.kernel.tasks import end_tasks, start_task
from dagy_control.local.agent import METADATA_VARIABLE, OUT_OF_MEMORY, AgentPolicy, Reports
from dagy_control.local.ecs_lifecycle import Effect, SignalContainer, StartContainer
from dagy_control.local.podman import PODMAN, last_line, podman

LABEL = "dagy.embedded-cloud"
"""Of every container: the cloud's work folder. By it a later cloud finds what a killed one left behind."""

PID_FILE = "pid"
OOM_FILE = "oom"
"""What podman's monitor leaves in the folder where it was started when the kernel kills for memory. conmon 2.1.6 (Debian 12) leaves it
there and podman looks elsewhere, so that its record says nothing; newer ones agree with each other."""

POLL_S = 0.05
SIGNAL_TRIES = 100
"""A container that has been created is not running yet, and refuses signals; within so many tries it does, or it has ended."""

logger = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Container:
    start: StartContainer
    pid: int | None = None
    pending: Signals | None = None  # asked for before the container was up

    @property
    def task_id(self) -> str:
        return self.start.task_arn.rsplit("/", 1)[1]

    @property
    def name(self) -> str:
        return f"dagy-{self.task_id}"


@dataclass(frozen=True, slots=True)
class _End:
    """How a container ended, by podman's record. `out_of_memory`: the kernel killed something in it for its memory limit."""

    exit_code: int
    out_of_memory: bool


class ContainerAgent:
    """Carries out the model's effects. `stop` leaves no container behind."""

    def __init__(self, policy: AgentPolicy, *, clock: Clock, reports: Reports) -> None:
        self._policy = policy
        self._logs = policy.logs
        self._clock = clock
        self._reports = reports
        self._live: dict[str, _Container] = {}
        self._pids: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None
        self._cleared = asyncio.Event()

    def start(self) -> None:
        """Begin to watch the logs; remove what an earlier cloud of the same work folder left behind, before anything is started."""
        self._watch = start_task(self._watch_logs(), name="agent: watch logs")
        self._own(self._clear(), "agent: clear up")

    def apply(self, effect: Effect) -> None:
        """Start a container, or send it a signal. Returns at once; reports follow."""
        match effect:
            case StartContainer():
                container = self._live[effect.task_arn] = _Container(effect)
                self._own(self._run(container), f"agent: container of {container.task_id}")
            case SignalContainer():
                self.signal(effect.task_arn, Signals[effect.signal.value])

    def signal(self, task_arn: str, number: Signals) -> bool:
        """Send a signal to a container's first process; False if it is not running. SIGKILL ends all of the container."""
        container = self._live.get(task_arn)
        if container is None:
            return False
        if container.pid is None:
            container.pending = number
        else:
            self._own(self._send(container, number), f"agent: {number.name} to {container.task_id}")
        return True

    def pid(self, task_arn: str) -> int | None:
        """The first process that a task's container has, or had, as this machine sees it; None if it never had one."""
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
            self.signal(task_arn, SIGKILL)
        while self._tasks:  # the end of a container may still be telling its reports
            await asyncio.gather(*self._tasks)
        await self._remove_left()

    async def _run(self, container: _Container) -> None:
        arn = container.start.task_arn
        await self._cleared.wait()
        folder = self._policy.workdir / "containers" / container.task_id
        try:
            client = await self._start_client(container, folder)
        except (OSError, ValueError) as error:  # ValueError: a NUL in an argument
            del self._live[arn]
            self._reports.container_failed_to_start(arn, f"CannotStartContainerError: {error}")
            return
        container.pid = await self._until_up(client, folder / PID_FILE)
        if container.pid is not None:
            self._pids[arn] = container.pid
            self._reports.container_started(arn)
            if container.pending is not None:
                self.signal(arn, container.pending)
        returned = await client.wait()
        end = await _end_of(container.name, returned, folder)
        del self._live[arn]
        await podman("rm", "--force", "--volumes", "--time", "0", container.name)
        shutil.rmtree(folder, ignore_errors=True)
        if container.pid is None:
            said = last_line(self.log_path(arn).read_text(errors="replace"))
            self._reports.container_failed_to_start(arn, start_failure(said))
            return
        killed_for_memory = end.out_of_memory and end.exit_code == 128 + SIGKILL
        self._reports.container_exited(arn, end.exit_code, OUT_OF_MEMORY if killed_for_memory else "")

    async def _start_client(self, container: _Container, folder: Path) -> Process:
        """`podman run` in the foreground: it ends with the container, and the container writes into our log itself."""
        folder.mkdir(parents=True, exist_ok=True)
        log = self._logs.open(container.start.task_arn)
        try:
            return await asyncio.create_subprocess_exec(
                PODMAN,
                *run_arguments(container.start, self._environment(container)),
                *("--name", container.name, "--label", f"{LABEL}={self._policy.workdir}"),
                *("--pidfile", str(folder / PID_FILE), *image_and_command(container.start)),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            os.close(log)

    def _environment(self, container: _Container) -> dict[str, str]:
        metadata = f"{self._policy.metadata_url}/{container.task_id}"
        return {**self._policy.environment, **container.start.environment, METADATA_VARIABLE: metadata}

    async def _until_up(self, client: Process, pid_file: Path) -> int | None:
        """The container's first process once there is one; None if podman ended without."""
        while True:
            ended = client.returncode is not None  # asked first: what ran and ended at once has left its file
            text = pid_file.read_text() if pid_file.exists() else ""
            if text.strip().isdecimal():
                return int(text)
            if ended:
                return None
            await self._clock.sleep(POLL_S)

    async def _send(self, container: _Container, number: Signals) -> None:
        for _ in range(SIGNAL_TRIES):
            answer = await podman("kill", "--signal", number.name, container.name)
            if answer.code == 0 or container.start.task_arn not in self._live:
                return
            await self._clock.sleep(POLL_S)
        logger.warning("a container takes no signal", container=container.name, signal=number.name)

    async def _clear(self) -> None:
        left = await self._remove_left()
        if left:
            logger.warning("removed containers of an earlier embedded cloud", containers=left)
        self._cleared.set()

    async def _remove_left(self) -> int:
        """Remove every container of this work folder; how many there were."""
        found = await podman("ps", "--all", "--quiet", "--filter", f"label={LABEL}={self._policy.workdir}")
        ids = found.out.split()
        if ids:
            await podman("rm", "--force", "--volumes", "--time", "0", *ids)
        return len(ids)

    async def _watch_logs(self) -> None:
        while True:
            await self._clock.sleep(self._policy.watch_every_s)
            for task_arn in self._live:
                self._logs.bound(task_arn)

    def _own(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = start_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def run_arguments(start: StartContainer, environment: dict[str, str]) -> list[str]:
    """The first arguments of `podman run`: what ECS gives a container, as far as podman has it.

    Swap is what memory is, that is none. With a read-only root podman's own writable places are switched off: Fargate has none.
    """
    arguments = ["run", "--pull", "never", "--network", "host", "--log-driver", "passthrough"]
    arguments += ["--cpu-shares", str(start.cpu)]
    arguments += ["--memory", f"{start.memory_mib}m", "--memory-swap", f"{start.memory_mib}m"]
    if start.read_only_root:
        arguments += ["--read-only", "--read-only-tmpfs=false"]
    if start.entry_point_words:
        arguments += ["--entrypoint", json.dumps(start.command[: start.entry_point_words])]
    return [*arguments, *(f"--env={variable}={value}" for variable, value in sorted(environment.items()))]


def image_and_command(start: StartContainer) -> list[str]:
    """The last arguments of `podman run`: the image, and what its entry point is given."""
    return [start.image, *start.command[start.entry_point_words :]]


def start_failure(said: str) -> str:
    """ECS's words for a container that could not be started, by what podman said."""
    kind = "CannotPullContainerError" if "image not known" in said else "CannotStartContainerError"
    return f"{kind}: {said.removeprefix('Error: ') or 'podman ended without a word'}"


async def _end_of(name: str, returned: int, folder: Path) -> _End:
    """How the container ended: podman's record of it, or, if that has gone, what its client returned."""
    answer = await podman("inspect", "--type", "container", "--format", "{{json .State}}", name)
    if answer.code:
        return _End(returned if returned >= 0 else 128 - returned, out_of_memory=False)
    state: dict[str, Any] = json.loads(answer.out)
    if state["Running"]:  # its client was killed, and the container goes on without anybody who looks after it
        return _End(128 + SIGKILL, out_of_memory=False)
    seen = bool(state["OOMKilled"]) or (folder / OOM_FILE).exists()
    return _End(int(state["ExitCode"]), out_of_memory=seen)
