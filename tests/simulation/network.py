"""Every port call of every host: on its way, applied, answered or not. Here faults are injected and traces are taken."""

import asyncio
import contextvars
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from dagy_control.errors import DagyError, Permanent, Transient
from tests.simulation.faults import NOT_APPLIED, TIMEOUT_S, TIMEOUTS, Cell, Fate, FaultPlan, Phase
from tests.simulation.purposes import who
from tests.simulation.sim_loop import Host, SimLoop

T = TypeVar("T")

WRITES = (
    "RunTask",
    "StopTask",
    "PutItem",
    "UpdateItem",
    "PutObject",
    "BatchWriteItem",
    "ReceiveMessage",
    "DeleteMessage",
    "ChangeMessageVisibility",
)
"""Calls with an effect. ReceiveMessage hides what it gives."""

STALEST_S = 60.0

EPOCH = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass(eq=False)
class SimClock:
    """`kernel.clock.Clock` on virtual time. Each host's wall clock is off by `skew_s`, its monotonic one runs at `rate`."""

    loop: SimLoop
    skew_s: float = 0.0
    rate: float = 1.0

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.loop.time() + self.skew_s)

    def monotonic(self) -> float:
        return self.loop.time() * self.rate

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds) / self.rate)  # noqa: TID251 - on the simulation's own loop


@dataclass(eq=False)
class Network:
    """The one wire. `trace` is what happened, a line an event; `moments` are those at which a call's host might have crashed.

    `on_crash` is told of hosts that the plan crashes, `on_throttle` of calls that the simulated services throttle by themselves.
    """

    loop: SimLoop
    plan: FaultPlan
    on_crash: Callable[[Host], None]
    on_throttle: Callable[[Host, str], None]
    trace: list[str] = field(default_factory=list)
    calls: int = 0
    moments: set[tuple[int, Phase]] = field(default_factory=set)
    numbers: dict[str, int] = field(default_factory=dict)
    late_sent_s: float | None = None
    """When the effect under way was sent, if it comes long after its caller has given up."""

    def sent_at(self) -> datetime:
        """When the effect under way was sent: now, unless it comes late."""
        return EPOCH + timedelta(seconds=self.loop.time() if self.late_sent_s is None else self.late_sent_s)

    def say(self, text: str) -> None:
        """One line of the trace."""
        self.trace.append(f"{self.loop.time():10.3f}  {text}")

    async def call(
        self, host: Host, name: str, apply: Callable[[], T], *, aged: Callable[[float], T] | None = None
    ) -> T:
        """One call of a host: before it is sent, applied in one instant, its answer delivered or lost.

        `aged`: for an eventually consistent read, the answer as it was so many seconds ago.
        """
        number = self.numbers[host.name] = self.numbers.get(host.name, 0) + 1
        index, self.calls = self.calls, self.calls + 1
        row = f"{who(host)}: {name}"
        writes = name.startswith(WRITES)
        now_s, eventual = self.loop.time(), aged is not None
        cell = self.plan.befalls(row, host.name, number, index, now_s, eventual=eventual, writes=writes)
        await self._crash_if(host, index, cell, Phase.BEFORE)
        await self._leg(host, number, "out", name)
        answer: T | None = None
        error: DagyError | None = None
        if cell.fate is Fate.APPLIED_LATE:
            self._later(name, self.plan.late_s(host.name, number), apply)
        elif cell.fate not in NOT_APPLIED:
            answer, error = _outcome(apply)
        if aged is not None and cell.fate is Fate.STALE and error is None:
            lag_s = self.plan.stale_s(host.name, number) if cell not in self.plan.aimed else STALEST_S
            fresh, (answer, error) = answer, _outcome(lambda: aged(lag_s))
            cell = cell if answer != fresh else self.plan.miss(cell)
        if error is not None and cell.fate in (Fate.ERROR_APPLIED, Fate.TIMEOUT_APPLIED):
            cell = self.plan.miss(cell)
        if isinstance(error, Transient) and error.throttled:
            self.on_throttle(host, name)
        self.say(f"{host.name} {row}{f': {error}' if error else ''}{_said(cell.fate)}")
        await self._crash_if(host, index, cell, Phase.APPLIED)
        if cell.fate in TIMEOUTS:
            await self._silence(cell)
        else:
            await self._leg(host, number, "back", name)
        await self._crash_if(host, index, cell, Phase.DELIVERED)
        self.plan.note(cell)
        if (injected := _injected(name, cell.fate)) is not None:
            raise injected
        if error is not None:
            raise error
        return answer  # type: ignore[return-value] # an answer where there is no error

    def _later(self, name: str, delay_s: float, apply: Callable[[], object]) -> None:
        """The call takes effect though its caller, who may be dead, has given up."""
        sent_s = self.loop.time()

        def arrive() -> None:
            self.late_sent_s = sent_s
            _, error = _outcome(apply)
            self.late_sent_s = None
            self.say(f"{name} of long ago takes effect{f': {error}' if error else ''}")

        self.loop.call_later(delay_s, arrive, context=contextvars.Context())

    async def _silence(self, cell: Cell) -> None:
        """No answer comes. A caller that gives up sooner has met the silence too; what would have come after it has not been."""
        try:
            await asyncio.sleep(TIMEOUT_S)  # noqa: TID251 - on the simulation's own loop
        except asyncio.CancelledError:
            self.plan.aimed.discard(cell)
            self.plan.note(replace(cell, phase=None))
            raise

    async def _leg(self, host: Host, number: int, leg: str, name: str) -> None:
        more_s = sum(slow.more_s(name, leg, self.loop.time()) for slow in self.plan.slow)
        await asyncio.sleep(more_s + self.plan.latency_s(host.name, number, leg))  # noqa: TID251 - on the simulation's own loop

    async def _crash_if(self, host: Host, index: int, cell: Cell, phase: Phase) -> None:
        self.moments.add((index, phase))
        if cell.phase is phase:
            self.say(f"{host.name} crashes at {cell.row}, {phase}{_said(cell.fate)}")
            self.plan.note(cell)
            self.on_crash(host)
            await asyncio.get_running_loop().create_future()  # never: this host is dead


def _said(fate: Fate) -> str:
    return "" if fate is Fate.GOOD else f" ({fate})"


def _injected(name: str, fate: Fate) -> DagyError | None:
    """The error that a fate is to the caller."""
    match fate:
        case Fate.THROTTLED:
            return Transient(f"{name}: ThrottlingException (injected)", throttled=True)
        case Fate.DENIED:
            return Permanent(f"{name}: AccessDeniedException (injected)", code="AccessDeniedException")
        case Fate.ERROR_NOT_APPLIED | Fate.ERROR_APPLIED:
            return Transient(f"{name}: 500 (injected)")
        case Fate.TIMEOUT_NOT_APPLIED | Fate.TIMEOUT_APPLIED | Fate.APPLIED_LATE:
            return Transient(f"{name}: no answer (injected)")
    return None


def _outcome(apply: Callable[[], T]) -> tuple[T | None, DagyError | None]:
    try:
        return apply(), None
    except DagyError as error:
        return None, error
