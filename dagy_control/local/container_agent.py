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
from pathlib import Path
from signal import SIGKILL, Signals
from typing import Any

import structlog
from typing_extensions import override

from dagy_control.local.agent import Agent, Container, End, NotStartedError
from dagy_control.local.ecs_lifecycle import StartContainer
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


class ContainerAgent(Agent):
    """Carries out the model's effects. `stop` leaves no container behind."""

    @override
    async def _run(self, container: Container) -> End:
        folder = self._policy.workdir / "containers" / container.task_id
        client = await self._start_client(container, folder)
        pid = await self._until_up(client, folder / PID_FILE)
        if pid is not None:
            self._is_up(container, pid)
        returned = await client.wait()
        end = await _end_of(_name(container), returned, folder)
        del self._live[container.start.task_arn]
        await podman("rm", "--force", "--volumes", "--time", "0", _name(container))
        shutil.rmtree(folder, ignore_errors=True)
        if pid is None:
            said = last_line(self.log_path(container.start.task_arn).read_text(errors="replace"))
            raise NotStartedError(start_failure(said))
        return end

    @override
    def _send(self, container: Container, number: Signals) -> None:
        self._own(self._kill(container, number), f"agent: {number.name} to {container.task_id}")

    @override
    async def _remove_left(self) -> int:
        found = await podman("ps", "--all", "--quiet", "--filter", f"label={LABEL}={self._policy.workdir}")
        ids = found.out.split()
        if ids:
            await podman("rm", "--force", "--volumes", "--time", "0", *ids)
        return len(ids)

    async def _start_client(self, container: Container, folder: Path) -> Process:
        """`podman run` in the foreground: it ends with the container, and the container writes into our log itself."""
        folder.mkdir(parents=True, exist_ok=True)
        log = self._logs.open(container.start.task_arn)
        try:
            return await asyncio.create_subprocess_exec(
                PODMAN,
                *run_arguments(container.start, self._environment(container)),
                *("--name", _name(container), "--label", f"{LABEL}={self._policy.workdir}"),
                *("--pidfile", str(folder / PID_FILE), *image_and_command(container.start)),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            os.close(log)

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

    async def _kill(self, container: Container, number: Signals) -> None:
        for _ in range(SIGNAL_TRIES):
            answer = await podman("kill", "--signal", number.name, _name(container))
            if answer.code == 0 or container.start.task_arn not in self._live:
                return
            await self._clock.sleep(POLL_S)
        logger.warning("a container takes no signal", container=_name(container), signal=number.name)


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


def _name(container: Container) -> str:
    return f"dagy-{container.task_id}"


async def _end_of(name: str, returned: int, folder: Path) -> End:
    """How the container ended: podman's record of it, or, if that has gone, what its client returned."""
    answer = await podman("inspect", "--type", "container", "--format", "{{json .State}}", name)
    if answer.code:
        return End(returned if returned >= 0 else 128 - returned, out_of_memory=False)
    state: dict[str, Any] = json.loads(answer.out)
    if state["Running"]:  # its client was killed, and the container goes on without anybody who looks after it
        return End(128 + SIGKILL, out_of_memory=False)
    exit_code = int(state["ExitCode"])
    seen = bool(state["OOMKilled"]) or (folder / OOM_FILE).exists()  # for anything in it, perhaps not its first process
    return End(exit_code, out_of_memory=seen and exit_code == 128 + SIGKILL)
