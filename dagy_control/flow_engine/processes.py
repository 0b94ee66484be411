"""Attempts in child processes, the worker's side: starts the zygote (see `zygote`), asks it for children, hears how they end.

A child that has ended an attempt well and is clean (see `leftovers`) is kept for the next one.

Callbacks on the event loop, no task for each attempt. Works on any loop that has `add_reader`.
"""

import asyncio
import functools
import json
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence

from dagy_control.errors import DagyError
from dagy_control.flow_engine.attempts import Listener
from dagy_control.flow_engine.calls import Call, CallEnd
from dagy_control.flow_engine.child_attempts import MEBIBYTE, READ_BYTES, Child, ProcessAttempt
from dagy_control.flow_engine.deaths import explain_status
from dagy_control.flow_engine.graph import TaskError
from dagy_control.flow_engine.memory import ContainerMemory
from dagy_control.flow_engine.zygote import FRAME, Operation

PRELOAD_S_MAX = 120.0
"""A module whose import hangs must not hang the run: past this the zygote is started again without preloading."""
CLOSE_S_MAX = 5.0

_BOOT = """
import json, sys
options = json.loads(sys.argv[1])
sys.path[:] = options["sys_path"]
from dagy_control.flow_engine.zygote import main
main(options["control"], options["worker_pid"], options["preload"])
"""


