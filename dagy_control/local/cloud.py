"""The embedded cloud as one object: our ECS with its agent, and moto for the rest, on loopback, below one work folder."""

import contextlib
import fcntl
import os
import secrets
import sys
from pathlib import Path
from typing import IO

from dagy_control.errors import Permanent
from dagy_control.kernel.clock import Clock
from dagy_control.local.agent import Agent, AgentPolicy
from dagy_control.local.aws_server import AwsServer
from dagy_control.local.container_agent import ContainerAgent
from dagy_control.local.ecs_admin import EcsAdmin
from dagy_control.local.ecs_driver import EcsDriver, Publish
from dagy_control.local.ecs_http import HeldCalls, ecs_app
from dagy_control.local.ecs_model import EcsModel
from dagy_control.local.ecs_state import Lifetimes
from dagy_control.local.http_server import LoopbackServer
from dagy_control.local.process_agent import ProcessAgent

REGION = "us-east-1"
ACCOUNT = "123456789012"  # moto's, so that ARNs of both halves agree


class EmbeddedCloud:
    """A cloud for a laptop. Everything that it holds is gone when it stops; logs of tasks stay in `workdir/logs`.

    `aws_port`, `ecs_port`: 0 picks free ones. `cluster`: created at the start. `lifetimes`: how long a task's steps
    take (hundredths of a second unless said). `throttle_scale`: AWS's request limits times this. `containers`: tasks run from
    their images, by podman, instead of as processes. `clock` must be real time: the processes that run here know no other.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        clock: Clock,
        aws_port: int = 0,
        ecs_port: int = 0,
        cluster: str = "dagy-local",
        lifetimes: Lifetimes | None = None,
        throttle_scale: float = 10.0,
        containers: bool = False,
    ) -> None:
        self.workdir = workdir.resolve()
        self.cluster = cluster
        self._clock = clock
        self._ecs_port = ecs_port
        self._throttle_scale = throttle_scale
        self._containers = containers
        self._lifetimes = lifetimes or Lifetimes.quick()
        self._publish: Publish | None = None
        self._aws = AwsServer(clock=clock, log=self.workdir / "logs" / "aws-server.log", port=aws_port)
        self._http: LoopbackServer | None = None
        self._driver: EcsDriver | None = None
        self._held = HeldCalls()
        self._lock: IO[bytes] | None = None

    @property
    def aws_url(self) -> str:
        """The endpoint of everything but ECS; known once started."""
        return self._aws.url

    @property
    def ecs_url(self) -> str:
        """The endpoint of ECS; `/_local/` below it are the switches. RuntimeError before the start."""
        if self._http is None:
            raise RuntimeError("the embedded cloud has not been started")
        return self._http.url

    @property
    def driver(self) -> EcsDriver:
        """The emulated ECS in process: its model, faults and tasks. RuntimeError before the start."""
        if self._driver is None:
            raise RuntimeError("the embedded cloud has not been started")
        return self._driver

    def environment(self) -> dict[str, str]:
        """What a process needs to use this cloud, and that hides the user's own AWS profile from it."""
        return {
            "AWS_ENDPOINT_URL": self.aws_url,
            "AWS_ENDPOINT_URL_ECS": self.ecs_url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_SESSION_TOKEN": "local",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def set_event_sink(self, publish: Publish | None) -> None:
        """Where task-state events go, one EventBridge event a call. Until it is set they go nowhere."""
        self._publish = publish
        if self._driver is not None:
            self._driver.publish = publish

    async def start(self) -> None:
        """Start all of it. `Permanent` if the work folder cannot be used or another cloud uses it, `OSError` if a port is taken."""
        self._lock = _lock_folder(self.workdir)
        try:
            await self._aws.start()
            await self._start_ecs()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop all of it and every process that it started. Idempotent."""
        self._held.release()
        if self._http is not None:
            await self._http.stop()
        if self._driver is not None:
            await self._driver.stop()
        await self._aws.stop()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def _start_ecs(self) -> None:
        model = EcsModel(
            lifetimes=self._lifetimes,
            region=REGION,
            account=ACCOUNT,
            seed=secrets.token_hex(8),  # ids differ from those of the last cloud in this work folder
            throttle_scale=self._throttle_scale,
        )
        model.registry.create_cluster(self.cluster)
        self._http = LoopbackServer(clock=self._clock, port=self._ecs_port)
        policy = AgentPolicy(
            workdir=self.workdir,
            environment={**_platform_environment(in_image=self._containers), **self.environment()},
            metadata_url=f"{self._http.url}/v4",
        )
        make_agent: type[Agent] = ContainerAgent if self._containers else ProcessAgent
        self._driver = EcsDriver(model, clock=self._clock, policy=policy, make_agent=make_agent)
        self._driver.publish = self._publish
        self._driver.start()
        await self._http.start(ecs_app(self._driver, self._held, *EcsAdmin(self._driver, self._held).routes()))


def _platform_environment(*, in_image: bool) -> dict[str, str]:
    """What every container has besides: Fargate's own name and, where no image says it, a PATH that finds this installation."""
    if in_image:
        return {"AWS_EXECUTION_ENV": "AWS_ECS_FARGATE"}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {"PATH": path, "LANG": os.environ.get("LANG", "C.UTF-8"), "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE"}


def _lock_folder(workdir: Path) -> IO[bytes]:
    """Hold the work folder: the lock dies with this process, so whoever gets it may clear up what the last one left."""
    with contextlib.ExitStack() as undo:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            lock = undo.enter_context((workdir / "cloud.lock").open("wb"))
        except OSError as error:
            raise Permanent(f"{workdir} cannot be the work folder: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Permanent(f"another embedded cloud is using {workdir}; end it, or take another work folder") from None
        undo.pop_all()
        return lock
