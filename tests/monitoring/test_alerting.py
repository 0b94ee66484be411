"""A real daemon, scraped by a real Prometheus with the shipped rules: what is wrong is told by Alertmanager, and its end too.

`for` is in seconds instead of minutes, and the five minutes of DagyLoopStalled are five seconds (`servers.in_test_time`); addresses
and intervals of the shipped examples are the test's. Everything else is as shipped.
"""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest
import pytest_asyncio

from dagy_control.entrypoints.demo_flows import register_demo_flows
from dagy_control.entrypoints.demo_world import DemoFailed, DemoWorld
from dagy_control.entrypoints.local_stack import LocalStack
from dagy_control.entrypoints.wiring import open_ports
from tests.acceptance.looking import all_ended, at_work
from tests.monitoring.servers import Monitoring, monitoring
from tests.monitoring.test_dashboard import EXPRESSIONS

pytestmark = [pytest.mark.monitoring, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(420)]

SOON_S = 90.0
"""Ends a test that has failed."""

REFUSED = ("DescribeTasks", "ListTasks")
"""What ECS refuses: then passes and scans have no success."""

STALLED_AFTER_S = 3 * 0.5 + 5
"""Launching's three intervals, in the embedded cloud, and the margin in test time."""

EMPTY_HERE = {
    "Calls that failed": "every call is answered until ECS refuses them, and a rate needs two samples of a series",
    "Active runs of named organisations": "the configuration names none",
    "Active runs of named flows": "the configuration names none",
    "Stops, scans, alerts": "no topic is configured",
    "Leases lost and taken": "no `from` but that of the first take",
    "Event queue": "no dead-letter queue is configured",
}
"""Panels with an expression that has no data in this scene, and why."""


@dataclass(frozen=True)
class Scene:
    """The embedded cloud with a daemon at `url`, and what watches it."""

    world: DemoWorld
    url: str
    watch: Monitoring

    async def refuse(self, operation: str) -> None:
        """ECS answers every call of the operation by an error, until the faults are cleared."""
        url = f"{self.world.stack.cloud.ecs_url}/_local/faults"
        order = {"kind": "error_not_applied", "operation": operation, "calls": 1_000_000}
        async with self.watch.session.post(url, json=order) as response:
            response.raise_for_status()

    async def until_data(self, expression: str) -> None:
        """Until Prometheus has a sample for it."""

        async def look() -> bool:
            return bool(await self.watch.query(expression))

        await self.world.until(expression, look, timeout_s=SOON_S)

    async def until_told(self, status: str, loop: str) -> dict[str, object]:
        """The webhook's first notice that the loop has stalled, or has not any more."""

        async def look() -> dict[str, object] | None:
            told = self.watch.webhook.told(status, alertname="DagyLoopStalled", loop=loop)
            return told[0] if told else None

        return await self.world.until(f"{status}: {loop}", look, timeout_s=SOON_S)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    before = dict(os.environ)
    try:
        async with (
            LocalStack(tmp_path_factory.mktemp("cloud"), max_tasks=6) as stack,
            aiohttp.ClientSession() as session,
        ):
            await register_demo_flows(stack.settings(), ["acme"])
            async with open_ports(stack.settings()) as ports:
                world = DemoWorld(stack, ports, session)
                daemon = await stack.start_daemon()
                async with monitoring(tmp_path_factory.mktemp("monitoring"), daemon.url) as watch:
                    scene = Scene(world, daemon.url, watch)

                    async def scraped() -> bool:
                        try:
                            return bool(await watch.query("dagy_build_info"))
                        except aiohttp.ClientError:  # not up yet, or up and not ready
                            return False

                    await world.until("the first scrape", scraped, timeout_s=SOON_S)
                    yield scene
    finally:
        os.environ.clear()
        os.environ.update(before)


async def test_launching_switched_off_by_an_edit_is_no_alert(scene: Scene) -> None:
    config = scene.world.stack.config
    text = config.read_text()
    config.write_text(text.replace("[launching]", "[launching]\nenabled = false"))
    await scene.until_data('dagy_loop_enabled{loop="launching"} == 0')
    age = 'time() - max(dagy_loop_last_success_timestamp_seconds{loop="launching"})'
    await scene.until_data(f"{age} > {STALLED_AFTER_S + 5}")
    assert await scene.watch.query('ALERTS{alertname=~"DagyLoopStalled|DagyLeaseUnheld", loop="launching"}') == []
    config.write_text(text)
    await scene.until_data(f"{age} < {STALLED_AFTER_S}")
    assert scene.watch.webhook.told("firing", loop="launching") == []


async def test_a_loop_that_ecs_refuses_is_told_and_so_is_its_end(scene: Scene) -> None:
    world, watch = scene.world, scene.watch
    run = await world.launch("probe", "acme", "watched", seconds=100)
    await at_work(world, run)
    for operation in REFUSED:
        await scene.refuse(operation)
    told = [await scene.until_told("firing", loop) for loop in ("reconciling", "orphans")]
    for notice, loop in zip(told, ("reconciling", "orphans"), strict=True):
        words = notice["annotations"]
        assert isinstance(words, dict)
        assert words["summary"] == f"The loop {loop} makes no progress."
        assert words["runbook_url"].endswith("/docs/operations.md#a-loop-makes-no-progress")
    assert watch.webhook.told("firing", alertname="DagyLoopStalled", loop="launching") == []
    await world.clear_faults()
    for loop in ("reconciling", "orphans"):
        await scene.until_told("resolved", loop)
    assert await watch.query('ALERTS{alertname="DagyLoopStalled", alertstate="firing"}') == []
    await world.command("runs", "cancel", run.run_id, "--json")
    await all_ended(world, [run])


async def test_every_panel_has_data_and_every_rule_is_well(scene: Scene) -> None:
    world = scene.world
    ended = await world.launch("probe", "acme", "panels", seconds=0.1)
    await all_ended(world, [ended, await world.write_stuck_run(ended)])
    for _ in range(8):  # more than there is room for: some run, some wait
        await world.launch("probe", "acme", "panels", seconds=100)
    missing: list[str] = []

    async def all_there() -> bool:
        missing[:] = [
            f"{title}: {expression}"
            for expression, title in EXPRESSIONS.items()
            if title not in EMPTY_HERE
            and not await scene.watch.query(expression.replace("$job", "dagy").replace("$__rate_interval", "1m"))
        ]
        return not missing

    try:
        await world.until("data in every panel", all_there, timeout_s=SOON_S)
    except DemoFailed:
        pytest.fail("no data: " + "\n".join(missing))
    for expression in EXPRESSIONS:
        await scene.watch.query(expression.replace("$job", "dagy").replace("$__rate_interval", "1m"))
    rules = await scene.watch.rules()
    assert len(rules) > 20
    assert {(rule["name"], rule.get("lastError", "")) for rule in rules if rule["health"] != "ok"} == set()
