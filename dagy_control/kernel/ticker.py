"""The only loop: when a capability ticks, and what its errors mean."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from dagy_control.errors import Conflict, Gone, Permanent, Transient
from dagy_control.kernel.backoff import backoff_s
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.permit import Permit
from dagy_control.kernel.tasks import background
from dagy_control.kernel.telemetry import LoopMetrics, log
from dagy_control.model.hashing import hashed_fraction

FIRST_TICK_WITHIN_S = 1.0  # loops of one process start within so long of each other, not in the same instant
DUE_WITHIN_S = 1e-6  # closer than a timer can tell: due
RELOAD_S = 1.0  # after a Conflict: the other writer is done, the index may need a moment to show it

_log = log(__name__)


@dataclass(frozen=True, slots=True)
class Tick:
    """What a loop's tick is given: the time of its start, the wish to stop, and the leave to act (None: it needs none)."""

    now: datetime
    drain: Drain
    permit: Permit | None = None

    @property
    def stopping(self) -> bool:
        """True once nothing new may be started: the process drains, or the lease is lost. Ask it before each effect."""
        return self.drain.begun or (self.permit is not None and not self.permit.held)


class Loop(Protocol):
    """A capability, as its ticker sees it."""

    @property
    def name(self) -> str:
        """Unique in the process; a label of metrics and a key of jitter."""
        ...

    async def tick(self, tick: Tick) -> float | None:
        """One pass. Gives the seconds until the next one, None for the configured interval; raises one of `dagy_control.errors`."""
        ...


@dataclass(frozen=True, slots=True)
class TickPolicy:
    """When a loop ticks.

    `interval_s`: from the start of one tick to the start of the next. `jitter`: the fraction of it by which it varies.
    `backoff_min_s`, `backoff_max_s`: the waits after errors that may pass. `deadline_s`: a tick that takes longer counts as
    hung (health turns bad; the tick is not cancelled).
    """

    interval_s: float
    jitter: float = 0.1
    backoff_min_s: float = 1.0
    backoff_max_s: float = 60.0
    deadline_s: float = 600.0

    def __post_init__(self) -> None:
        if (
            self.interval_s <= 0
            or not 0 <= self.jitter < 1
            or not 0 < self.backoff_min_s <= self.backoff_max_s
            or self.deadline_s <= 0
        ):
            raise ValueError(f"not a usable tick policy: {self}")


class TickOutcome(StrEnum):
    """How a tick ended. `Gone` counts as OK."""

    OK = "ok"
    TRANSIENT = "transient"
    CONFLICT = "conflict"
    PERMANENT = "permanent"
    BUG = "bug"


@dataclass(frozen=True, slots=True)
class TickerHealth:
    """A loop's state, for people and for `Health`. `standby`: it has no leave to act; another replica does its work."""

    name: str
    paused: bool
    standby: bool
    ticks: int
    last_success: datetime | None
    running_since: datetime | None
    running_for_s: float
    hung: bool
    consecutive_errors: int
    last_error: str


