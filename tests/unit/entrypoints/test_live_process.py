"""An edit reaches what is no loop, too: the HTTP face's token, readiness, and SIGHUP."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from dagy_control.adapters.calls import AwsCalls
from dagy_control.config import Settings
from dagy_control.entrypoints.control import _http_scans, _register_readiness
from dagy_control.entrypoints.live import LiveProcess, RunningLoop
from dagy_control.entrypoints.policies import process_plan
from dagy_control.kernel.health import Health
from dagy_control.kernel.limiter import Limiter
from dagy_control.kernel.supervisor import Supervisor
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
