"""An edit reaches what is no loop, too: the HTTP face's token and readiness; and takes no tick from a loop."""

import asyncio
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from dagy_control.adapters.calls import AwsCalls
from dagy_control.config import Settings
from dagy_control.entrypoints.control import _http_scans, _register_readiness
from dagy_control.entrypoints.live import LiveProcess, RunningLoop
from dagy_control.entrypoints.policies import loop_plans, process_plan
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.health import Health
from dagy_control.kernel.limiter import Limiter
from dagy_control.kernel.supervisor import Supervisor
from dagy_control.kernel.tasks import background
from dagy_control.kernel.telemetry import LoopMetrics
from dagy_control.kernel.ticker import Tick, Ticker
from tests.fakes.clock import VirtualClock
from tests.fakes.runs import FakeRuns
from tests.unit.entrypoints.test_policies import LAUNCHABLE
from tests.unit.orphans.world import World

TOKENS = ("sixteen-and-more-letters", "another-that-was-rotated-in")


def process_of(settings: Settings, clock: VirtualClock, *loops: RunningLoop) -> LiveProcess:
    return LiveProcess(loops, Limiter(clock), Supervisor(clock, drain_timeout_s=1), process_plan(settings))


def settings_with(**sections: Any) -> Settings:
    return Settings(ecs={**LAUNCHABLE, **sections.pop("ecs", {})}, **sections)


def test_an_edited_token_is_the_one_that_http_asks_for() -> None:
    world = World()
    settings = [settings_with(api={"token": token}) for token in TOKENS]
    loop = RunningLoop("orphans", world.loop, cast("Any", None), None)
    process = process_of(settings[0], world.clock, loop)
    scans = _http_scans(process, world.clock)
    assert scans is not None
    token = scans.door().token
    assert token() == TOKENS[0]
    process.loops = ()  # its ticker is no part of this
    swap = process.accept(settings[1])
    assert token() == TOKENS[0], "prepared, not in effect yet"
    swap()
    assert token() == TOKENS[1]
    assert TOKENS[1] not in repr(process)


class Cluster:
    """An ECS client for a cluster that has on-demand capacity only."""

    async def describe_clusters(self, *, clusters: list[str]) -> dict[str, Any]:
        return {"clusters": [{"status": "ACTIVE", "clusterArn": clusters[0], "capacityProviders": ["FARGATE"]}]}


@pytest.mark.parametrize(
    "edited",
    [
        pytest.param({"ecs": {"capacity_providers": {"FARGATE": 1}}}, id="the provider is taken out"),
        pytest.param({"launching": {"enabled": False}}, id="launching is switched off"),
    ],
)
async def test_readiness_asks_for_the_capacity_providers_of_the_edited_configuration(edited: dict[str, Any]) -> None:
    clock = VirtualClock()
    health = Health(clock)
    process = process_of(settings_with(), clock)
    ports = SimpleNamespace(runs=FakeRuns(), clients=SimpleNamespace(ecs=Cluster()), calls=AwsCalls(clock))
    _register_readiness(health, cast("Any", ports), "dagy", process)
    before = await clock.run(health.ready())
    assert not before.ok
    assert "FARGATE_SPOT" in before.components["ecs"]
    process.accept(settings_with(**edited))()
    await clock.advance(60)
    assert (await clock.run(health.ready())).ok


class Counting:
    """A loop whose ticks take `takes_s`; `starts`: when they began."""

    name = "reconciling"
    policy: object = None

    def __init__(self, clock: VirtualClock, takes_s: float) -> None:
        self._clock = clock
        self._takes_s = takes_s
        self.starts: list[float] = []

    async def tick(self, tick: Tick) -> float | None:
        self.starts.append(self._clock.monotonic())
        await self._clock.sleep(self._takes_s)
        return None


Edits = list[tuple[float, float]]


async def edited(edits: Edits, takes_s: float) -> tuple[list[float], list[tuple[float, float]]]:
    """When the ticks began, and the intervals that were in effect, each with its beginning, under edits so long after each other."""
    clock = VirtualClock()
    loop = Counting(clock, takes_s)
    plan = loop_plans(settings_with(reconciling={"interval_s": 10}))["reconciling"]
    ticker = Ticker(loop, plan.schedule, clock, LoopMetrics(CollectorRegistry()))
    process = process_of(settings_with(), clock, RunningLoop("reconciling", loop, ticker, None))
    drain, in_effect = Drain(), [(clock.monotonic(), 10.0)]
    async with background(ticker.run(drain), name="ticker"):
        for after_s, interval_s in edits:
            await clock.advance(after_s)
            process.accept(settings_with(reconciling={"interval_s": interval_s}))()
            in_effect.append((clock.monotonic(), interval_s))
        await clock.advance(100)
    return [*loop.starts, clock.monotonic()], [*in_effect, (clock.monotonic(), 0)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 40), st.floats(1, 30)), max_size=12),
    st.sampled_from([0.0, 0.5, 12.0]),
)
def test_edits_at_any_moment_make_no_tick_later_than_the_interval_in_effect(edits: Edits, takes_s: float) -> None:
    starts, in_effect = asyncio.run(edited(edits, takes_s))
    assert starts[0] <= in_effect[0][0] + 1
    for start, following in pairwise(starts):
        for (since, interval_s), (until, _) in pairwise(in_effect):
            if since <= following and until > start:
                due = max(since, start + 1.1 * interval_s, start + takes_s)
                assert min(following, until) <= due + 1e-3, "a tick is missing"
