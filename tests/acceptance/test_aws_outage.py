"""AWS answers no more: a real daemon stays alive, says that it is not ready and why, shows that it is behind, and recovers.

Beside it a tick that hangs, which is another thing: then the process is to be restarted.
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import override

from dagy_control.entrypoints.demo_world import DemoWorld
from dagy_control.entrypoints.local_stack import end_process
from dagy_control.model.runs import RunStatus
from tests.acceptance.held_cloud import Hold, HoldingProxy
from tests.acceptance.looking import SOON_S, at_work, configured, ended

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(420),
]

BEHIND_S = 6.0
"""Three intervals of the reconciler here: more than it is ever behind while all is well."""

HUNG_AFTER_S = 10
IMPATIENT = f"""
import sys
from dagy_control.entrypoints import cli, policies
policies.DEADLINE_INTERVALS, policies.DEADLINE_MIN_S = 1, {HUNG_AFTER_S}
sys.argv[1:] = ["serve"]
cli.main()
"""
"""The daemon, to which a tick hangs after ten seconds instead of five minutes."""


class Outage(HoldingProxy):
    """A service that can be out of order: while it is `down`, every call is answered by 503."""

    down = False

    @override
    async def _handle(self, request: Request) -> Response:
        if self.down:
            return JSONResponse({"__type": "ServiceUnavailable", "message": "out of order"}, status_code=503)
        return await super()._handle(request)


@dataclass(frozen=True)
class Scene:
    """The cloud behind two proxies, and what looks at the daemon."""

    world: DemoWorld
    ecs: Outage
    rest: Outage
    session: aiohttp.ClientSession

    async def answer(self, url: str) -> tuple[int, dict[str, str]]:
        """The status and the components of a health page."""
        async with self.session.get(url) as response:
            document: dict[str, Any] = await response.json()
            assert document["ok"] is (response.status == 200)
            return response.status, document["components"]

    async def until(self, what: str, look: Callable[[], Awaitable[bool]]) -> None:
        await self.world.until(what, look, timeout_s=SOON_S)


@pytest_asyncio.fixture(loop_scope="module")
async def scene(world: DemoWorld) -> AsyncIterator[Scene]:
    stack = world.stack
    ecs, rest = Outage(stack.cloud.ecs_url), Outage(stack.cloud.aws_url)
    await ecs.start()
    await rest.start()
    before = dict(stack.environment)
    stack.environment |= {"AWS_ENDPOINT_URL": rest.url, "AWS_ENDPOINT_URL_ECS": ecs.url}
    async with aiohttp.ClientSession() as session:
        yield Scene(world, ecs, rest, session)
    stack.environment.clear()
    stack.environment |= before
    await ecs.stop()
    await rest.stop()


async def test_an_outage_turns_ready_and_the_lag_and_nothing_else(scene: Scene) -> None:
    world = scene.world
    daemon = await world.stack.start_daemon()
    lag = "dagy_reconcile_lag_seconds"
    success = 'dagy_loop_last_success_timestamp_seconds{loop="reconciling"}'
    alive: list[int] = []

    async def healthy() -> None:
        status, components = await scene.answer(f"{daemon.url}/healthz")
        alive.append(status)
        assert components["event-loop"] == components["reconciling"] == "ok"

    async def ready_is(**wanted: str) -> bool:
        """Whether the page shows these components, each by a piece of its text; and the process is alive all the while."""
        await healthy()
        status, components = await scene.answer(f"{daemon.url}/readyz")
        assert status == (200 if set(components.values()) == {"ok"} else 503)
        return all(text in components[name] for name, text in wanted.items())

    async def behind() -> bool:
        await healthy()
        return await world.metric(daemon.url, lag) > BEHIND_S

    run = await at_work(world, await world.launch("probe", "acme", "outage", seconds=20.0))
    await scene.until("ready", lambda: ready_is(tables="ok", ecs="ok"))
    scene.ecs.down = True
    await scene.until("ECS is named", lambda: ready_is(tables="ok", ecs="out of order"))
    await scene.until("the reconciler is behind", behind)
    assert await world.metric(daemon.url, 'dagy_loop_consecutive_errors{loop="reconciling"}') > 0
    scene.rest.down = True
    await scene.until("both are named", lambda: ready_is(tables="out of order", ecs="out of order"))
    stood_still = await world.metric(daemon.url, success)
    until = world.ports.clock.monotonic() + BEHIND_S
    while world.ports.clock.monotonic() < until:
        await healthy()
        await world.ports.clock.sleep(0.2)
    assert await world.metric(daemon.url, success) == stood_still, "what the alert on stalled loops looks at"
    assert daemon.process.returncode is None
    scene.ecs.down = scene.rest.down = False
    await scene.until("ready again", lambda: ready_is(tables="ok", ecs="ok"))

    async def caught_up() -> bool:
        well = await world.metric(daemon.url, success) > stood_still
        return well and await world.metric(daemon.url, lag) < BEHIND_S

    await scene.until("the reconciler has caught up", caught_up)
    assert (await ended(world, run)).status is RunStatus.SUCCEEDED
    after = await world.launch("probe", "acme", "outage", seconds=0.1)
    assert (await ended(world, after)).status is RunStatus.SUCCEEDED
    assert set(alive) == {200}
    assert "AWS_CALL_FAILED" in daemon.log.read_text()
    await end_process(daemon.process, signal.SIGTERM)


async def test_a_tick_that_hangs_turns_alive_and_its_end_turns_it_back(scene: Scene) -> None:
    world = scene.world
    run = await world.launch("probe", "acme", "hung", seconds=30.0)
    hold = Hold(lambda _, operation: operation == "DescribeTasks")
    async with (
        configured(world, "read_timeout_s = 5\n", "read_timeout_s = 200\n"),
        configured(world, "reply_timeout_s = 6\n", "reply_timeout_s = 210\n"),
        configured(world, "[orphans]\n", "[orphans]\nenabled = false\n"),  # it describes tasks too
    ):
        process, url = await impatient_daemon(scene)
        await at_work(world, run)

        async def reconciling_is(status: int, text: str) -> bool:
            seen, components = await scene.answer(f"{url}/healthz")
            assert components["launching"] == components["event-loop"] == "ok", "the others go on"
            return seen == status and text in components["reconciling"]

        await scene.until("all is well", lambda: reconciling_is(200, "ok"))
        scene.ecs.hold = hold
        await asyncio.wait_for(hold.held.wait(), SOON_S)
        assert await reconciling_is(200, "ok"), "a slow answer is none yet"
        await scene.until("the tick hangs", lambda: reconciling_is(503, "a tick has been running for"))
        assert (await scene.answer(f"{url}/readyz"))[0] == 200, "AWS is there"
        hold.released.set()
        await scene.until("it has ended", lambda: reconciling_is(200, "ok"))
        assert process.returncode is None
        await end_process(process, signal.SIGTERM)
    assert (await world.run(run.run_id)).status is not RunStatus.FAILED


async def impatient_daemon(scene: Scene) -> tuple[Process, str]:
    """A daemon with a short deadline, and where it serves."""
    stack = scene.world.stack
    log = stack.workdir / "logs" / "impatient.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", IMPATIENT), env={**os.environ, **stack.environment}, stdout=out, stderr=out
        )

    async def served() -> str | None:
        at = log.read_text().partition('"HTTP_LISTENING"')[2].partition('"port": ')[2]
        return f"http://127.0.0.1:{at.partition(',')[0].partition('}')[0]}" if at else None

    return process, await scene.world.until("the impatient daemon", served, timeout_s=SOON_S)
