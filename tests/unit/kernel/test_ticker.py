"""When loops tick, and what their errors become."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from prometheus_client import CollectorRegistry

from dagy_control.errors import Conflict, Gone, Permanent, Transient
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.telemetry import LoopMetrics
from dagy_control.kernel.ticker import Tick, Ticker, TickerHealth, TickOutcome, TickPolicy
from tests.fakes.clock import VirtualClock

EVERY_10_S = TickPolicy(interval_s=10, jitter=0)


class ScriptedLoop:
    """Each tick takes `takes_s` and does the next thing of its script: raise it, or give it; None when the script is over."""

    def __init__(
        self, clock: VirtualClock, *script: Exception | float | None, name: str = "scripted", takes_s: float = 0
    ) -> None:
        self.name = name
        self.clock = clock
        self.script = list(script)
        self.takes_s = takes_s
        self.starts: list[float] = []
        self.running = 0

    async def tick(self, tick: Tick) -> float | None:
        assert tick.now == self.clock.now()
        self.starts.append(round(self.clock.monotonic() - 1000, 3))
        self.running += 1
        assert self.running == 1, "two ticks at once"
        try:
            await self.clock.sleep(self.takes_s)
        finally:
            self.running -= 1
        step = self.script.pop(0) if self.script else None
        if isinstance(step, Exception):
            raise step
        return step


class Bench:
    """A ticker on a virtual clock, with its metrics."""

    def __init__(self, loop: ScriptedLoop, policy: TickPolicy = EVERY_10_S, seed: str = "") -> None:
        self.loop = loop
        self.clock = loop.clock
        self.registry = CollectorRegistry()
        self.drain = Drain()
        self.ticker = Ticker(loop, policy, loop.clock, LoopMetrics(self.registry), seed=seed)

    @property
    def health(self) -> TickerHealth:
        return self.ticker.health

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, {"loop": self.loop.name, **labels}) or 0.0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.ticker.run(self.drain))
            await self.clock.settle()
            yield
            self.drain.begin()
            await self.clock.advance(self.loop.takes_s)


async def test_the_first_tick_starts_at_once_and_the_next_ones_at_the_interval() -> None:
    bench = Bench(ScriptedLoop(VirtualClock(), takes_s=4))
    async with bench.running():
        await bench.clock.advance(25)
    assert bench.loop.starts == [0, 10, 20]


async def _starts_with_jitter(name: str, seed: str = "") -> list[float]:
    bench = Bench(ScriptedLoop(VirtualClock(), name=name), TickPolicy(interval_s=10, jitter=0.2), seed)
    async with bench.running():
        await bench.clock.advance(100)
    return bench.loop.starts


async def test_jitter_comes_from_the_name_and_the_tick_so_that_it_can_be_replayed() -> None:
    starts = await _starts_with_jitter("a")
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert 0 <= starts[0] <= 1
    assert all(8 <= gap <= 12 for gap in gaps)
    assert len(set(gaps)) > 3
    assert starts == await _starts_with_jitter("a")
    assert starts != await _starts_with_jitter("b")
    assert starts != await _starts_with_jitter("a", seed="replica-2")


async def test_a_loop_may_say_itself_when_it_wants_to_tick_again() -> None:
    bench = Bench(ScriptedLoop(VirtualClock(), 3.0, 0.0, -5.0, None, takes_s=1))
    async with bench.running():
        await bench.clock.advance(20)
    assert bench.loop.starts == [0, 4, 5, 6, 16]


async def test_a_tick_longer_than_its_interval_is_followed_at_once_and_counted() -> None:
    bench = Bench(ScriptedLoop(VirtualClock(), takes_s=13))
    async with bench.running():
        await bench.clock.advance(30)
    assert bench.loop.starts == [0, 13, 26]
    assert bench.metric("dagy_loop_overruns_total") == 3


@pytest.mark.parametrize(
    ("error", "outcome", "earliest", "latest"),
    [
        pytest.param(Transient("t"), "transient", 1, 2, id="transient backs off"),
        pytest.param(Transient("t", retry_after_s=7), "transient", 7, 7, id="transient waits as long as it is told"),
        pytest.param(Conflict("c"), "conflict", 1, 1, id="conflict reloads soon"),
        pytest.param(Permanent("p"), "permanent", 10, 10, id="permanent waits the interval"),
        pytest.param(Gone("g"), "ok", 10, 10, id="gone is a success"),
        pytest.param(KeyError("k"), "bug", 1, 2, id="a bug backs off"),
        pytest.param(
            ExceptionGroup("g", [Conflict("c"), ExceptionGroup("h", [Transient("t", retry_after_s=3)])]),
            "transient", 3, 3, id="a group is its worst cause",
        ),
        pytest.param(ExceptionGroup("g", [Permanent("p"), ValueError("v")]), "bug", 1, 2, id="a group with a bug is a bug"),
    ],
)  # fmt: skip
async def test_errors_become_waits(error: Exception, outcome: str, earliest: float, latest: float) -> None:
    bench = Bench(
        ScriptedLoop(VirtualClock(), error), TickPolicy(interval_s=10, jitter=0, backoff_min_s=2, backoff_max_s=60)
    )
    async with bench.running():
        assert bench.metric("dagy_loop_ticks_total", outcome=outcome) == 1
        assert bench.health.consecutive_errors == (0 if outcome == "ok" else 1)
        await bench.clock.advance(11)
    assert earliest <= bench.loop.starts[1] <= latest


async def test_backoff_doubles_up_to_its_longest_and_starts_again_after_a_success() -> None:
    script = [*[Transient("down")] * 6, None, Transient("down")]
    bench = Bench(
        ScriptedLoop(VirtualClock(), *script), TickPolicy(interval_s=50, jitter=0, backoff_min_s=1, backoff_max_s=8)
    )
    async with bench.running():
        await bench.clock.advance(200)
    starts = bench.loop.starts
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    for gap, ceiling in zip(gaps, [1, 2, 4, 8, 8, 8, 100, 1], strict=False):
        assert ceiling / 2 <= gap <= ceiling
    assert gaps[6] == 50


async def test_health_and_metrics_follow_errors_and_recovery() -> None:
    bench = Bench(ScriptedLoop(VirtualClock(), Permanent("no such cluster: set `ecs.cluster`"), None))
    async with bench.running():
        assert bench.health.consecutive_errors == 1
        assert bench.health.last_error == "Permanent: no such cluster: set `ecs.cluster`"
        assert bench.health.last_success is None
        assert bench.metric("dagy_loop_consecutive_errors") == 1
        assert bench.ticker.alive() is None
        await bench.clock.advance(10)
        assert bench.health.consecutive_errors == 0
        assert bench.health.last_error == ""
        assert bench.health.last_success == bench.clock.now()
        assert bench.metric("dagy_loop_consecutive_errors") == 0
        assert bench.metric("dagy_loop_last_success_timestamp_seconds") == bench.clock.now().timestamp()
        assert bench.metric("dagy_loop_tick_duration_seconds_count") == 2


async def test_every_outcome_is_counted_from_0_before_the_first_tick() -> None:
    """Prometheus sees no increase in the first sample of a series: the first three failures of a loop were none."""
    bench = Bench(ScriptedLoop(VirtualClock()))
    for outcome in TickOutcome:
        labels = {"loop": bench.loop.name, "outcome": outcome.value}
        assert bench.registry.get_sample_value("dagy_loop_ticks_total", labels) == 0
    assert bench.registry.get_sample_value("dagy_loop_overruns_total", {"loop": bench.loop.name}) == 0


async def test_triggers_before_a_tick_are_one_and_do_not_wait() -> None:
    bench = Bench(ScriptedLoop(VirtualClock()))
    async with bench.running():
        await bench.clock.advance(3)
        for _ in range(5):
            bench.ticker.trigger()
        await bench.clock.advance(9.5)
    assert bench.loop.starts == [0, 3]


async def test_triggers_during_a_tick_give_one_more_right_after_it() -> None:
    bench = Bench(ScriptedLoop(VirtualClock(), takes_s=4))
    async with bench.running():
        await bench.clock.advance(1)
        bench.ticker.trigger()
        bench.ticker.trigger()
        await bench.clock.advance(12)
    assert bench.loop.starts == [0, 4]


async def test_a_trigger_ends_a_backoff() -> None:
    bench = Bench(ScriptedLoop(VirtualClock(), Transient("down", retry_after_s=100)))
    async with bench.running():
        await bench.clock.advance(5)
        bench.ticker.trigger()
        await bench.clock.settle()
    assert bench.loop.starts == [0, 5]


async def test_a_paused_loop_catches_up_when_resumed() -> None:
    bench = Bench(ScriptedLoop(VirtualClock()))
    async with bench.running():
        bench.ticker.pause()
        await bench.clock.advance(35)
        assert bench.health.paused
        assert bench.metric("dagy_loop_enabled") == 0
        assert bench.loop.starts == [0]
        bench.ticker.resume()
        assert bench.metric("dagy_loop_enabled") == 1
        await bench.clock.advance(1)
        assert bench.loop.starts == [0, 35]


async def test_another_loops_trigger_does_not_move_a_loop_that_is_switched_off() -> None:
    bench = Bench(ScriptedLoop(VirtualClock()))
    async with bench.running():
        await bench.clock.advance(1)
        bench.ticker.pause()
        bench.ticker.trigger()
        await bench.clock.advance(20)
        assert bench.loop.starts == [0]
        bench.ticker.resume()
        await bench.clock.advance(1)
        assert bench.loop.starts == [0, 21]


async def test_a_new_policy_counts_at_once_even_for_the_wait_under_way() -> None:
    bench = Bench(ScriptedLoop(VirtualClock()), TickPolicy(interval_s=3600, jitter=0))
    async with bench.running():
        assert bench.metric("dagy_loop_interval_seconds") == 3600
        await bench.clock.advance(30)
        bench.ticker.policy = TickPolicy(interval_s=40, jitter=0)
        assert bench.metric("dagy_loop_interval_seconds") == 40
        await bench.clock.advance(55)
    assert bench.loop.starts == [0, 40, 80]


async def test_a_tick_past_its_deadline_is_reported_and_left_alone() -> None:
    bench = Bench(ScriptedLoop(VirtualClock(), takes_s=100), TickPolicy(interval_s=10, jitter=0, deadline_s=60))
    async with bench.running():
        await bench.clock.advance(60)
        assert bench.ticker.alive() is None
        await bench.clock.advance(1)
        assert bench.ticker.alive() == "a tick has been running for 61 s"
        assert bench.health.hung
        await bench.clock.advance(40)
        assert bench.ticker.alive() is None
        assert bench.loop.starts == [0, 100]


async def test_a_drain_waits_for_the_tick_under_way_and_starts_no_other() -> None:
    bench = Bench(ScriptedLoop(VirtualClock(), takes_s=5))
    async with bench.running():
        await bench.clock.advance(2)
        bench.ticker.trigger()
        bench.drain.begin()
        await bench.clock.advance(1)
        assert bench.health.running_since is not None
    assert bench.loop.starts == [0]
    assert bench.health.ticks == 1
    assert bench.health.last_success is not None


async def test_a_tick_sees_that_the_process_drains() -> None:
    drain = Drain()
    tick = Tick(now=VirtualClock().now(), drain=drain)
    assert not tick.stopping
    drain.begin()
    assert tick.stopping


async def test_a_cancellation_passes_through_the_tick() -> None:
    bench = Bench(ScriptedLoop(VirtualClock(), takes_s=5))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(bench.ticker.run(bench.drain))
        await bench.clock.advance(1)
        task.cancel()
    assert task.cancelled()
    assert bench.health.consecutive_errors == 0
    assert bench.loop.running == 0


async def test_a_loop_that_is_always_due_lets_the_others_run() -> None:
    class Eager:
        name = "eager"

        async def tick(self, tick: Tick) -> float | None:
            return None if tick.stopping else 0.0

    drain = Drain()
    ticker = Ticker(Eager(), EVERY_10_S, VirtualClock(), LoopMetrics(CollectorRegistry()))
    async with asyncio.TaskGroup() as group:
        group.create_task(ticker.run(drain))
        while ticker.health.ticks < 20:
            await VirtualClock().sleep(0)
        drain.begin()


@pytest.mark.parametrize(
    "policy",
    [{"interval_s": 0}, {"interval_s": 5, "jitter": 1}, {"interval_s": 5, "backoff_min_s": 9, "backoff_max_s": 3}],
    ids=str,
)
def test_a_policy_that_cannot_work_is_refused(policy: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="not a usable tick policy"):
        TickPolicy(**policy)
