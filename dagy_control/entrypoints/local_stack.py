"""The embedded cloud with a daemon on it: everything on this machine, all of it real processes and real HTTP."""

import json
import os
import signal
import socket
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import Process
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from dagy_control.adapters.calls import AwsCalls
from dagy_control.adapters.session import AwsClients
from dagy_control.config import Settings, load_settings
from dagy_control.entrypoints.policies import client_policy, worker_environment
from dagy_control.errors import DagyError, Permanent
from dagy_control.kernel.clock import Clock, SystemClock
from dagy_control.kernel.tasks import within
from dagy_control.local.cloud import EmbeddedCloud
from dagy_control.local.podman import require_image
from dagy_control.local.processes import kill_marked
from dagy_control.local.provision import provision

DEMO_FLOWS = Path(__file__).parent.parent / "local" / "demo_flows"
"""A folder of example flows, as a user would have one."""

MARK = "EMBEDDED_CLOUD_DAEMON_OF"
"""In the daemon's environment: by it a later start finds a daemon that a killed `local` left behind."""

START_TIMEOUT_S = 90.0
PORT_FREED_WITHIN_S = 5.0
POLL_S = 0.05

CONFIG = """\
# Written by `dagy-control local`. Times are short: nothing here is eventually consistent.
environment = "local"
embedded_cloud = true

[aws]
read_timeout_s = 5
rate_scale = 10

[ecs]
cluster_arn = "{cluster}"
execution_role_arn = "arn:aws:iam::123456789012:role/dagy-execution"
task_role_arn = "arn:aws:iam::123456789012:role/dagy-task"
subnets = ["subnet-local"]
security_groups = ["sg-local"]
default_profile = "small"

[launching]
interval_s = 0.5
census_interval_s = 2
max_concurrent_tasks = {max_tasks}
reply_timeout_s = 6
not_found_grace_s = 5
retry_delay_s = 1
retry_delay_max_s = 4

[reconciling]
interval_s = 2
stale_threshold_s = 3
missing_grace_s = 5
start_timeout_s = {start_timeout_s}
result_linger_s = 10
infra_retry_delay_s = 1
infra_retry_delay_max_s = 4

[events]
queue_url = "{queue_url}"
wait_s = 2
visibility_timeout_s = 5

[orphans]
interval_s = 3
grace_s = 3
dry_run = true

[leases]
lease_s = 3

[worker]
drain_s = 2

[api]
host = "127.0.0.1"
port = {port}
"""


class DaemonFailed(DagyError):
    """The daemon did not start, or ended by itself; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running daemon. `url` is its HTTP server."""

    process: Process
    url: str
    log: Path


class LocalStack:
    """The embedded cloud, provisioned, in a work folder; daemons are started on it. `async with` keeps it up.

    `worker_image`: workers are containers of this image, run by podman; without it they are processes of this installation.
    """

    def __init__(self, workdir: Path, *, port: int = 0, max_tasks: int = 16, worker_image: str | None = None) -> None:
        self.workdir = workdir.resolve()
        self.config = self.workdir / "config.toml"
        self.clock: Clock = SystemClock()
        self.cloud = EmbeddedCloud(self.workdir, clock=self.clock, containers=worker_image is not None)
        self.worker_image = worker_image
        self.environment: dict[str, str] = {}
        self._port = port
        self._max_tasks = max_tasks
        self._stack = AsyncExitStack()
        self._daemons = 0
        self._daemon: Daemon | None = None

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            if self.worker_image is not None:
                await require_image(self.worker_image)
            await self.cloud.start()
            stack.push_async_callback(self.cloud.stop)
            left_behind = kill_marked(MARK, str(self.workdir))
            await self._require_free_port(PORT_FREED_WITHIN_S if left_behind else 0.0)
            self.environment = {**self.cloud.environment(), "DAGY_CONFIG": str(self.config)}
            os.environ.update(
                self.environment
            )  # botocore reads its endpoints from there; this process has no other AWS
            await self._provision(stack)
            stack.push_async_callback(self._end_daemon)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def settings(self) -> Settings:
        """What the daemon reads, for commands in this process."""
        return load_settings(self.config, os.environ)

    async def start_daemon(self) -> Daemon:
        """Start a daemon and wait until it serves. Raises `DaemonFailed` with the end of its log."""
        self._daemons += 1
        log = self.workdir / "logs" / f"daemon-{self._daemons}.log"
        environment = {**os.environ, **self.environment, MARK: str(self.workdir)}
        with log.open("wb") as out:
            process = await create_subprocess_exec(
                sys.executable,
                "-m",
                "dagy_control.entrypoints.cli",
                "serve",
                env=environment,
                stdout=out,
                stderr=out,
                start_new_session=True,  # Ctrl-C is for us; the daemon is told by SIGTERM
            )
        try:
            url = await within(
                self.clock, START_TIMEOUT_S, self._until_serving(process, log), name="the daemon's start"
            )
        except BaseException as error:
            await end_process(process, signal.SIGKILL)
            if isinstance(error, TimeoutError):
                raise DaemonFailed(f"{error}; the end of {log}:\n{tail(log)}") from error
            raise
        self._daemon = Daemon(process, url, log)
        return self._daemon

    async def _require_free_port(self, wait_s: float) -> None:
        """Refuse a taken port before a daemon is started for nothing. One that was just killed may hold it for a moment."""
        deadline = self.clock.monotonic() + wait_s
        while True:
            try:
                socket.create_server(("127.0.0.1", self._port)).close()
            except OSError as error:
                if self.clock.monotonic() < deadline:
                    await self.clock.sleep(POLL_S)
                    continue
                reason = os.strerror(error.errno or 0)
                raise Permanent(
                    f"port {self._port} cannot be used ({reason}); take another with --port, or 0 for a free one"
                ) from error
            return

    async def _until_serving(self, process: Process, log: Path) -> str:
        while True:
            for line in log.read_text().splitlines():
                if '"HTTP_LISTENING"' in line:
                    event = json.loads(line)
                    return f"http://{event['host']}:{event['port']}"
            if process.returncode is not None:
                raise DaemonFailed(f"the daemon ended with code {process.returncode}:\n{tail(log)}")
            await self.clock.sleep(POLL_S)

    async def _provision(self, stack: AsyncExitStack) -> None:
        defaults = Settings()
        clients = await stack.enter_async_context(AwsClients(client_policy(defaults)))
        provisioned = await provision(
            self.cloud,
            clients,
            AwsCalls(self.clock),
            self.clock,
            tables=defaults.tables.model_dump(),
            bucket=defaults.storage.artifact_bucket,
            container_name=defaults.ecs.container_name,
            worker_environment=worker_environment(defaults),
            worker_image=self.worker_image,
        )
        stack.callback(
            self.cloud.set_event_sink, None
        )  # before the clients close: the tasks that are ended last still tell
        text = CONFIG.format(
            cluster=self.cloud.cluster,
            queue_url=provisioned.queue_url,
            port=self._port,
            max_tasks=self._max_tasks,
            start_timeout_s=60 if self.worker_image is None else 180,  # six containers at once, on two busy cores
        )
        self.config.write_text(text)

    async def _end_daemon(self) -> None:
        if self._daemon is not None:
            await end_process(self._daemon.process, signal.SIGTERM)


async def end_process(process: Process, number: signal.Signals) -> int:
    """Signal the process, if it still runs, and wait for its end; its return code."""
    if process.returncode is None:
        process.send_signal(number)
    return await process.wait()


def tail(log: Path, lines: int = 15) -> str:
    """The end of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
