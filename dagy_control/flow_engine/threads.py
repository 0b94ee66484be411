"""Attempts in threads of this process: for light tasks. A Python thread cannot be ended from outside.

So an attempt that is terminated is *abandoned*: it is reported as ended and its place is given to a new thread, while the old one
runs on until the call returns, and what it then returns is dropped. The threads are daemons: they never hold up the process's exit.
Not `ThreadPoolExecutor`: the interpreter joins its threads at exit, so that one hung call would hang the worker.

A light task is over sooner than the event loop can hand over the next one, and to wake a thread and then the loop for each costs
several times what the task does. So some attempts may be started *ahead*, more than there are threads: a thread takes its next
one by itself, and the loop hears of many ends and beginnings at once.
"""

import asyncio
import contextlib
import threading
from collections import deque
from queue import SimpleQueue
from typing import TypeAlias

from dagy_control.flow_engine.attempts import Finished, Listener, Moment
from dagy_control.flow_engine.calls import Call, CallEnd, perform
from dagy_control.flow_engine.graph import SUCCEEDED, AttemptEnd
from dagy_control.flow_engine.packing import discard
from dagy_control.flow_engine.reporting import EngineClock
from dagy_control.model.flow_tasks import TaskState


class ThreadAttempt:
    """One call in a thread. Whoever pops `_claim` decides: a thread, that it begins; the loop, that it never does."""

    __slots__ = ("_claim", "_host", "_listener", "abandoned", "ahead", "began_at", "call", "came", "ended_at")

    def __init__(self, host: "ThreadHost", call: Call, listener: Listener, *, ahead: bool) -> None:
        self.call = call
        self.ahead = ahead
        self.abandoned = False  # its thread must not take another call
        self.came: CallEnd | None = None
        self.began_at: Moment | None = None
        self.ended_at: Moment | None = None
        self._host = host
        self._listener: Listener | None = listener
        self._claim = [None]

    def claim(self) -> bool:
        """Whether it was still there to be had."""
        try:
            self._claim.pop()
        except IndexError:
            return False
        return True

    def withdraw(self) -> bool:
        """Take it back, if it has not begun; its listener hears nothing more. False: it has begun."""
        if not self.claim():
            return False
        self._listener = None
        return True

    def terminate(self, verdict: AttemptEnd) -> None:
        """Abandon the call. Its listener hears of it at once, from within this method."""
        listener, self._listener = self._listener, None
        if listener is not None:
            if not self.claim() and self.came is None:
                self.abandoned = True
                self._host.lose_thread()
            listener.ended(Finished(verdict))

    def tell(self) -> None:
        """The call has begun, or has returned; too late if it was abandoned."""
        listener, came = self._listener, self.came
        if listener is None:
            if came is not None and came.result is not None:
                discard(came.result)
            return
        if self.ahead and self.began_at is not None:
            self.ahead = False
            listener.began(self.began_at)
        if came is not None:
            self._listener = self.came = None  # it may be among the news a second time
            end = SUCCEEDED if came.error is None else AttemptEnd(TaskState.FAILED, came.error)
            listener.ended(Finished(end, came.result, None, self.ended_at))


_Jobs: TypeAlias = "SimpleQueue[ThreadAttempt | None]"


class ThreadHost:
    """At most `places` threads, made on demand and used again."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: EngineClock, places: int) -> None:
        self._loop = loop
        self._clock = clock
        self._places = places
        self._jobs: _Jobs = SimpleQueue()
        self._news: deque[ThreadAttempt] = deque()
        self._told = False
        self._threads = 0

    @property
    def ready(self) -> bool:
        """Always."""
        return True

    def start(self, call: Call, listener: Listener, *, ahead: bool = False) -> ThreadAttempt:
        """Begin a call in an idle thread, in a new one, or as soon as a thread is free.

        `ahead`: there are as many calls as threads already; the listener hears when this one begins.
        """
        attempt = ThreadAttempt(self, call, listener, ahead=ahead)
        self._jobs.put(attempt)
        if self._threads < self._places:
            self._add_thread()
        return attempt

    def lose_thread(self) -> None:
        """A call was abandoned, and its thread with it; what was started ahead must not wait for that one."""
        self._threads -= 1
        if not self._jobs.empty():
            self._add_thread()

    async def close(self) -> None:
        """Let the idle threads go; abandoned calls run on, and their threads end when they return."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _add_thread(self) -> None:
        self._threads += 1
        threading.Thread(target=self._work, name=f"dagy-task-{self._threads}", daemon=True).start()

    def _work(self) -> None:
        clock, news = self._clock, self._news
        while (attempt := self._jobs.get()) is not None:
            if not attempt.claim():
                continue
            attempt.began_at = Moment(clock.now(), clock.monotonic())
            if attempt.ahead:
                news.append(attempt)
                self._wake()
            attempt.came = perform(attempt.call)
            attempt.ended_at = Moment(clock.now(), clock.monotonic())
            news.append(attempt)
            self._wake()
            if attempt.abandoned:
                return

    def _wake(self) -> None:
        if not self._told:  # else the loop comes anyway, and finds this news too
            self._told = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: it was abandoned and nobody asks any more
                self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._told = False  # before the news are read, so that whoever comes too late for that wakes the loop again
        while self._news:
            self._news.popleft().tell()
