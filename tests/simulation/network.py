"""Every port call of every host: on its way, applied, answered or not. Here faults are injected and traces are taken."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from dagy_control.errors import DagyError, Permanent, Transient
from tests.simulation.faults import TIMEOUT_S, Fate, FaultPlan, Phase
from tests.simulation.sim_loop import Host, SimLoop

T = TypeVar("T")

EPOCH = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass(eq=False)
class SimClock:
    """`kernel.clock.Clock` on virtual time; each host's wall clock is off by `skew_s`."""

    loop: SimLoop
    skew_s: float = 0.0

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.loop.time() + self.skew_s)

    def monotonic(self) -> float:
        return self.loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))  # noqa: TID251 - on the simulation's own loop


@dataclass(eq=False)
class Network:
    """The one wire. `trace` is what happened, a line an event; `on_crash` is told of hosts that the plan crashes."""

    loop: SimLoop
    plan: FaultPlan
    on_crash: Callable[[Host], None]
    trace: list[str] = field(default_factory=list)
    calls: int = 0
    throttled: int = 0
    numbers: dict[str, int] = field(default_factory=dict)

    def say(self, text: str) -> None:
        """One line of the trace."""
        self.trace.append(f"{self.loop.time():10.3f}  {text}")

    async def call(self, host: Host, name: str, apply: Callable[[], T]) -> T:
        """One call of a host: before it is sent, applied in one instant, its answer delivered or lost."""
        number = self.numbers[host.name] = self.numbers.get(host.name, 0) + 1
        index, self.calls = self.calls, self.calls + 1
        fate = self.plan.fate(name, host.name, number, self.loop.time())
        await self._crash_here(host, index, Phase.BEFORE, name)
        await self._leg(host, number, "out")
        if fate is Fate.THROTTLED:
            self.say(f"{host.name} {name} is throttled")
            raise Transient(f"{name}: ThrottlingException (injected)", throttled=True)
        if fate is Fate.DENIED:
            self.say(f"{host.name} {name} is denied")
            raise Permanent(f"{name}: AccessDeniedException (injected)", code="AccessDeniedException")
        if fate is Fate.ERROR_NOT_APPLIED:
            self.say(f"{host.name} {name} fails with 500, not applied")
            raise Transient(f"{name}: 500 (injected)")
        if fate is Fate.TIMEOUT_NOT_APPLIED:
            self.say(f"{host.name} {name} is lost on the way")
            await asyncio.sleep(TIMEOUT_S)  # noqa: TID251 - on the simulation's own loop
            raise Transient(f"{name}: no answer (injected)")
        answer, error = _outcome(apply)
        self.say(f"{host.name} {name}{f': {error}' if error else ''}" + ("" if fate is Fate.GOOD else f" ({fate})"))
        if isinstance(error, Transient) and error.throttled:
            self.throttled += 1
        await self._crash_here(host, index, Phase.APPLIED, name)
        if fate is Fate.ERROR_APPLIED:
            raise Transient(f"{name}: 500 after it was applied (injected)")
        if fate is Fate.TIMEOUT_APPLIED:
            await asyncio.sleep(TIMEOUT_S)  # noqa: TID251 - on the simulation's own loop
            raise Transient(f"{name}: the answer was lost (injected)")
        await self._leg(host, number, "back")
        await self._crash_here(host, index, Phase.DELIVERED, name)
        if error is not None:
            raise error
        return answer  # type: ignore[return-value] # an answer where there is no error

    async def _leg(self, host: Host, number: int, leg: str) -> None:
        await asyncio.sleep(self.plan.latency_s(host.name, number, leg))  # noqa: TID251 - on the simulation's own loop

    async def _crash_here(self, host: Host, index: int, phase: Phase, name: str) -> None:
        if self.plan.crashes(index, phase):
            self.say(f"{host.name} crashes at {name}, {phase}")
            self.plan.injected[f"crash {phase}"] += 1
            self.on_crash(host)
            await asyncio.get_running_loop().create_future()  # never: this host is dead


def _outcome(apply: Callable[[], T]) -> tuple[T | None, DagyError | None]:
    try:
        return apply(), None
    except DagyError as error:
        return None, error
