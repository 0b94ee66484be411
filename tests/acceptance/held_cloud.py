"""The embedded cloud with a daemon on it, and workers that reach it through a proxy which holds single calls back.

Nothing of the product knows of the proxy: a run's own environment names it as AWS's endpoint.
"""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import override

from dagy_control.entrypoints.local_stack import LocalStack
from dagy_control.entrypoints.wiring import Ports, open_ports
from dagy_control.kernel.clock import SystemClock
from dagy_control.model.deployments import Deployment
from dagy_control.model.flow_templates import Json
from dagy_control.model.flows import FlowSpec, ParameterSpec, TaskSpec
from dagy_control.model.runs import Run
from dagy_control.requests.deployments import set_deployment
from dagy_control.requests.orders import LaunchOrder
from dagy_control.requests.packages import add_package
from dagy_control.requests.registration import register_flow
from tests.contract.proxy import FaultyProxy, operation_of
from tests.hostile_archives import a_zip

SOON_S = 90.0
"""Ends a test that has failed: far above what a slow machine needs."""

SOURCE = b"""
import os, pathlib, sys, time


def work(folder, seconds):
    pathlib.Path(folder, f"began-{os.getpid()}").touch()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.02)
    return os.getpid()


def after(pid):
    return pid


def environment(folder):
    import json
    pathlib.Path(folder, "environment.json").write_text(json.dumps(dict(os.environ)))
"""


@dataclass(slots=True)
class Hold:
    """The first call that `wanted` names is held: `held` tells of it. `applied`: it has reached the server, its reply is kept."""

    wanted: Callable[[Request, str], bool]
    applied: bool = False
    held: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)


class HoldingProxy(FaultyProxy):
    """A proxy that can keep a caller waiting for ever. `calls`: the operations that came, in order."""

    hold: Hold | None = None

    def __init__(self, upstream: str) -> None:
        super().__init__(upstream, clock=SystemClock())
        self.calls: list[str] = []

    @override
    async def _handle(self, request: Request) -> Response:
        operation = operation_of(request)
        self.calls.append(operation)
        hold = self.hold
        if hold is None or hold.held.is_set() or not hold.wanted(request, operation):
            return await super()._handle(request)
        answer = await super()._handle(request) if hold.applied else None
        hold.held.set()
        await hold.released.wait()
        return answer or Response(status_code=503)


class HeldCloud:
    """What a test does and sees."""

    def __init__(self, stack: LocalStack, ports: Ports, proxy: HoldingProxy) -> None:
        self.stack = stack
        self.ports = ports
        self.proxy = proxy

    async def register(self, name: str, *tasks: TaskSpec, files: dict[str, bytes] | None = None) -> None:
        """A flow of organisation acme with the parameters `folder` and `seconds`."""
        parameters = (ParameterSpec("folder"), ParameterSpec("seconds", required=False, default=0))
        spec = FlowSpec(name=name, version="1", import_path="phases:flow", tasks=tasks, parameters=parameters)
        artifact = a_zip(("flow.json", spec.to_json().encode()), ("phases.py", SOURCE), *(files or {}).items())
        await register_flow(
            self.ports.flows,
            self.ports.artifacts,
            self.ports.clock,
            org_id="acme",
            spec=spec,
            artifact=artifact,
            prefix="artifacts/",
        )

    async def deploy(self, name: str, flow_name: str, slug: str, package: bytes) -> None:
        """A deployment of the flow, with a dependency package."""
        ports = self.ports
        await add_package(
            ports.dep_packages,
            ports.artifacts,
            ports.clock,
            slug=slug,
            file_name="package.zip",
            content=package,
            prefix="dep-packages/",
        )
        deployment = Deployment(
            org_id="acme",
            deployment_name=name,
            flow_name=flow_name,
            dep_package_slugs=(slug,),
            updated_at=ports.clock.now(),
        )
        await set_deployment(ports.launcher(), ports.dep_packages, deployment)

    async def launch(self, folder: Path, *, seconds: float = 0, **order: Any) -> Run:
        """A run whose worker goes through the proxy."""
        parameters: dict[str, Json] = {"folder": str(folder), "seconds": seconds}
        environment = {"AWS_ENDPOINT_URL": self.proxy.url, **order.pop("environment", {})}
        given = {"org_id": "acme", "parameters": parameters, "extra_env_vars": environment, **order}
        return await self.ports.launcher().submit(LaunchOrder(**given))

    async def run(self, run_id: str) -> Run:
        run = await self.ports.runs.get(run_id)
        assert run is not None
        return run

    async def ended(self, run_id: str) -> Run:
        async with asyncio.timeout(SOON_S):
            while not (run := await self.run(run_id)).status.is_terminal:
                await SystemClock().sleep(0.1)
        return run

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(SOON_S):
            while not condition():
                await SystemClock().sleep(0.005)

    async def task_of(self, run_id: str) -> str:
        """The ARN of the run's task, once it is on record."""
        async with asyncio.timeout(SOON_S):
            while (arn := (await self.run(run_id)).external_id) is None:
                await SystemClock().sleep(0.02)
        return arn

    def pid(self, arn: str) -> int:
        pid = self.stack.cloud.driver.agent.pid(arn)
        assert pid is not None
        return pid

    def lines(self, arn: str) -> list[dict[str, Any]]:
        """The JSON lines of a task's log."""
        path = self.stack.cloud.driver.agent.log_path(arn)
        texts = path.read_text().splitlines() if path.exists() else []
        return [json.loads(text) for text in texts if text.startswith("{")]

    def scratch(self, arn: str) -> Path:
        return self.stack.cloud.workdir / "scratch" / arn.rsplit("/", 1)[1]

    def kill(self, arn: str) -> None:
        """SIGKILL to the worker itself."""
        os.kill(self.pid(arn), signal.SIGKILL)


@asynccontextmanager
async def held_cloud(workdir: Path, *, worker: str = "") -> AsyncIterator[HeldCloud]:
    """The cloud, its daemon and the proxy; `worker`: lines for the section of the configuration."""
    before = dict(os.environ)
    try:
        async with AsyncExitStack() as stack:
            local = await stack.enter_async_context(LocalStack(workdir, max_tasks=4))
            text = local.config.read_text()
            assert "drain_s = 2\n" in text
            local.config.write_text(text.replace("drain_s = 2\n", f"drain_s = 2\n{worker}\n"))
            proxy = HoldingProxy(local.cloud.aws_url)
            await proxy.start()
            stack.push_async_callback(proxy.stop)
            await local.start_daemon()
            ports = await stack.enter_async_context(open_ports(local.settings()))
            yield HeldCloud(local, ports, proxy)
    finally:
        os.environ.clear()
        os.environ.update(before)
