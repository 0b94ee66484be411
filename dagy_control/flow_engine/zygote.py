"""The zygote: a small process, started once for a run, that imports the flow's modules and forks the children (see `child`).

Why not `multiprocessing`'s forkserver: it imports the worker's main module into every child, swallows a preload that fails (or
dies of it), and cannot say what a killed child used. This one imports only the flow's modules; reaps with `wait4`, which gives
the peak memory even of a child that was killed; signals by process group, so that what a task started ends with it; and signals
only children that it has not reaped yet, so that no reused process id is ever hit.

It talks to the worker over one stream socket in frames of fixed size. A child gets its calls, and answers, over a socket of its
own that comes with the SPAWN frame. Nothing survives the worker: when that socket closes the zygote kills all its children and
exits, and on Linux the kernel kills a child whose zygote dies (prctl(2), PR_SET_PDEATHSIG).

Standard output belongs to the worker's JSON log: children print to standard error. This module is standard library only.
"""

import contextlib
import gc
import os
import selectors
import signal
import socket
import struct
import sys
import warnings
from collections.abc import Sequence
from enum import IntEnum

from dagy_control.flow_engine.calls import import_flow_module
from dagy_control.flow_engine.child import die_with_parent, live

FRAME = struct.Struct("!BQiQ")
"""operation, child's number, value (most calls, signal number, wait status, errno), peak resident memory in bytes."""


class Operation(IntEnum):
    """What a frame says. SPAWN and SIGNAL go to the zygote, the others come from it."""

    READY = 1
    SPAWN = 2
    SIGNAL = 3
    ENDED = 4
    FORK_FAILED = 5


class Zygote:
    """The process's whole state: its children and the two descriptors that it listens to."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._pids: dict[int, int] = {}  # child's number to process id, for children that are not reaped
        self._inbox = bytearray()
        self._sockets: list[int] = []  # descriptors that came with SPAWN frames not yet complete
        self._woken, self._waker = socket.socketpair()

    def serve(self) -> None:
        """Answer frames until the worker's end closes; then kill every child and return."""
        self._woken.settimeout(0)
        self._waker.settimeout(0)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        self._send(Operation.READY, 0, 0, 0)
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            connected = True
            while connected:
                for key, _ in selector.select():
                    if key.fileobj is self._woken:
                        with contextlib.suppress(BlockingIOError):
                            self._woken.recv(4096)
                        self._reap()
                    else:
                        connected = self._receive()
        signal.set_wakeup_fd(-1)  # nobody reads it any more, and Python complains of a closed one on standard error
        for pid in self._pids.values():
            _signal_group(pid, signal.SIGKILL)

    def _receive(self) -> bool:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, 4096, 64)
        except ConnectionResetError:  # a killed worker had not read all of our frames
            return False
        self._sockets.extend(descriptors)
        self._inbox += data
        while len(self._inbox) >= FRAME.size:
            operation, number, value, _ = FRAME.unpack_from(self._inbox)
            del self._inbox[: FRAME.size]
            if operation == Operation.SPAWN:
                self._spawn(number, self._sockets.pop(0), value)
            elif operation == Operation.SIGNAL and number in self._pids:
                _signal_group(self._pids[number], signal.Signals(value))
        return bool(data)

    def _spawn(self, number: int, descriptor: int, calls_max: int) -> None:
        zygote_pid = os.getpid()
        try:
            with warnings.catch_warnings():
                # CPython 3.12 warns of forking with threads; a preloaded numeric library may have made some.
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
        except OSError as error:
            os.close(descriptor)
            self._send(Operation.FORK_FAILED, number, error.errno or 0, 0)
            return
        if pid == 0:
            self._become_child(zygote_pid, descriptor, calls_max)
        with contextlib.suppress(OSError):  # both sides set the group, so that neither can be too late
            os.setpgid(pid, pid)
        os.close(descriptor)
        self._pids[number] = pid

    def _become_child(self, zygote_pid: int, descriptor: int, calls_max: int) -> None:
        """Take calls and leave; never returns into the zygote's loop."""
        code = 70
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for owned in (self._control, self._woken, self._waker):
                owned.close()
            with socket.socket(fileno=descriptor) as channel:
                live(channel, zygote_pid, calls_max)
            code = 0
        finally:
            # Not sys.exit: the user's atexit hooks and threads must not keep an answered attempt alive.
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            os._exit(code)

    def _reap(self) -> None:
        """Report every dead child. Its group is killed while the dead child still holds the id, so the id is certainly its."""
        while pid := _dead_child():
            _signal_group(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            for number in [number for number, known in self._pids.items() if known == pid]:
                del self._pids[number]
                peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
                self._send(Operation.ENDED, number, status, peak)

    def _send(self, operation: Operation, number: int, value: int, peak_bytes: int) -> None:
        with contextlib.suppress(OSError):  # the worker is gone: the next read says so
            self._control.sendall(FRAME.pack(operation, number, value, peak_bytes))


def main(control_descriptor: int, worker_pid: int, preload: Sequence[str]) -> None:
    """Entry of the process. `preload`: modules to import before the first fork. `sys.path` is the worker's already."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)  # an ignored signal survives exec
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    die_with_parent(worker_pid)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a text stream of our own making
    for module in preload:
        with contextlib.suppress(BaseException):  # the child that needs it fails the same way, and reports it
            import_flow_module(module)
    gc.freeze()
    # From here the closed socket tells, which lets the zygote end what the tasks themselves have started.
    die_with_parent(None)
    Zygote(socket.socket(fileno=control_descriptor)).serve()


def _dead_child() -> int:
    """The id of a child that is dead and not reaped, 0 if there is none."""
    try:
        dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return 0
    return dead.si_pid if dead else 0


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
