"""Both images as `make images` has built them, and what a test does with containers of them."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from dagy_control.entrypoints.local_stack import LocalStack
from dagy_control.kernel.clock import SystemClock
from dagy_control.local.podman import PODMAN, WORKER_IMAGE
from tests.monitoring.servers import a_free_port

ROOT = Path(__file__).parents[2]
DAEMON = "localhost/dagy-control:local"
WORKER = WORKER_IMAGE
READ_ONLY = ("--read-only", "--read-only-tmpfs=false")
"""As Fargate has it: nothing may be written but what the image declares a volume."""

SOON_S = 120.0
"""Ends a test that has failed: far above what a slow machine needs."""


def podman(*arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    """One command of podman. AssertionError with what it said if it must not fail and does."""
    command = [PODMAN, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SOON_S, check=False)
    assert done.returncode == 0 or not check, f"podman {' '.join(arguments)}: {done.stderr}"
    return done


def run(image: str, *command: str, options: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
    """The first word of the command as the entry point of a container with a read-only root, to its end."""
    entry_point = ("--entrypoint", json.dumps([command[0]]))
    given = ("--rm", "--no-healthcheck", *READ_ONLY, *options, *entry_point)
    return podman("run", *given, image, *command[1:], check=False)


def config_of(image: str) -> dict[str, Any]:
    """What the image's author has written down: user, entry point, labels and the like."""
    (described,) = json.loads(podman("image", "inspect", image).stdout)
    config: dict[str, Any] = {**described["Config"], "Healthcheck": described.get("Healthcheck")}
    return config


class DaemonContainer:
    """A container of the daemon's image on the embedded cloud."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.url = f"http://127.0.0.1:{port}"

    async def podman(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """A command, while the embedded cloud in this process goes on."""
        return await asyncio.to_thread(podman, *arguments, check=False)

    async def until_ready(self) -> None:
        """Wait until `/readyz` says so. AssertionError with the log's end if the container ends."""
        async with aiohttp.ClientSession() as session, asyncio.timeout(SOON_S):
            while True:
                try:
                    async with session.get(f"{self.url}/readyz") as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientError:
                    running = await self.podman("inspect", "--format", "{{.State.Running}}", self.name)
                    assert running.stdout.strip() == "true", (await self.log())[-3000:]
                await SystemClock().sleep(0.1)

    async def log(self) -> str:
        """What the daemon has written."""
        done = await self.podman("logs", self.name)
        return done.stdout + done.stderr

    async def stop(self) -> int:
        """As ECS does: SIGTERM, and SIGKILL after its 30 seconds; the exit code."""
        await self.podman("stop", "--time", "30", self.name)
        return int((await self.podman("inspect", "--format", "{{.State.ExitCode}}", self.name)).stdout)


@asynccontextmanager
async def daemon_container(stack: LocalStack, name: str) -> AsyncIterator[DaemonContainer]:
    """A daemon, ready; removed at the end, however it is then."""
    port = a_free_port()
    environment = {
        **stack.environment,
        "DAGY_CONFIG": "/etc/dagy/config.toml",
        "DAGY_API__PORT": str(port),
    }
    options = [f"--env={key}={value}" for key, value in environment.items()]
    options += [*READ_ONLY, "--network", "host", "--volume", f"{stack.config}:/etc/dagy/config.toml:ro"]
    daemon = DaemonContainer(f"{name}-{port}", port)
    started = await daemon.podman("run", "--detach", "--name", daemon.name, *options, DAEMON)
    try:
        assert started.returncode == 0, started.stderr
        await daemon.until_ready()
        yield daemon
    finally:
        await daemon.podman("rm", "--force", "--volumes", "--time", "0", daemon.name)
