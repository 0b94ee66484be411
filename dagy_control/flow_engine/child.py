"""A child process, from the fork to its end: takes calls from its socket one after the other, as long as it is clean.

An attempt that fails, needs an event loop or leaves anything behind ends its child, and so does the last that the child may take.
The answer says whether the child goes on; if not, the attempt is over when the child is dead, with all that it started.
"""

import contextlib
import contextvars
import ctypes
import os
import pickle
import signal
import socket
import struct
import sys
from pathlib import Path

from dagy_control.flow_engine.calls import Call, perform
from dagy_control.flow_engine.leftovers import Leftovers, peak_bytes

LENGTH = struct.Struct("!Q")
"""Before a call: its bytes."""
ANSWER = struct.Struct("!QQ?")
"""Before an answer: its bytes, the attempt's peak resident memory in bytes, whether the child takes another call."""
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
CHILD_OOM_SCORE = 1000
"""The kernel's out-of-memory killer picks the highest score (proc(5), -1000 to 1000): the largest task, never the worker."""

_EXIT_LOST = 70
_libc = ctypes.CDLL(None, use_errno=True)


def live(channel: socket.socket, zygote_pid: int, calls_max: int) -> None:
    """Take up to `calls_max` calls; returns when this process must end."""
    os.setpgid(0, 0)
    die_with_parent(zygote_pid)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(CHILD_OOM_SCORE))
    me = os.getpid()
    leftovers: Leftovers | None = None
    if calls_max > 1 and _adopt_orphans():
        leftovers = Leftovers()
    for taken in range(calls_max):
        call = _receive_call(channel)
        if taken and (random := sys.modules.get("random")) is not None:
            random.seed()  # as Python does it after a fork: no attempt draws from another one's sequence
        end = contextvars.copy_context().run(perform, call)
        if os.getpid() != me:
            os._exit(_EXIT_LOST)  # the task forked, and this is the copy: the answer is the original's to give
        peak = peak_bytes()  # before the answer is made ready, which is ours
        answer = end.to_bytes()
        clean = leftovers is not None and end.error is None and not end.used_loop and taken + 1 < calls_max
        del call, end  # what the attempt holds must not look like what it left
        again = clean and _flushed() and leftovers is not None and leftovers.after_attempt() is None
        channel.sendall(ANSWER.pack(len(answer), peak, again))
        channel.sendall(answer)
        if not again:
            return


def die_with_parent(parent_pid: int | None) -> None:
    """Ask the kernel for SIGKILL when the parent dies; None takes it back. Linux only, elsewhere without effect."""
    if sys.platform != "linux":
        return
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL if parent_pid else 0, 0, 0, 0)
    if parent_pid and os.getppid() != parent_pid:
        os._exit(_EXIT_LOST)


def _adopt_orphans() -> bool:
    """Become the parent of what an attempt's own children leave (prctl(2)): else a daemon it made would not be seen."""
    return sys.platform == "linux" and not _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _flushed() -> bool:
    """What the attempt printed is out before its end is told. False: a stream was closed or replaced."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except Exception:  # noqa: BLE001 - the streams may be anything that the task has put there
        return False
    return True


def _receive_call(channel: socket.socket) -> Call:
    (size,) = LENGTH.unpack(_receive_exactly(channel, LENGTH.size))
    call = pickle.loads(_receive_exactly(channel, size))  # noqa: S301 - written by the worker that started us
    if not isinstance(call, Call):
        raise TypeError(f"a Call was expected, not a {type(call).__name__}")
    return call


def _receive_exactly(channel: socket.socket, size: int) -> bytes:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = channel.recv_into(view)
        if not count:
            os._exit(_EXIT_LOST)  # the worker is gone, gave up on this attempt, or needs this child no more
        view = view[count:]
    return bytes(data)
