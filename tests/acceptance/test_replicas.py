"""Two real daemons on one embedded cloud: leases divide the loops, and a killed holder's loops go on in the other."""

import signal
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from dagy_control.entrypoints.demo_world import DemoWorld
from dagy_control.entrypoints.local_stack import Daemon, end_process
from dagy_control.model.leases import Lease
from dagy_control.model.runs import Run, RunStatus
from tests.acceptance.looking import SOON_S, all_ended, configured

pytestmark = [pytest.mark.acceptance, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

LOOPS = ("launching", "reconciling", "orphans")
LEASE_S = 6
"""Long enough that a holder on a busy machine renews in time: these tests are about a holder that ends."""


@pytest_asyncio.fixture(loop_scope="module")
async def daemons(world: DemoWorld) -> AsyncIterator[tuple[Daemon, Daemon]]:
    async with configured(world, "lease_s = 3", f"lease_s = {LEASE_S}"):
        first = await world.stack.start_daemon()
        try:
            second = await world.stack.start_daemon()
            yield first, second
            await end_process(second.process, signal.SIGKILL)
        finally:
            await end_process(first.process, signal.SIGKILL)


def lease_of(world: DemoWorld, loop: str) -> str:
    return f"dagy/{world.stack.cloud.cluster}/{loop}"


async def holds(world: DemoWorld, daemon: Daemon, loop: str) -> bool:
    return await world.metric(daemon.url, f'dagy_lease_held{{lease="{lease_of(world, loop)}"}}') == 1


async def leases(world: DemoWorld) -> dict[str, Lease | None]:
    return {loop: await world.ports.leases.get(lease_of(world, loop)) for loop in LOOPS}


async def holders(world: DemoWorld, daemons: tuple[Daemon, ...]) -> list[Daemon] | None:
    """For each loop the one daemon that holds its lease; None while a lease has no holder. Never two."""
    found: list[Daemon] = []
    for loop in LOOPS:
        holding = [daemon for daemon in daemons if await holds(world, daemon, loop)]
        if len(holding) > 1:  # they were asked one after the other: it may have passed from the first to the second
            assert not await holds(world, holding[0], loop), f"two hold the lease of {loop}"
        found += holding[-1:]
    return found if len(found) == len(LOOPS) else None


async def holder_and_other(world: DemoWorld, daemons: tuple[Daemon, Daemon]) -> tuple[Daemon, Daemon]:
    """Once every lease has a holder: who launches, and who does not."""

    async def all_held() -> list[Daemon] | None:
        return await holders(world, daemons)

    launching = (await world.until("a holder of each lease", all_held, timeout_s=SOON_S))[0]
    return launching, daemons[1] if launching is daemons[0] else daemons[0]


async def report(url: str) -> dict[str, Any]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        answer: dict[str, Any] = await response.json()
        return answer


async def assert_launched_once(world: DemoWorld, runs: list[Run]) -> None:
    done = await all_ended(world, runs)
    assert {(run.status, run.attempt, run.error_message) for run in done} == {(RunStatus.SUCCEEDED, 1, None)}
    by_attempt = await world.tasks_by_attempt()
    assert {by_attempt[f"dagy/{run.run_id}/1"] for run in runs} == {1}


async def test_each_lease_has_one_holder_and_a_killed_one_is_followed(
    world: DemoWorld, daemons: tuple[Daemon, Daemon]
) -> None:
    """That it is followed within two leases is shown on a virtual clock: `tests/properties/test_leases.py`."""
    holder, other = await holder_and_other(world, daemons)
    before = await leases(world)
    await end_process(holder.process, signal.SIGKILL)
    run = await world.launch("probe", "acme", "handed-over", seconds=0.2)

    async def all_followed() -> list[Daemon] | None:
        return await holders(world, (other,))

    await world.until("the hand-over", all_followed, timeout_s=SOON_S)
    for loop, now in (await leases(world)).items():
        was = before[loop]
        assert now is not None
        assert was is not None
        assert now.epoch == was.epoch + (1 if was.holder != now.holder else 0)
    await assert_launched_once(world, [run])


async def test_a_holder_that_drains_hands_over_sooner_than_its_lease_would_expire(
    world: DemoWorld, daemons: tuple[Daemon, Daemon]
) -> None:
    holder, other = await holder_and_other(world, daemons)
    assert await end_process(holder.process, signal.SIGTERM) == 0

    async def followed() -> bool:
        return await holds(world, other, "launching")

    await world.until("the hand-over", followed, timeout_s=SOON_S)
    takes = f'dagy_lease_takeovers_total{{from="released",lease="{lease_of(world, "launching")}"}}'
    assert await world.metric(other.url, takes) == 1
    await assert_launched_once(world, [await world.launch("probe", "acme", "drained", seconds=0.2)])


async def test_a_daemon_that_stands_by_is_alive_and_ready_and_says_who_works(
    world: DemoWorld, daemons: tuple[Daemon, Daemon]
) -> None:
    _, by = await holder_and_other(world, daemons)

    async def told() -> bool:
        """Not at its first look, perhaps: it may have asked for the lease before anybody had it."""
        alive, lease = await report(f"{by.url}/healthz"), (await leases(world))["launching"]
        assert lease is not None
        assert (alive["ok"], alive["components"]["launching"]) == (True, "ok")
        words: str = alive["components"]["launching lease"]
        return words == f"standing by: held by {lease.holder}, epoch {lease.epoch}"

    await world.until("word of the holder", told, timeout_s=SOON_S)
    ready = await report(f"{by.url}/readyz")
    assert ready == {
        "ok": True,
        "components": {"tables": "ok", "ecs": "ok", "leases": "ok", "configuration": "ok"},
    }
    assert await world.metric(by.url, 'dagy_loop_ticks_total{loop="launching",outcome="ok"}') == 0


@pytest.mark.long
async def test_two_daemons_that_run_every_loop_at_once_launch_no_run_twice(world: DemoWorld) -> None:
    async with configured(world, "[leases]", "[leases]\nenabled = false"):
        daemons = [await world.stack.start_daemon()]
        try:
            daemons.append(await world.stack.start_daemon())
            runs = [await world.launch("probe", "acme", "both", seconds=0.2) for _ in range(12)]
            await assert_launched_once(world, runs)
            for daemon in daemons:
                ticks = await world.metric(daemon.url, 'dagy_loop_ticks_total{loop="launching",outcome="ok"}')
                assert ticks > 0, "both have worked"
        finally:
            for daemon in daemons:
                await end_process(daemon.process, signal.SIGKILL)