class ProcessHost:
    """Child processes, forked by a zygote that is started again when it dies.

    `preload`: modules that the zygote imports before the first fork. `on_change`: called when `ready` or `failure` changes.
    `memory`: the container's, asked when a child was killed. `attempts_max`: of one child; 1: each attempt has its own.
    """

    def __init__(
        self,
        *,
        preload: Sequence[str],
        sys_path: Sequence[str],
        stop_grace_s: float,
        on_change: Callable[[], None],
        memory: ContainerMemory,
        attempts_max: int = 1,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._memory = memory
        self._preload = list(preload)
        self._sys_path = list(sys_path)
        self._stop_grace_s = stop_grace_s
        self._on_change = on_change
        self._attempts_max = attempts_max
        self._children: dict[int, Child] = {}  # by the numbers that the zygote knows them by
        self._idle: list[Child] = []
        self._forked = 0
        self._ready = False
        self._closed = False
        self.failure: DagyError | None = None
        self._zygote: subprocess.Popen[bytes]
        self._control: socket.socket
        self._inbox: bytearray
        self._outbox: deque[tuple[bytes, socket.socket | None]]
        self._patience: asyncio.TimerHandle
        self._open()

    @property
    def ready(self) -> bool:
        """The zygote has imported its modules and waits."""
        return self._ready

    def start(self, call: Call, listener: Listener, *, fresh: bool = False) -> ProcessAttempt:
        """Hand the call to an idle child, or to a new one; `fresh`: to one that nobody else has used, or will. Only while `ready`."""
        if fresh and self._idle:
            self._idle.pop(0).dismiss()  # so that there are never more children than attempts at once
        child = self._idle.pop() if self._idle and not fresh else self._fork(1 if fresh else self._attempts_max)
        attempt = ProcessAttempt(call, listener, self._stop_grace_s)
        child.perform(attempt)
        return attempt

    async def close(self) -> None:
        """Kill every child and the zygote, and wait for the zygote's end."""
        if self._closed:
            return
        self._closed, self._ready = True, False
        self._hang_up()
        try:
            await asyncio.to_thread(self._zygote.wait, CLOSE_S_MAX)
        except subprocess.TimeoutExpired:
            self._zygote.kill()
            await asyncio.to_thread(self._zygote.wait)
        self._fail_attempts("the run was closed")

    def _fork(self, attempts_max: int) -> Child:
        ours, theirs = socket.socketpair()
        self._forked += 1
        number = self._forked
        child = Child(ours, lambda sig: self._send(Operation.SIGNAL, number, sig), self._idle.append)
        self._children[number] = child
        self._send(Operation.SPAWN, number, attempts_max, theirs)
        return child

    def _open(self) -> None:
        ours, theirs = socket.socketpair()
        options = {
            "control": theirs.fileno(),
            "worker_pid": os.getpid(),
            "preload": self._preload,
            "sys_path": self._sys_path,
        }
        try:
            with theirs:
                self._zygote = subprocess.Popen(  # noqa: S603 - our own interpreter and program
                    [sys.executable, "-c", _BOOT, json.dumps(options)],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # a terminal's Ctrl-C, or a signal to the worker's group, is the worker's to judge
                )
        except OSError:
            ours.close()
            raise
        ours.setblocking(False)  # noqa: FBT003 - the socket's own signature
        self._control, self._inbox, self._outbox = ours, bytearray(), deque()
        self._loop.add_reader(ours, self._read)
        self._patience = self._loop.call_later(PRELOAD_S_MAX, self._zygote.kill)

    def _read(self) -> None:
        try:
            data = self._control.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._zygote_died()
            return
        self._inbox += data
        while len(self._inbox) >= FRAME.size:
            operation, number, value, peak_bytes = FRAME.unpack_from(self._inbox)
            del self._inbox[: FRAME.size]
            if operation == Operation.READY:
                self._patience.cancel()
                self._ready = True
                self._on_change()
            elif operation == Operation.ENDED:
                child, peak_memory_mb = self._gone(number), round(peak_bytes / MEBIBYTE, 1)
                for_memory = self._judge_kill(child, value)
                untaken = child.died(
                    functools.partial(self._explain, value, peak_memory_mb, for_memory=for_memory), peak_memory_mb
                )
                if untaken is not None:
                    self._pass_on(untaken)
            elif operation == Operation.FORK_FAILED:
                self._gone(number).died(functools.partial(_fork_failed, os.strerror(value)), None)

    def _pass_on(self, untaken: ProcessAttempt) -> None:
        """To a new child. Nobody above this callback would hear of an error: it is the attempt's end."""
        try:
            self._fork(self._attempts_max).perform(untaken)
        except OSError as error:
            untaken.settle(CallEnd(error=_fork_failed(str(error))), None)

    def _gone(self, number: int) -> Child:
        child = self._children.pop(number)
        if child in self._idle:
            self._idle.remove(child)
        return child

    def _judge_kill(self, child: Child, status: int) -> bool | None:
        """Whether a child was killed for memory. Asked for an idle one too: else its kill would answer for the next child."""
        return self._memory.take_kill() if status == signal.SIGKILL and not child.was_signalled else None

    def _explain(self, status: int, peak_memory_mb: float, *, for_memory: bool | None) -> TaskError:
        return explain_status(status, peak_memory_mb, for_memory=for_memory, limit_mb=self._memory.limit_mb)

    def _zygote_died(self) -> None:
        self._hang_up()
        status = self._zygote.wait()  # its socket is closed, so it is gone or about to be
        was_ready, self._ready = self._ready, False
        self._fail_attempts(f"the process that forks the tasks ended (status {status}), and its children with it")
        if was_ready or self._preload:
            if not was_ready:
                self._preload = []  # one of the modules ended it; the child that needs that module will report it
            try:
                self._open()
            except OSError as error:  # what takes the zygote, as a lack of memory, may refuse the next one too
                self.failure = DagyError(
                    f"the process that forks the tasks ended, and no other can be started: {error}"
                )
        else:
            self.failure = DagyError(
                f"the process that forks the tasks does not start (status {status}); see standard error"
            )
        self._on_change()

    def _hang_up(self) -> None:
        if self._control.fileno() < 0:
            return
        self._patience.cancel()
        self._loop.remove_reader(self._control)
        self._loop.remove_writer(self._control)
        self._control.close()
        for _, passed in self._outbox:
            if passed is not None:
                passed.close()
        self._outbox.clear()

    def _fail_attempts(self, why: str) -> None:
        children, self._children = self._children, {}
        self._idle.clear()
        for child in children.values():
            child.died(functools.partial(_just, TaskError("ProcessLost", why)), None)

    def _send(self, operation: Operation, number: int, value: int, passed: socket.socket | None = None) -> None:
        if operation is Operation.SIGNAL and number not in self._children:
            return
        self._outbox.append((FRAME.pack(operation, number, value, 0), passed))
        self._flush()

    def _flush(self) -> None:
        while self._outbox:
            frame, passed = self._outbox[0]
            try:
                # A frame is far below a socket's least buffer: it goes whole or not at all.
                socket.send_fds(self._control, [frame], [] if passed is None else [passed.fileno()])
            except BlockingIOError:
                self._loop.add_writer(self._control, self._flush)
                return
            except OSError:  # the zygote is gone; reading its socket says so
                return
            self._outbox.popleft()
            if passed is not None:
                passed.close()
        self._loop.remove_writer(self._control)


def _just(error: TaskError) -> TaskError:
    return error


def _fork_failed(why: str) -> TaskError:
    return TaskError("ForkFailed", f"no process could be made for the task: {why}")
