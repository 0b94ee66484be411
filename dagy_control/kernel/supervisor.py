"""The process's life: start the services, wait for the wish to stop, stop them in order, say how it went."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from dagy_control.kernel.clock import Clock
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.tasks import end_tasks, start_task, within
from dagy_control.kernel.telemetry import flush_logs, log

SIGNALS = (signal.SIGTERM, signal.SIGINT)
CANCEL_GRACE_S = 1.0  # what a cancelled service has for its `finally`; not more, because ECS sends SIGKILL soon

Service = Callable[[Drain], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Service:
    name: str
    run: Service
    stage: int


class Supervisor:
    """Runs named services until SIGTERM, SIGINT, `request_drain`, or the end of any of them.

    Draining goes by stages, lowest first: each stage's `Drain` begins when all services of the stages before have ended.
    `drain_timeout_s` bounds all of it (ECS kills 30 s after SIGTERM by default); what is left then is cancelled and named.
    """

    def __init__(self, clock: Clock, *, drain_timeout_s: float) -> None:
        self._clock = clock
        self._drain_timeout_s = drain_timeout_s
        self._services: list[_Service] = []
        self._callbacks: list[Callable[[], None]] = []
        self._drain = Drain()
        self._running: dict[_Service, asyncio.Task[None]] = {}
        self._log = log(__name__)

    @property
    def drain_timeout_s(self) -> float:
        """Seconds that a drain may take in all. May be replaced until it has begun."""
        return self._drain_timeout_s

    @drain_timeout_s.setter
    def drain_timeout_s(self, seconds: float) -> None:
        self._drain_timeout_s = seconds

    def add(self, name: str, run: Service, *, stage: int = 0) -> None:
        """Add a service before `run`. It works until its drain begins and then ends by itself, between two effects."""
        if self._running:
            raise RuntimeError(f"service {name!r} comes too late: the supervisor runs already")
        if any(service.name == name for service in self._services):
            raise ValueError(f"there is a service {name!r} already")
        self._services.append(_Service(name, run, stage))

    def on_drain(self, callback: Callable[[], None]) -> None:
        """Call this the moment the drain begins, before any service is told."""
        self._callbacks.append(callback)

    def request_drain(self, reason: str) -> None:
        """Begin to stop. Idempotent; returns at once. What a callback raises is logged and stops nothing."""
        if self._drain.begun:
            return
        self._log.info("Draining", event_type="DRAIN_BEGUN", reason=reason, timeout_s=self._drain_timeout_s)
        self._drain.begin()
        for callback in self._callbacks:
            try:
                callback()
            except Exception:  # noqa: BLE001 - logged with its traceback; nothing may keep the process from stopping
                self._log.exception("A drain callback failed", event_type="DRAIN_CALLBACK_FAILED")

    async def run(self) -> int:
        """Run until everything has stopped. Exit code 0 after a clean drain; 1 if a service failed or had to be cancelled.

        Call it once, in the main thread (signals). A second SIGTERM or SIGINT ends the process at once, with 128 + its number.
        """
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)
        drains = {service.stage: Drain() for service in self._services}
        self._running = {s: start_task(_call(s.run, drains[s.stage]), name=s.name) for s in self._services}
        try:
            ended_early = await self._until_drain()
            in_time = await self._stop_in_order(drains)
        finally:
            await self._cancel_what_is_left()
            for number in SIGNALS:
                loop.remove_signal_handler(number)
        failed = self._report_failures() or ended_early
        self._log.info("Stopped", event_type="STOPPED", clean=in_time and not failed)
        return 0 if in_time and not failed else 1

    def _on_signal(self, number: signal.Signals) -> None:
        if not self._drain.begun:
            self.request_drain(number.name)
            return
        self._log.warning("Second signal: exiting at once", event_type="EXIT_AT_ONCE", signal=number.name)
        flush_logs()
        os._exit(128 + number)

    async def _until_drain(self) -> bool:
        """Wait for the wish to stop; True if it is ours, because a service ended by itself."""
        wish = start_task(self._drain.wait(), name="wish to stop")
        try:
            await asyncio.wait({wish, *self._running.values()}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_tasks(wish)
        ended = [service.name for service, task in self._running.items() if task.done()]
        if self._drain.begun or not ended:
            return False
        self._log.error("A service ended by itself", event_type="SERVICE_ENDED", services=ended)
        self.request_drain(f"{', '.join(ended)} ended by itself")
        return True

    async def _stop_in_order(self, drains: dict[int, Drain]) -> bool:
        """Stop stage after stage; False if time ran out."""
        try:
            await within(self._clock, self._drain_timeout_s, self._drain_stages(drains), name="drain")
        except TimeoutError:
            self._log.error(
                "The drain took too long",
                event_type="DRAIN_TIMEOUT",
                services=self._left(),
                timeout_s=self._drain_timeout_s,
            )
            return False
        return True

    async def _drain_stages(self, drains: dict[int, Drain]) -> None:
        for stage in sorted(drains):
            drains[stage].begin()
            await asyncio.wait([task for service, task in self._running.items() if service.stage == stage])

    async def _cancel_what_is_left(self) -> None:
        """Cancel, and wait a moment for the `finally` of each service; never for ever, whatever a service does with it."""
        if not self._left():
            return
        self._log.warning("Cancelling services", event_type="SERVICES_CANCELLED", services=self._left())
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        try:
            await within(self._clock, CANCEL_GRACE_S, asyncio.wait(tasks), name="cancelling")
        except TimeoutError:
            self._log.error("Services ignore their cancellation", event_type="SERVICES_STUCK", services=self._left())

    def _left(self) -> list[str]:
        return [service.name for service, task in self._running.items() if not task.done()]

    def _report_failures(self) -> bool:
        """Log what services raised; True if any did."""
        failed = False
        for service, task in self._running.items():
            error = task.exception() if task.done() and not task.cancelled() else None
            if error is not None:
                failed = True
                self._log.error(
                    "A service failed",
                    event_type="SERVICE_FAILED",
                    service=service.name,
                    error=str(error),
                    exc_info=error,
                )
        return failed


async def _call(run: Service, drain: Drain) -> None:
    await run(drain)
