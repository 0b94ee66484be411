"""A real daemon whose configuration file is edited while it works: in time, under load, by people who make mistakes."""

import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from dagy_control.adapters.session import CONFIG_SERVICES, AwsClients, ClientPolicy
from dagy_control.entrypoints.config_sources import SETTLE_S
from dagy_control.entrypoints.demo_world import DemoWorld
from dagy_control.entrypoints.local_stack import Daemon, end_process
from dagy_control.entrypoints.policies import IDLE_INTERVALS
from dagy_control.model.runs import RunStatus
from tests.acceptance.looking import SOON_S, all_ended, configured, ended

pytestmark = [pytest.mark.acceptance, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

EDITS = 25
PARAMETER = "/dagy/config.toml"
TOKEN_SECRET = "dagy/api-token"
TAKEN = "dagy_config_reloads_total"
ENDED = "dagy_loop_ticks_total"
LATE = "dagy_event_loop_lag_seconds"
BUSY = "dagy_loop_tick_duration_seconds_sum"

INTERVAL_MAX_S = {"launching": 0.8, "reconciling": 2.5, "orphans": 3.5}
"""The longest intervals that the edits set."""
LONGEST_S = {
    "launching": IDLE_INTERVALS * INTERVAL_MAX_S["launching"],
    "reconciling": 1.1 * INTERVAL_MAX_S["reconciling"],
    "orphans": 1.1 * INTERVAL_MAX_S["orphans"],
    "events": 1.1,
}
"""From a tick's end to the next one's start at most, with jitter."""


@pytest_asyncio.fixture(loop_scope="module")
async def daemon(world: DemoWorld) -> AsyncIterator[Daemon]:
    before = world.stack.config.read_text()
    daemon = await world.stack.start_daemon()
    yield daemon
    await end_process(daemon.process, signal.SIGTERM)
    world.stack.config.write_text(before)


@asynccontextmanager
async def decided(world: DemoWorld, daemon: Daemon) -> AsyncIterator[None]:
    """Wait, after the block, until the daemon has taken or refused one more edit."""
    before = await _decisions(world, daemon)

    async def look() -> bool:
        return await _decisions(world, daemon) > before

    yield
    await world.until("a decision about the edit", look, timeout_s=SOON_S)


async def _decisions(world: DemoWorld, daemon: Daemon) -> float:
    results = ("taken", "unchanged", "refused")
    return sum([await world.metric(daemon.url, f'{TAKEN}{{result="{result}"}}') for result in results])


def replace_whole(path: Path, text: str) -> None:
    """As most editors save: another file, renamed over the old one."""
    other = path.with_suffix(".tmp")
    other.write_text(text, encoding="utf-8")
    other.replace(path)


async def test_launching_is_switched_off_and_on_by_an_edit(world: DemoWorld, daemon: Daemon) -> None:
    text = world.stack.config.read_text()
    async with decided(world, daemon):
        replace_whole(world.stack.config, text.replace("[launching]", "[launching]\nenabled = false"))
    run = await world.launch("probe", "acme", "held", seconds=0.1)
    ticks = await world.metric(daemon.url, 'dagy_loop_ticks_total{loop="reconciling",outcome="ok"}')

    async def others_go_on() -> bool:
        now = await world.metric(daemon.url, 'dagy_loop_ticks_total{loop="reconciling",outcome="ok"}')
        return now >= ticks + 2

    await world.until("two more passes of the reconciler", others_go_on, timeout_s=SOON_S)
    assert (await world.run(run.run_id)).status is RunStatus.QUEUED
    async with decided(world, daemon):
        replace_whole(world.stack.config, text)
    assert (await ended(world, run)).status is RunStatus.SUCCEEDED


async def test_sighup_makes_the_daemon_look_and_say_so(world: DemoWorld, daemon: Daemon) -> None:
    async with decided(world, daemon):
        os.kill(daemon.process.pid, signal.SIGHUP)
    assert "CONFIG_TAKEN" in daemon.log.read_text()


async def test_a_rotated_token_and_an_edit_in_ssm_are_taken_by_a_running_daemon(
    world: DemoWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container with a read-only file system: the file is a parameter, the token a secret that it refers to."""
    text = f'{world.stack.config.read_text()}token = "secret:{TOKEN_SECRET}"\n'  # its last section is [api]
    old, new = "the-token-before-rotation", "the-token-after-rotation"
    async with AwsClients(ClientPolicy(region="us-east-1"), services=CONFIG_SERVICES) as aws:
        await aws.secrets.create_secret(Name=TOKEN_SECRET, SecretString=old)
        await aws.ssm.put_parameter(Name=PARAMETER, Value=text, Type="String")
        monkeypatch.setitem(world.stack.environment, "DAGY_CONFIG", f"ssm:{PARAMETER}")
        daemon = await world.stack.start_daemon()
        try:
            assert [await is_let_in(daemon, token) for token in (old, new)] == [True, False]
            await aws.secrets.put_secret_value(SecretId=TOKEN_SECRET, SecretString=new)
            async with decided(world, daemon):
                os.kill(daemon.process.pid, signal.SIGHUP)
            assert [await is_let_in(daemon, token) for token in (old, new)] == [False, True]
            edited = text.replace("[launching]", "[launching]\nenabled = false")
            await aws.ssm.put_parameter(Name=PARAMETER, Value=edited, Type="String", Overwrite=True)
            async with decided(world, daemon):
                os.kill(daemon.process.pid, signal.SIGHUP)
            assert await world.metric(daemon.url, 'dagy_loop_enabled{loop="launching"}') == 0
        finally:
            await end_process(daemon.process, signal.SIGTERM)
    assert not [token for token in (old, new) if token in daemon.log.read_text()]


async def is_let_in(daemon: Daemon, token: str) -> bool:
    """Whether a request with this token is, whatever it then gets."""
    headers = {"authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{daemon.url}/orphans/scan") as answer,
    ):
        return answer.status != HTTPStatus.UNAUTHORIZED


@dataclass(frozen=True)
class Ticks:
    """What a daemon's loops have done by a moment between question and answer: `ended` ticks, and the seconds that these took.

    `late_s`: by how much its event loop was late at most, for which no edit can be blamed.
    """

    asked_at: float
    answered_at: float
    late_s: float
    ended: Mapping[str, float]
    busy_s: Mapping[str, float]

    def missing(self, before: "Ticks", loop: str, late_s: float) -> float:
        """How many ticks fewer have ended since than the time outside of ticks and the longest interval demand.

        Taken at rest, when ticks are short: one under way counts neither as ended nor as time.
        """
        idle_s = self.asked_at - before.answered_at - (self.busy_s[loop] - before.busy_s[loop])
        return int(idle_s / (LONGEST_S[loop] + late_s)) - (self.ended[loop] - before.ended[loop])


async def ticks_of(world: DemoWorld, daemon: Daemon) -> Ticks:
    """From one page of metrics, so that the figures are of the same moment."""
    asked_at = world.ports.clock.monotonic()
    async with aiohttp.ClientSession() as session, session.get(f"{daemon.url}/metrics") as answer:
        page = await answer.text()
    figures: dict[str, Counter[str]] = {name: Counter() for name in (ENDED, BUSY, LATE)}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name in figures:
                figures[sample.name][sample.labels.get("loop", "")] += sample.value
    return Ticks(asked_at, world.ports.clock.monotonic(), figures[LATE][""], figures[ENDED], figures[BUSY])


@pytest.mark.long
async def test_random_edits_under_load_lose_no_tick_and_no_run(world: DemoWorld) -> None:
    async with configured(
        world, "[leases]", "[leases]\nenabled = false"
    ):  # one that is lost under load stops ticks, too
        daemon = await world.stack.start_daemon()
        try:
            await _edited_at_random(world, daemon)
        finally:
            await end_process(daemon.process, signal.SIGTERM)


async def _edited_at_random(world: DemoWorld, daemon: Daemon) -> None:
    chance = random.Random(20261122)
    good = world.stack.config.read_text()

    def every(loop: str, usual: str) -> str:
        longest = INTERVAL_MAX_S[loop]
        return good.replace(
            f"[{loop}]\ninterval_s = {usual}", f"[{loop}]\ninterval_s = {chance.uniform(longest / 3, longest):.3f}"
        )

    edits = [
        lambda: every("launching", "0.5"),
        lambda: every("reconciling", "2"),
        lambda: every("orphans", "3"),
        lambda: good.replace("max_concurrent_tasks = 6", f"max_concurrent_tasks = {chance.randint(2, 16)}"),
        lambda: good.replace("rate_scale = 10", f"rate_scale = {chance.randint(5, 20)}"),
        lambda: good.replace("[launching]", '[launching]\nenabled = "perhaps"'),
        lambda: good.replace("lease_s = 3", "lease_s = 9"),
        lambda: good[: chance.randrange(len(good))] + "\n[half",
        lambda: good + "\n[launching]\n",
        lambda: good.replace("interval_s", "intervall_s"),
    ]
    runs = []
    looks = [await ticks_of(world, daemon)]
    for number in range(EDITS):
        runs.append(await world.launch("probe", ["acme", "globex"][number % 2], "edits", seconds=0.1))
        text = chance.choice(edits)()
        assert text != good
        if number % 2:
            replace_whole(world.stack.config, text)
        else:
            world.stack.config.write_text(text)
        await world.ports.clock.sleep(chance.choice([0.1, SETTLE_S + 0.5, 2 * SETTLE_S]))
        looks.append(await ticks_of(world, daemon))
    replace_whole(world.stack.config, good + "# the last one\n")
    done = await all_ended(world, runs)
    assert {(run.status, run.attempt) for run in done} == {(RunStatus.SUCCEEDED, 1)}

    async def settled() -> bool:
        return await world.metric(daemon.url, "dagy_config_last_reload_successful") == 1

    await world.until("the last good edit in effect", settled, timeout_s=SOON_S)
    looks.append(await ticks_of(world, daemon))
    first, last = looks[0], looks[-1]
    late_s = max(look.late_s for look in looks)
    assert {loop: n for loop in LONGEST_S if (n := last.missing(first, loop, late_s)) > 1} == {}, f"{late_s} s late"
    for loop in LONGEST_S:
        assert last.ended[loop] > looks[len(looks) // 2].ended[loop] > first.ended[loop], "it keeps growing"
        for outcome in ("bug", "permanent"):
            assert await world.metric(daemon.url, f'dagy_loop_ticks_total{{loop="{loop}",outcome="{outcome}"}}') == 0
    assert await world.metric(daemon.url, f'{TAKEN}{{result="taken"}}') > 0
    assert await world.metric(daemon.url, f'{TAKEN}{{result="refused"}}') > 0
