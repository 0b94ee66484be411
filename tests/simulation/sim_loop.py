"""An event loop of our own: virtual time, hosts that crash as by power cut, hosts that stall.

Every asyncio handle belongs to the host in whose context it was made. A crash drops the host's handles and keeps its tasks
referenced, so that nothing of it runs any more: no `finally`, no `except CancelledError`. Interleavings come from the
latencies that the network draws from the seed and, where asked for, from the seed's turn of the ready queue. One seed gives
one trace in every process of one version of CPython.
"""

import asyncio
import contextlib
import contextvars
import heapq
import sys
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVarTuple

from typing_extensions import override

Ts = TypeVarTuple("Ts")

SHUFFLED_ROUNDS = 4
"""One round in so many begins elsewhere than with whoever was ready first."""

HOST: "contextvars.ContextVar[Host | None]" = contextvars.ContextVar("HOST", default=None)

WORK: "contextvars.ContextVar[str]" = contextvars.ContextVar("WORK", default="")
"""What runs, as it was named when it was started on its host: a daemon's loop, say. All that it starts is of the same name."""


class Deadlock(AssertionError):
    """Nothing is ready and nothing is scheduled: the simulation waits for something that never comes."""


@dataclass(eq=False)
class Host:
    """A machine that runs one process. A restarted process is a new host."""

    name: str
    alive: bool = True
    stalled_until: float = 0.0
    tasks: list["asyncio.Task[Any]"] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """What it is: the name's first word."""
        return self.name.partition("-")[0]


class _Handle(asyncio.Handle):
    """asyncio's own, without its questions for the debugging of the loop: a hundred thousand are made in a seed."""

    __slots__ = ()

    def __init__(
        self,
        callback: Callable[..., object],
        args: Sequence[Any],
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context | None,
    ) -> None:
        self._context = contextvars.copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None

    @override
    def cancel(self) -> None:
        self._cancelled = True
        self._callback, self._args = _nothing, ()


class _Timer(_Handle, asyncio.TimerHandle):
    """The same for what is due at a time. The loop keeps no count of cancelled ones: they go when they fall due."""

    __slots__ = ()

    def __init__(self, when: float, *made: Any) -> None:
        _Handle.__init__(self, *made)
        self._when = when
        self._scheduled = False


