"""Attempts in child processes, the worker's side: starts the zygote (see `zygote`), asks it for children, hears how they end.

Callbacks on the event loop, no task for each attempt. Works on any loop that has `add_reader`.
"""

import asyncio
import contextlib
import functools
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence

from dagy_control.errors import DagyError
from dagy_control.flow_engine.attempts import Finished, Listener
from dagy_control.flow_engine.calls import Call, CallEnd
from dagy_control.flow_engine.deaths import explain_status
from dagy_control.flow_engine.graph import SUCCEEDED, AttemptEnd, TaskError
from dagy_control.flow_engine.memory import ContainerMemory
from dagy_control.flow_engine.packing import ResultFile, discard
from dagy_control.flow_engine.zygote import FRAME, LENGTH, Operation
from dagy_control.model.flow_tasks import TaskState

PRELOAD_S_MAX = 120.0
"""A module whose import hangs must not hang the run: past this the zygote is started again without preloading."""
CLOSE_S_MAX = 5.0
READ_BYTES = 1 << 18
MEBIBYTE = 1 << 20

_BOOT = """
import json, sys
options = json.loads(sys.argv[1])
sys.path[:] = options["sys_path"]
from dagy_control.flow_engine.zygote import main
main(options["control"], options["worker_pid"], options["preload"])
"""


