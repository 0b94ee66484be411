"""A child process as the worker sees it, and the attempt that it performs. Its calls and answers go over a socket of its own.

Callbacks on the event loop, no task for each attempt. Works on any loop that has `add_reader`.
"""

import asyncio
import pickle
import signal
import socket
from collections.abc import Callable

from dagy_control.flow_engine.attempts import Finished, Listener
from dagy_control.flow_engine.calls import Call, CallEnd
from dagy_control.flow_engine.child import ANSWER, LENGTH
from dagy_control.flow_engine.graph import SUCCEEDED, AttemptEnd, TaskError
from dagy_control.flow_engine.packing import ResultFile, discard
from dagy_control.model.flow_tasks import TaskState

READ_BYTES = 1 << 18
MEBIBYTE = 1 << 20


class ProcessAttempt:
    """One attempt in a child. It ends with the child's answer if the child goes on, else with the child's death."""

    def __init__(self, call: Call, listener: Listener, grace_s: float) -> None:
        self.call = call
        self.child: Child | None = None
        self.verdict: AttemptEnd | None = None
        self._listener: Listener | None = listener
        self._grace_s = grace_s
        self._kill_timer: asyncio.TimerHandle | None = None

    def terminate(self, verdict: AttemptEnd) -> None:
        """SIGTERM to the child and all that it started, SIGKILL after the grace. The child takes no other call."""
        if self.verdict is None and self._listener is not None and self.child is not None:
            self.verdict = verdict
            self.child.send_signal(signal.SIGTERM)
            loop = asyncio.get_running_loop()
            self._kill_timer = loop.call_later(self._grace_s, self.child.send_signal, signal.SIGKILL)

    def settle(self, came: CallEnd, peak_memory_mb: float | None) -> None:
        """It is over."""
        if self._kill_timer is not None:
            self._kill_timer.cancel()
        if self.verdict is not None:
            end, result = self.verdict, None
        elif came.error is None:
            end, result = SUCCEEDED, came.result
        else:
            end, result = AttemptEnd(TaskState.FAILED, came.error), None
        if result is None:
            discard(ResultFile(self.call.packing.file, 0))  # whatever a child that was ended, or died, has left of it
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.ended(Finished(end, result, peak_memory_mb))


class Child:
    """One child process; `on_idle` is called with it when it has answered and takes another call. The zygote tells of its death."""

    def __init__(
        self, channel: socket.socket, send_signal: Callable[[signal.Signals], None], on_idle: Callable[["Child"], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._channel = channel
        self.send_signal = send_signal
        self._on_idle = on_idle
        self._attempt: ProcessAttempt | None = None
        self._killed = False
        self._served = False  # it has ended an attempt well
        self._unread = False  # it died before it had read its last call
        self._outgoing = memoryview(b"")
        self._incoming = bytearray()
        channel.setblocking(False)  # noqa: FBT003 - the socket's own signature
        self._loop.add_reader(channel, self._read)

    @property
    def was_signalled(self) -> bool:
        """We have asked for its end: its death is no riddle."""
        return self._killed or (self._attempt is not None and self._attempt.verdict is not None)

    def perform(self, attempt: ProcessAttempt) -> None:
        """Hand it the attempt's call. Only while it is new or idle."""
        self._attempt, attempt.child = attempt, self
        packed = pickle.dumps(attempt.call, protocol=pickle.HIGHEST_PROTOCOL)
        self._outgoing = memoryview(LENGTH.pack(len(packed)) + packed)
        self._write()
        if self._outgoing:
            self._loop.add_writer(self._channel, self._write)

    def dismiss(self) -> None:
        """It is needed no more: it sees its socket's end, and exits. Only while it is idle."""
        self._hang_up()

    def died(self, explain: Callable[[], TaskError], peak_memory_mb: float | None) -> ProcessAttempt | None:
        """It is dead; gives back the attempt that it died too early to take, while it was idle.

        `explain`: what to say of its attempt if it left neither an answer nor a verdict.
        """
        while self._receive():  # what it wrote before it died is still in the socket
            pass
        self._hang_up()
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return None
        answer = self._answer(attempt)
        if answer is None and attempt.verdict is None and self._served and self._unread:
            return attempt
        attempt.settle(answer[0] if answer else CallEnd(error=explain()), peak_memory_mb)
        return None

    def _hang_up(self) -> None:
        if self._channel.fileno() >= 0:
            self._loop.remove_reader(self._channel)
            self._loop.remove_writer(self._channel)
            self._channel.close()

    def _answer(self, attempt: ProcessAttempt) -> tuple[CallEnd, float, bool] | None:
        """(what came, its peak in MiB, whether the child goes on), once it is here whole."""
        if len(self._incoming) < ANSWER.size:
            return None
        size, peak_bytes, again = ANSWER.unpack_from(self._incoming)
        if len(self._incoming) != ANSWER.size + size:
            return None
        try:
            came = CallEnd.from_bytes(bytes(memoryview(self._incoming)[ANSWER.size :]), attempt.call.packing)
        except (ValueError, KeyError, TypeError) as error:
            text = f"task {attempt.call.task_key!r} wrote to the engine's own channel: {error}"
            return CallEnd(error=TaskError("BadAnswer", text)), 0.0, False
        return came, round(peak_bytes / MEBIBYTE, 1), again

    def _receive(self) -> bytes | None:
        """What there is, kept; empty at the end; None: nothing yet."""
        try:
            data = self._channel.recv(READ_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            self._note_loss(error)
            return b""
        self._incoming += data
        return data

    def _note_loss(self, error: OSError) -> None:
        """A socket whose other end went with something unread in it says so: ECONNRESET, or EPIPE when it was gone before."""
        self._unread = self._unread or isinstance(error, ConnectionError)

    def _read(self) -> None:
        data = self._receive()
        if data is None:
            return
        attempt = self._attempt
        if not data or attempt is None:
            self._loop.remove_reader(self._channel)
            return
        answer = self._answer(attempt)
        if answer is not None:
            came, peak_memory_mb, again = answer
            if again and attempt.verdict is None:
                self._attempt, self._served = None, True
                self._incoming.clear()
                self._on_idle(self)
                attempt.settle(came, peak_memory_mb)
        elif len(self._incoming) > attempt.call.packing.inline_bytes_max + MEBIBYTE:  # an error's text comes on top
            self._loop.remove_reader(self._channel)
            self._killed = True
            self.send_signal(signal.SIGKILL)  # our code in the child keeps the bound, so this is not our code any more

    def _write(self) -> None:
        try:
            self._outgoing = self._outgoing[self._channel.send(self._outgoing) :]
        except BlockingIOError:
            return
        except OSError as error:  # the child died first; the zygote says how
            self._note_loss(error)
            self._outgoing = self._outgoing[:0]
        if not self._outgoing:
            self._loop.remove_writer(self._channel)