class SimLoop(asyncio.SelectorEventLoop):
    """`time()` is virtual, in seconds from 0; it moves only when nothing is ready. `shuffled`: the seed turns the ready queue."""

    def __init__(self, seed: int, *, shuffled: bool) -> None:
        self.virtual_s = 0.0
        super().__init__()
        self._seed = seed
        self.on_failure: Callable[[Host, BaseException], None] | None = None
        self._shuffled = shuffled
        self._timers: list[
            tuple[float, int, asyncio.TimerHandle]
        ] = []  # of one time, in the order in which they were set
        self._timers_set = 0
        self._graveyard: list[Any] = []  # kept: letting go of a suspended coroutine would run its `finally`
        self._over = False

    @override
    def time(self) -> float:
        return self.virtual_s

    def _run_once(self) -> None:
        """Rounds until somebody stops the loop, each of what is ready, or else of what falls due next.

        Ours, so that it does not depend on the version of CPython.
        """
        ready, timers = self._ready, self._timers  # type: ignore[attr-defined] # the loop's own queue
        while not self._stopping:  # type: ignore[attr-defined] # asyncio would call this for each round
            while not ready:
                if not timers:
                    raise Deadlock("nothing is scheduled")
                when, _, timer = heapq.heappop(timers)
                if not timer._cancelled:
                    self.virtual_s = max(self.virtual_s, when)
                    ready.append(timer)
            while timers and timers[0][0] <= self.virtual_s:
                ready.append(heapq.heappop(timers)[2])
            if self._shuffled and len(ready) > 1:
                draw = hash((self._seed, self.virtual_s, len(ready)))  # of numbers only: the same in every process
                if draw % SHUFFLED_ROUNDS == 0:
                    ready.rotate(draw // SHUFFLED_ROUNDS % len(ready))
            for _ in range(len(ready)):
                handle = ready.popleft()
                if not handle._cancelled:
                    self._run(handle)

    def _run(self, handle: asyncio.Handle) -> None:
        """As `Handle._run` does it."""
        try:
            handle._context.run(handle._callback, *handle._args)  # type: ignore[attr-defined] # its own attributes
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - as asyncio has it: a callback's error is told, and ends nothing
            self.call_exception_handler({"message": "a callback failed", "exception": error, "handle": handle})

    @override
    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], object], *args: *Ts) -> NoReturn:
        raise AssertionError("nothing in the simulation may leave the event loop")

    @override
    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        host = HOST.get() if context is None else context.get(HOST)
        if self._over or (host is not None and not host.alive):
            return self._buried(callback, args, context)
        if host is not None and host.stalled_until > self.virtual_s:
            return self.call_at(host.stalled_until, callback, *args, context=context)
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined] # the loop's own queue, without its checks for debugging
        return handle

    @override
    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        host = _host_of(context)
        if host is not None and host.stalled_until > when:
            when = host.stalled_until
        timer = _Timer(when, callback, args, self, context)
        self._timers_set += 1
        heapq.heappush(self._timers, (when, self._timers_set, timer))
        return timer

    def start(self, host: Host, coroutine: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
        """Start a task on a host."""
        context = contextvars.copy_context()
        context.run(HOST.set, host)
        context.run(WORK.set, name)
        task = self.create_task(coroutine, name=f"{host.name}: {name}", context=context)
        host.tasks.append(task)
        task.add_done_callback(lambda done: self._ended(host, done))
        return task

    def _ended(self, host: Host, task: "asyncio.Task[Any]") -> None:
        """A task of a host that lives ended by an error: nobody else would ever know."""
        if self.on_failure is not None and host.alive and not self._over and not task.cancelled():
            error = task.exception()
            if error is not None:
                self.on_failure(host, error)

    def crash(self, host: Host) -> None:
        """The power cut. Nothing of the host ever runs again, a request of its on the wire is lost; what has reached others goes on."""
        host.alive = False
        for handle in (*self._ready, *(timer for _, _, timer in self._timers)):  # type: ignore[attr-defined] # the loop's own
            if _host_of(handle._context) is host:
                self._graveyard.append((handle._callback, handle._args))
                handle.cancel()
        self._graveyard.append(host)

    def stall(self, host: Host, seconds: float) -> None:
        """The host's event loop stands still for so long, then goes on as if nothing had been."""
        host.stalled_until = self.virtual_s + seconds
        for handle in list(self._ready):  # type: ignore[attr-defined] # the loop's own queue
            if _host_of(handle._context) is host and not handle.cancelled():
                self.call_at(host.stalled_until, handle._callback, *handle._args, context=handle._context)
                handle.cancel()

    def _buried(self, callback: Callable[..., Any], args: Any, context: contextvars.Context | None) -> asyncio.Handle:
        self._graveyard.append((callback, args, context))
        handle = _Handle(_nothing, (), self, context)
        handle.cancel()
        return handle

    def bury(self) -> None:
        """At the end, when nobody looks any more: let go of everything that is suspended, whatever its `finally` may try."""
        self._over = True
        heard, sys.unraisablehook = sys.unraisablehook, _unheard
        try:
            for task in asyncio.all_tasks(self):
                task._log_destroy_pending = False  # type: ignore[attr-defined] # what asyncio itself sets for tasks it gives up
                coroutine = task.get_coro()
                if coroutine is not None:
                    with contextlib.suppress(BaseException):
                        coroutine.close()
            self._graveyard.clear()
            self._timers.clear()
            self._ready.clear()  # type: ignore[attr-defined] # the loop's own queue
        finally:
            sys.unraisablehook = heard

    @override
    async def shutdown_asyncgens(self) -> None:
        """Nothing: generators of crashed hosts must not run on."""


def _host_of(context: contextvars.Context | None) -> Host | None:
    if context is None:
        return HOST.get()
    return context.get(HOST)


def _unheard(_: "sys.UnraisableHookArgs") -> None:
    """What a suspended generator cries when it is let go of outside of the context that it was made in."""


def _nothing() -> None:
    """The callback of a dead host's handle."""
