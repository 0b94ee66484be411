"""Alive is about this process, ready is about the outside."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from dagy_control.errors import Transient
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.health import Health
from dagy_control.kernel.lag import LoopLag
from dagy_control.kernel.telemetry import LoopMetrics
from dagy_control.kernel.ticker import Tick, Ticker, TickPolicy
from tests.fakes.clock import VirtualClock


class Check:
    """A ready check that takes a while, gives its answer or raises it, and counts how often it was asked."""

    def __init__(self, clock: VirtualClock, answer: str | Exception | None = None, takes_s: float = 0.0) -> None:
        self.clock = clock
        self.answer = answer
        self.takes_s = takes_s
        self.asked = 0

    async def __call__(self) -> str | None:
        self.asked += 1
        await self.clock.sleep(self.takes_s)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_alive_names_every_component_and_what_is_wrong_with_it() -> None:
    health = Health(VirtualClock())
    health.register_alive("launching", lambda: None)
    assert health.alive().ok
    health.register_alive("reconciling", lambda: "a tick has been running for 700 s")
    report = health.alive()
    assert not report.ok
    assert report.components == {"launching": "ok", "reconciling": "a tick has been running for 700 s"}


@pytest.mark.parametrize(
    ("answer", "takes_s", "reason"),
    [
        pytest.param(None, 1, "ok", id="fine"),
        pytest.param("no table DAGY_RUNS", 1, "no table DAGY_RUNS", id="a reason"),
        pytest.param(Transient("connection refused"), 1, "connection refused", id="an error"),
        pytest.param(KeyError(), 1, "KeyError", id="an error without words"),
        pytest.param(None, 60, "ready check tables did not finish within 3 s", id="too slow"),
    ],
)
async def test_ready_gives_the_checks_answer(answer: str | Exception | None, takes_s: float, reason: str) -> None:
    clock = VirtualClock()
    health = Health(clock)
    health.register_ready("tables", Check(clock, answer, takes_s))
    report = await clock.run(health.ready())
    assert report.components == {"tables": reason}
    assert report.ok == (reason == "ok")
    assert clock.monotonic() <= 1003


async def test_ready_checks_are_asked_at_the_same_time() -> None:
    clock = VirtualClock()
    health = Health(clock)
    health.register_ready("tables", Check(clock, takes_s=2))
    health.register_ready("ecs", Check(clock, takes_s=2))
    assert (await clock.run(health.ready())).ok
    assert clock.monotonic() == 1002


async def test_answers_are_kept_for_a_while_and_shared_by_probes_that_come_together() -> None:
    clock = VirtualClock()
    health = Health(clock, ready_ttl_s=5)
    check = Check(clock, takes_s=1)
    health.register_ready("tables", check)
    await clock.run(_both(health))
    assert check.asked == 1
    await clock.advance(4)
    await clock.run(health.ready())
    assert check.asked == 1
    await clock.advance(1)
    check.answer = "gone"
    assert not (await clock.run(health.ready())).ok
    assert check.asked == 2


async def _both(health: Health) -> None:
    await asyncio.gather(health.ready(), health.ready())


async def test_draining_turns_ready_false_at_once_and_leaves_alive() -> None:
    clock = VirtualClock()
    health = Health(clock)
    check = Check(clock)
    health.register_ready("tables", check)
    assert (await clock.run(health.ready())).ok
    health.begin_drain()
    assert (await health.ready()).components == {"drain": "the process is shutting down"}
    assert health.alive().ok


async def test_an_outage_of_aws_does_not_turn_alive_false_but_a_hung_tick_does() -> None:
    clock, drain = VirtualClock(), Drain()

    class Loop:
        name = "launching"

        async def tick(self, tick: Tick) -> float | None:
            if not tick.stopping and clock.monotonic() < 1300:
                raise Transient("AWS is down")
            await clock.sleep(200)
            return None

    policy = TickPolicy(interval_s=10, deadline_s=60)
    ticker = Ticker(Loop(), policy, clock, LoopMetrics(CollectorRegistry()))
    health = Health(clock)
    health.register_alive(ticker.name, ticker.alive)
    async with asyncio.TaskGroup() as group:
        group.create_task(ticker.run(drain))
        await clock.advance(290)
        assert ticker.health.consecutive_errors > 5
        assert health.alive().ok
        await clock.advance(150)
        assert not health.alive().ok
        drain.begin()
        await clock.advance(200)


async def test_an_outage_of_aws_turns_ready_false_with_its_reason_and_passes() -> None:
    clock = VirtualClock()
    tables = Check(clock, Transient("DynamoDB: connection refused"))
    health = Health(clock)
    health.register_alive("launching", lambda: None)
    health.register_ready("tables", tables)
    health.register_ready("ecs", Check(clock))
    report = await clock.run(health.ready())
    assert (report.ok, health.alive().ok) == (False, True)
    assert report.components == {"tables": "DynamoDB: connection refused", "ecs": "ok"}
    tables.answer = None
    await clock.advance(6)
    assert (await clock.run(health.ready())).ok


async def test_the_event_loops_lag_is_the_worst_of_the_last_minute() -> None:
    clock, registry, drain = VirtualClock(), CollectorRegistry(), Drain()
    lag = LoopLag(registry, clock)
    assert lag.alive() is None

    def worst() -> float | None:
        return registry.get_sample_value("dagy_event_loop_lag_seconds")

    async with asyncio.TaskGroup() as group:
        group.create_task(lag.run(drain))
        await clock.advance(5)
        assert worst() == 0
        assert lag.alive() is None
        clock._elapsed_s += 12  # somebody computes for twelve seconds without giving way
        assert lag.alive() == "the event loop has not answered for 12 s"
        await clock.advance(1)
        assert worst() == pytest.approx(11.5)
        assert lag.alive() is None
        await clock.advance(50)
        assert worst() == pytest.approx(11.5)
        await clock.advance(15)
        assert worst() == 0
        drain.begin()


def test_a_state_is_told_beside_the_checks_and_never_turns_alive_false() -> None:
    health = Health(VirtualClock())
    health.register_alive("launching", lambda: None)
    health.register_state("launching lease", lambda: "standing by: held by other, epoch 3")
    report = health.alive()
    assert report.ok
    assert report.components == {"launching": "ok", "launching lease": "standing by: held by other, epoch 3"}


async def test_what_is_degraded_is_told_by_ready_and_never_turns_it_false() -> None:
    clock = VirtualClock()
    health = Health(clock)
    reasons: list[str | None] = [None, "the last edit was refused"]
    health.register_ready("tables", Check(clock))
    health.register_degraded("configuration", lambda: reasons.pop(0))
    fine, refused = await clock.run(health.ready()), await clock.run(health.ready())
    assert (fine.ok, fine.components) == (True, {"tables": "ok", "configuration": "ok"})
    assert refused.ok
    assert refused.components == {"tables": "ok", "configuration": "degraded: the last edit was refused"}


@pytest.mark.parametrize("kind", ["alive", "ready", "state"])
def test_a_name_taken_twice_is_refused(kind: str) -> None:
    clock = VirtualClock()
    health = Health(clock)

    def register() -> None:
        if kind == "alive":
            health.register_alive("a", lambda: None)
        elif kind == "state":
            health.register_state("a", lambda: "")
        else:
            health.register_ready("a", Check(clock))

    register()
    with pytest.raises(ValueError, match="'a' already"):
        register()