class Ticker:
    """Runs one loop: never two ticks at once, each at its time, and turns its errors into behaviour.

    `policy` may be replaced at any time; a tick under way ends under the new one. `seed` (a replica's name, say) spreads
    replicas of the same loop. With a `permit` a tick, a triggered one too, starts only while that is held; an overdue one
    as soon as it is.
    """

    def __init__(
        self,
        loop: Loop,
        policy: TickPolicy,
        clock: Clock,
        metrics: LoopMetrics,
        *,
        seed: str = "",
        permit: Permit | None = None,
    ) -> None:
        self._loop = loop
        self._policy = policy
        self._clock = clock
        self._metrics = metrics
        self._permit = permit
        self._jitter_key = f"{loop.name}/{seed}"
        self._log = _log.bind(loop=loop.name)
        self._woken = asyncio.Event()  # the next tick's time may have changed: look again
        self._triggered = False
        self._paused = False
        self._ticks = 0
        self._started_at: float | None = None  # of the tick under way
        self._running_since: datetime | None = None
        self._last_success: datetime | None = None
        self._consecutive_errors = 0
        self._last_error = ""
        metrics.enabled.labels(loop.name).set(1)
        metrics.interval.labels(loop.name).set(policy.interval_s)
        metrics.overruns.labels(loop.name)
        for outcome in TickOutcome:  # at 0 from the start: of a series that begins at 3 Prometheus sees no increase
            metrics.ticks.labels(loop.name, outcome)

    @property
    def name(self) -> str:
        """The loop's name."""
        return self._loop.name

    @property
    def policy(self) -> TickPolicy:
        """When the loop ticks."""
        return self._policy

    @policy.setter
    def policy(self, policy: TickPolicy) -> None:
        self._policy = policy
        self._metrics.interval.labels(self.name).set(policy.interval_s)
        self._woken.set()

    def trigger(self) -> None:
        """Tick now, or right after the tick under way; while paused, as soon as it goes on. Several before that tick are one."""
        self._triggered = True
        self._woken.set()

    def pause(self) -> None:
        """Start no tick until `resume`. A tick under way goes on."""
        self._paused = True
        self._metrics.enabled.labels(self.name).set(0)

    def resume(self) -> None:
        """Tick again; at once if a tick is overdue."""
        self._paused = False
        self._metrics.enabled.labels(self.name).set(1)
        self._woken.set()

    @property
    def health(self) -> TickerHealth:
        """The loop's state now."""
        running_for_s = 0.0 if self._started_at is None else self._clock.monotonic() - self._started_at
        return TickerHealth(
            name=self.name,
            paused=self._paused,
            standby=self._standby,
            ticks=self._ticks,
            last_success=self._last_success,
            running_since=self._running_since,
            running_for_s=running_for_s,
            hung=running_for_s > self._policy.deadline_s,
            consecutive_errors=self._consecutive_errors,
            last_error=self._last_error,
        )

    def alive(self) -> str | None:
        """For `Health.register_alive`: None unless a tick hangs past its deadline. Failing ticks are not a reason to restart."""
        health = self.health
        return f"a tick has been running for {health.running_for_s:.0f} s" if health.hung else None

    async def run(self, drain: Drain) -> None:
        """Tick until the drain begins; a tick under way then is waited for. A service for `Supervisor.add`."""
        origin = self._clock.monotonic()
        offset_s = min(self._policy.jitter * self._policy.interval_s, FIRST_TICK_WITHIN_S) * hashed_fraction(
            self._jitter_key, 0
        )
        wait_s: float | None = offset_s
        while True:
            await drain.interrupt(self._until_startable(origin, wait_s))
            if drain.begun:
                return
            started = self._clock.monotonic()
            wait_s = await self._tick(drain)
            ended = self._clock.monotonic()
            overran = wait_s is None and ended - started > self._policy.interval_s
            if overran:
                self._metrics.overruns.labels(self.name).inc()
            origin = started if wait_s is None and not overran else ended
            wait_s = 0.0 if overran else wait_s

    @property
    def _standby(self) -> bool:
        return self._permit is not None and not self._permit.held

    async def _until_startable(self, origin: float, wait_s: float | None) -> None:
        """Wait until a tick is due and permitted."""
        await self._until_due(origin, wait_s)
        while self._permit is not None and not self._permit.held:
            await self._permit.wait_held()
            await self._until_due(origin, wait_s)  # it may have been paused meanwhile
        self._triggered = False

    async def _until_due(self, origin: float, wait_s: float | None) -> None:
        """Wait until `wait_s` (None: the interval of the policy as it is by then) after `origin`, or until triggered."""
        while self._paused or not self._triggered:
            self._woken.clear()
            left_s = origin + (self._interval_s() if wait_s is None else wait_s) - self._clock.monotonic()
            if self._paused:
                await self._woken.wait()
            elif left_s > DUE_WITHIN_S:
                async with background(self._wake_after(left_s), name=f"{self.name}: next tick"):
                    await self._woken.wait()
            else:
                break

    async def _wake_after(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._woken.set()

    def _interval_s(self) -> float:
        spread = 2 * hashed_fraction(self._jitter_key, self._ticks) - 1
        return self._policy.interval_s * (1 + self._policy.jitter * spread)

    async def _tick(self, drain: Drain) -> float | None:
        """One tick, its errors settled; gives the seconds until the next, None for the interval."""
        self._ticks += 1
        self._started_at, self._running_since = self._clock.monotonic(), self._clock.now()
        try:
            wait_s = await self._loop.tick(Tick(now=self._running_since, drain=drain, permit=self._permit))
        except Exception as error:  # noqa: BLE001 - this is the one place that turns every error of a loop into behaviour
            return self._settle(error)
        else:
            self._succeeded()
            return None if wait_s is None else max(0.0, wait_s)
        finally:
            self._metrics.duration.labels(self.name).observe(self._clock.monotonic() - self._started_at)
            self._started_at = self._running_since = None

    def _succeeded(self) -> None:
        if self._consecutive_errors:
            self._log.info("Loop works again", event_type="LOOP_RECOVERED", errors=self._consecutive_errors)
        self._consecutive_errors, self._last_error = 0, ""
        self._last_success = self._clock.now()
        self._metrics.last_success.labels(self.name).set(self._last_success.timestamp())
        self._metrics.consecutive_errors.labels(self.name).set(0)
        self._metrics.ticks.labels(self.name, TickOutcome.OK).inc()

    def _settle(self, error: Exception) -> float | None:
        """What an error means: count it, log it, and give the seconds until the next tick, None for the interval."""
        causes = _causes(error)
        outcome = max((_outcome_of(cause) for cause in causes), key=_SEVERITY.index)
        if outcome is TickOutcome.OK:
            self._succeeded()
            return None
        self._consecutive_errors += 1
        self._last_error = f"{type(causes[0]).__name__}: " + "; ".join(str(cause) for cause in causes[:3])
        self._metrics.ticks.labels(self.name, outcome).inc()
        self._metrics.consecutive_errors.labels(self.name).set(self._consecutive_errors)
        wait_s = self._wait_after(outcome, causes)
        seen = {
            "event_type": "LOOP_ERROR",
            "outcome": outcome.value,
            "errors": self._consecutive_errors,
            "retry_in_s": wait_s,
        }
        match outcome:
            case TickOutcome.BUG:
                self._log.error("Loop failed by a bug", error=self._last_error, exc_info=error, **seen)
            case TickOutcome.PERMANENT:
                self._log.error("Loop cannot do its work until somebody acts", error=self._last_error, **seen)
            case TickOutcome.CONFLICT:
                self._log.info("Loop was overtaken by another writer and reloads", error=self._last_error, **seen)
            case _:
                self._log.warning("Loop failed and will try again", error=self._last_error, **seen)
        return wait_s

    def _wait_after(self, outcome: TickOutcome, causes: list[Exception]) -> float | None:
        if outcome is TickOutcome.PERMANENT:
            return None
        if outcome is TickOutcome.CONFLICT:
            return min(RELOAD_S, self._policy.interval_s)
        asked_s = max((cause.retry_after_s or 0.0 for cause in causes if isinstance(cause, Transient)), default=0.0)
        policy = self._policy
        return max(
            asked_s,
            backoff_s(
                self._consecutive_errors, min_s=policy.backoff_min_s, max_s=policy.backoff_max_s, key=self._jitter_key
            ),
        )


_SEVERITY = (TickOutcome.OK, TickOutcome.CONFLICT, TickOutcome.TRANSIENT, TickOutcome.PERMANENT, TickOutcome.BUG)


def _causes(error: Exception) -> list[Exception]:
    """The errors themselves: a task group wraps those of its tasks into a group, which says nothing."""
    if isinstance(error, ExceptionGroup):
        return [cause for inner in error.exceptions for cause in _causes(inner)]
    return [error]


def _outcome_of(error: Exception) -> TickOutcome:
    match error:
        case Gone():
            return TickOutcome.OK
        case Conflict():
            return TickOutcome.CONFLICT
        case Transient():
            return TickOutcome.TRANSIENT
        case Permanent():
            return TickOutcome.PERMANENT
        case _:
            return TickOutcome.BUG
