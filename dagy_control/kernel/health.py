"""Whether the process is alive (or should be restarted) and ready (or should be left alone)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from dagy_control.kernel.clock import Clock
from dagy_control.kernel.tasks import within

OK = "ok"
DEGRADED = "degraded: "


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The answer to a probe: `components` holds, for each thing looked at, "ok" or the reason why it is not, and the states.

    A reason that begins with "degraded" leaves `ok` as it is.
    """

    ok: bool
    components: Mapping[str, str]


@dataclass(slots=True)
class _ReadyCheck:
    ask: Callable[[], Awaitable[str | None]]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    answered_at: float | None = None
    answer: str = OK


class Health:
    """Gathers checks. A check gives None when all is well, else the reason.

    Alive: the process is not stuck; nothing outside may turn it false, because a restart cures nothing outside. Ready: the
    outside can be reached and nothing drains. Answers of ready checks are kept for `ready_ttl_s` and waited for `timeout_s`
    at most, so that probes neither cost AWS calls nor hang.
    """

    def __init__(self, clock: Clock, *, ready_ttl_s: float = 5.0, timeout_s: float = 3.0) -> None:
        self._clock = clock
        self._ready_ttl_s = ready_ttl_s
        self._timeout_s = timeout_s
        self._alive: dict[str, Callable[[], str | None]] = {}
        self._ready: dict[str, _ReadyCheck] = {}
        self._states: dict[str, Callable[[], str]] = {}
        self._degraded: dict[str, Callable[[], str | None]] = {}
        self._draining = False

    def register_alive(self, name: str, check: Callable[[], str | None]) -> None:
        """Add a check that looks only into this process and answers at once."""
        if name in self._alive or name in self._states:
            raise ValueError(f"there is an alive check {name!r} already")
        self._alive[name] = check

    def register_state(self, name: str, describe: Callable[[], str]) -> None:
        """Add words about a state to the alive report. They say how things are and never turn it false."""
        if name in self._states or name in self._alive:
            raise ValueError(f"there is a state {name!r} already")
        self._states[name] = describe

    def register_ready(self, name: str, check: Callable[[], Awaitable[str | None]]) -> None:
        """Add a check that may ask the outside. What it raises is its reason."""
        if name in self._ready:
            raise ValueError(f"there is a ready check {name!r} already")
        self._ready[name] = _ReadyCheck(check)

    def register_degraded(self, name: str, check: Callable[[], str | None]) -> None:
        """Add to the ready report what somebody should mend while the process does its work: it never turns it false."""
        self._degraded[name] = check

    def begin_drain(self) -> None:
        """Turn ready false from now on. For `Supervisor.on_drain`."""
        self._draining = True

    def alive(self) -> HealthReport:
        """Whether this process is worth keeping."""
        components = {name: check() or OK for name, check in self._alive.items()}
        states = {name: describe() for name, describe in self._states.items()}
        return replace(_report(components), components={**components, **states})

    async def ready(self) -> HealthReport:
        """Can this process do its work now? All checks are asked at the same time."""
        if self._draining:
            return HealthReport(ok=False, components={"drain": "the process is shutting down"})
        answers = await asyncio.gather(*(self._answer(name, check) for name, check in self._ready.items()))
        report = _report(dict(zip(self._ready, answers, strict=True)))
        degraded = {name: f"{DEGRADED}{why}" if (why := check()) else OK for name, check in self._degraded.items()}
        return replace(report, components={**report.components, **degraded})

    async def _answer(self, name: str, check: _ReadyCheck) -> str:
        async with check.lock:  # probes that come together share one answer
            now = self._clock.monotonic()
            if check.answered_at is None or now - check.answered_at >= self._ready_ttl_s:
                try:
                    check.answer = await within(self._clock, self._timeout_s, _asked(check), name=f"ready check {name}")
                except Exception as error:  # noqa: BLE001 - whatever goes wrong while asking is the answer
                    check.answer = str(error) or type(error).__name__
                check.answered_at = self._clock.monotonic()
            return check.answer


async def _asked(check: _ReadyCheck) -> str:
    return await check.ask() or OK


def _report(components: Mapping[str, str]) -> HealthReport:
    return HealthReport(ok=all(reason == OK for reason in components.values()), components=components)