class ProcessAttempt:
    """One child: its call is written to it, its answer read from it, and its end told by the zygote."""

    def __init__(
        self,
        call: Call,
        channel: socket.socket,
        send_signal: Callable[[signal.Signals], None],
        *,
        grace_s: float,
        listener: Listener,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener: Listener | None = listener
        self._channel = channel
        self._send_signal = send_signal
        self._grace_s = grace_s
        self._verdict: AttemptEnd | None = None
        self._killed = False
        self._kill_timer: asyncio.TimerHandle | None = None
        packed = pickle.dumps(call, protocol=pickle.HIGHEST_PROTOCOL)
        self._outgoing = memoryview(LENGTH.pack(len(packed)) + packed)
        self._incoming = bytearray()
        self._task_key = call.task_key
        self._packing = call.packing
        self._answer_bytes_max = call.packing.inline_bytes_max + MEBIBYTE  # an error's text comes on top
        channel.setblocking(False)  # noqa: FBT003 - the socket's own signature
        self._loop.add_reader(channel, self._read)
        self._loop.add_writer(channel, self._write)

    def terminate(self, verdict: AttemptEnd) -> None:
        """SIGTERM to the child and all that it started, SIGKILL after the grace."""
        if self._verdict is None and self._listener is not None:
            self._verdict = verdict
            self._send_signal(signal.SIGTERM)
            self._kill_timer = self._loop.call_later(self._grace_s, self._send_signal, signal.SIGKILL)

    def settle(self, explain: Callable[[], TaskError], peak_memory_mb: float | None) -> None:
        """The child is dead. `explain`: what to say if it left neither an answer nor a verdict."""
        with contextlib.suppress(
            OSError
        ):  # what the child wrote before it died is still in the socket; then it would block
            while data := self._channel.recv(READ_BYTES):
                self._incoming += data
        self._loop.remove_reader(self._channel)
        self._loop.remove_writer(self._channel)
        self._channel.close()
        if self._kill_timer is not None:
            self._kill_timer.cancel()
        came = self._answer() or CallEnd(error=explain())
        if self._verdict is not None:
            end, result = self._verdict, None
        elif came.error is None:
            end, result = SUCCEEDED, came.result
        else:
            end, result = AttemptEnd(TaskState.FAILED, came.error), None
        if result is None:
            discard(ResultFile(self._packing.file, 0))  # whatever a child that was ended, or died, has left of it
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.ended(Finished(end, result, peak_memory_mb))

    @property
    def was_signalled(self) -> bool:
        """We have asked for its end: its death is no riddle."""
        return self._verdict is not None or self._killed

    def _answer(self) -> CallEnd | None:
        if len(self._incoming) < LENGTH.size:
            return None
        (size,) = LENGTH.unpack_from(self._incoming)
        if len(self._incoming) != LENGTH.size + size:
            return None
        try:
            return CallEnd.from_bytes(bytes(memoryview(self._incoming)[LENGTH.size :]), self._packing)
        except (ValueError, KeyError, TypeError) as error:
            return CallEnd(
                error=TaskError("BadAnswer", f"task {self._task_key!r} wrote to the engine's own channel: {error}")
            )

    def _read(self) -> None:
        try:
            data = self._channel.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._incoming += data
        if not data:
            self._loop.remove_reader(self._channel)
        elif len(self._incoming) > self._answer_bytes_max:
            self._loop.remove_reader(self._channel)
            self._killed = True
            self._send_signal(signal.SIGKILL)  # our code in the child keeps the bound, so this is not our code any more

    def _write(self) -> None:
        try:
            self._outgoing = self._outgoing[self._channel.send(self._outgoing) :]
        except BlockingIOError:
            return
        except OSError:  # the child died first; the zygote says how
            self._outgoing = self._outgoing[:0]
        if not self._outgoing:
            self._loop.remove_writer(self._channel)


class ProcessHost:
    """Child processes, forked by a zygote that is started again when it dies.

    `preload`: modules that the zygote imports before the first fork. `on_change`: called when `ready` or `failure` changes.
    `memory`: the container's, asked when a child was killed.
    """

    def __init__(
        self,
        *,
        preload: Sequence[str],
        sys_path: Sequence[str],
        stop_grace_s: float,
        on_change: Callable[[], None],
        memory: ContainerMemory,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._memory = memory
        self._preload = list(preload)
        self._sys_path = list(sys_path)
        self._stop_grace_s = stop_grace_s
        self._on_change = on_change
        self._attempts: dict[int, ProcessAttempt] = {}
        self._started = 0
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

    def start(self, call: Call, listener: Listener) -> ProcessAttempt:
        """Fork a child for this call. Only while `ready`."""
        ours, theirs = socket.socketpair()
        self._started += 1
        number = self._started
        attempt = ProcessAttempt(
            call,
            ours,
            lambda sig: self._send(Operation.SIGNAL, number, sig),
            grace_s=self._stop_grace_s,
            listener=listener,
        )
        self._attempts[number] = attempt
        self._send(Operation.SPAWN, number, 0, theirs)
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

    def _open(self) -> None:
        ours, theirs = socket.socketpair()
        options = {
            "control": theirs.fileno(),
            "worker_pid": os.getpid(),
            "preload": self._preload,
            "sys_path": self._sys_path,
        }
        with theirs:
            self._zygote = subprocess.Popen(  # noqa: S603 - our own interpreter and program
                [sys.executable, "-c", _BOOT, json.dumps(options)],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # a terminal's Ctrl-C, or a signal to the worker's group, is the worker's to judge
            )
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
                attempt, peak_memory_mb = self._attempts.pop(number), round(peak_bytes / MEBIBYTE, 1)
                attempt.settle(functools.partial(self._explain, attempt, value, peak_memory_mb), peak_memory_mb)
            elif operation == Operation.FORK_FAILED:
                error = TaskError("ForkFailed", f"no process could be made for the task: {os.strerror(value)}")
                self._attempts.pop(number).settle(functools.partial(_just, error), None)

    def _explain(self, attempt: ProcessAttempt, status: int, peak_memory_mb: float) -> TaskError:
        for_memory = None
        if status == signal.SIGKILL and not attempt.was_signalled:
            for_memory = self._memory.take_kill()
        return explain_status(status, peak_memory_mb, for_memory=for_memory, limit_mb=self._memory.limit_mb)

    def _zygote_died(self) -> None:
        self._hang_up()
        status = self._zygote.wait()  # its socket is closed, so it is gone or about to be
        was_ready, self._ready = self._ready, False
        self._fail_attempts(f"the process that forks the tasks ended (status {status}), and its children with it")
        if was_ready or self._preload:
            if not was_ready:
                self._preload = []  # one of the modules ended it; the child that needs that module will report it
            self._open()
        else:
            self.failure = DagyError(
                f"the process that forks the tasks does not start (status {status}); see standard error"
            )
        self._on_change()

    def _hang_up(self) -> None:
        self._patience.cancel()
        self._loop.remove_reader(self._control)
        self._loop.remove_writer(self._control)
        self._control.close()
        for _, passed in self._outbox:
            if passed is not None:
                passed.close()
        self._outbox.clear()

    def _fail_attempts(self, why: str) -> None:
        attempts, self._attempts = self._attempts, {}
        for attempt in attempts.values():
            attempt.settle(functools.partial(_just, TaskError("ProcessLost", why)), None)

    def _send(self, operation: Operation, number: int, value: int, passed: socket.socket | None = None) -> None:
        if operation is Operation.SIGNAL and number not in self._attempts:
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
