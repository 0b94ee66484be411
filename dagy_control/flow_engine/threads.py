"""Attempts in threads of this process: for light tasks. A Python thread cannot be ended from outside.

So an attempt that is terminated is *abandoned*: it is reported as ended and its place is given to the next task, while the thread
runs on until the call returns, and what it then returns is dropped. The threads are daemons: they never hold up the process's exit.
Not `ThreadPoolExecutor`: the interpreter joins its threads at exit, so that one hung call would hang the worker.
"""

import asyncio
import contextlib
import threading
from queue import SimpleQueue
from typing import TypeAlias

from dagy_control.flow_engine.attempts import Finished
from dagy_control.flow_engine.calls import Call, CallEnd, perform
from dagy_control.flow_engine.graph import AttemptEnd
from dagy_control.model.flows import TaskState


class ThreadAttempt:
    """One call in a thread."""

    def __init__(self, call: Call, loop: asyncio.AbstractEventLoop) -> None:
        self.call = call
        self._ended: asyncio.Future[Finished] = loop.create_future()

    @property
    def ended(self) -> asyncio.Future[Finished]:
        """Done when the call has returned or was abandoned."""
        return self._ended

    def terminate(self, verdict: AttemptEnd) -> None:
        """Abandon the call."""
        self._settle(Finished(verdict))

    def deliver(self, came: CallEnd) -> None:
        """The call has returned; too late if it was abandoned."""
        state = TaskState.SUCCEEDED if came.error is None else TaskState.FAILED
        self._settle(Finished(AttemptEnd(state, came.error), came.result))

    def _settle(self, finished: Finished) -> None:
        if not self._ended.done():
            self._ended.set_result(finished)


_Jobs: TypeAlias = "SimpleQueue[ThreadAttempt | None]"


class ThreadHost:
    """Threads that are made on demand, one for each attempt at once, and used again."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: _Jobs = SimpleQueue()
        self._threads = 0
        self._idle = 0

    @property
    def ready(self) -> bool:
        """Always."""
        return True

    def start(self, call: Call) -> ThreadAttempt:
        """Begin a call in an idle thread, or in a new one."""
        attempt = ThreadAttempt(call, self._loop)
        self._jobs.put(attempt)
        if self._idle:
            self._idle -= 1
        else:
            self._threads += 1
            threading.Thread(target=self._work, name=f"dagy-task-{self._threads}", daemon=True).start()
        return attempt

    async def close(self) -> None:
        """Let the idle threads go; abandoned calls run on, and their threads end when they return."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _work(self) -> None:
        while (attempt := self._jobs.get()) is not None:
            came = perform(attempt.call)
            with contextlib.suppress(
                RuntimeError
            ):  # the loop is closed: the call was abandoned and nobody asks any more
                self._loop.call_soon_threadsafe(self._deliver, attempt, came)

    def _deliver(self, attempt: ThreadAttempt, came: CallEnd) -> None:
        self._idle += 1
        attempt.deliver(came)
