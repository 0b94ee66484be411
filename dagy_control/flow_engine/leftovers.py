"""What an attempt has left behind in its child process: whether that child may take a further attempt.

The rule is one: a child is used again only while it looks as it did when it was forked. Whatever an attempt left that would reach
into the next one, and can be seen from outside its code, ends the child. What cannot be seen stays: modules that were imported,
and what they hold. Linux only; elsewhere every child takes one attempt.
"""

import gc
import locale
import os
import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

MEBIBYTE = 1 << 20
GROWTH_BYTES_MAX = 64 * MEBIBYTE
"""Resident memory over what the child had when it was forked: an import of a large library, a cache, a leak."""
DESCRIPTORS_MAX = 64
"""Open files and sockets over those at the fork: a client that is kept has a few, a leak soon has more."""

_SIGNALS = tuple(range(1, 32))
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_LIMITS = tuple(sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}))


class Leftovers:
    """Made in a child before its first attempt; `after_attempt` judges each that has ended well."""

    def __init__(self) -> None:
        self._first = _looks()
        self._descriptors = _descriptors()
        self._resident = peak_bytes()  # a fork starts the peak with what is resident

    def after_attempt(self) -> str | None:
        """Why this child must end; None: it is clean, and its peak memory counts from here.

        Garbage is collected first, so that its finalizers run in the attempt that made it.
        """
        gc.collect()
        gc.freeze()  # the next collection looks only at what the next attempt makes
        if len(sys._current_frames()) > 1:  # noqa: SLF001 - `threading` knows nothing of threads made without it
            return "a thread still runs"
        if _has_children():
            return "a process that it started is still there"
        looks = _looks()
        for what, before in self._first.items():
            if looks[what] != before:
                return f"its {what} changed"
        if _descriptors() - self._descriptors > DESCRIPTORS_MAX:
            return "files are still open"
        if not forget_peak():
            return "its peak memory cannot be reset"
        if peak_bytes() - self._resident > GROWTH_BYTES_MAX:
            return "its memory grew"
        return None


def peak_bytes() -> int:
    """The most memory that was resident since the fork, or since `forget_peak`."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def forget_peak() -> bool:
    """Let the peak begin anew at what is resident now (proc(5), /proc/pid/clear_refs: 5, since Linux 4.0). False: not here."""
    try:
        with Path("/proc/self/clear_refs").open("wb", buffering=0) as file:
            file.write(b"5")
    except OSError:
        return False
    return True


def _looks() -> Mapping[str, object]:
    return {
        "environment": dict(os.environ),
        "working directory": _working_directory(),
        "umask": _umask(),
        "signal handlers": [signal.getsignal(number) for number in _SIGNALS],
        "signal mask": signal.pthread_sigmask(signal.SIG_BLOCK, []),
        "timers": [signal.getitimer(timer)[0] > 0 for timer in _TIMERS],
        "resource limits": [resource.getrlimit(limit) for limit in _LIMITS],
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "module path": list(sys.path),
        "locale": locale.setlocale(locale.LC_ALL),
        "recursion limit": sys.getrecursionlimit(),
        "standard streams": [(id(stream), getattr(stream, "closed", None)) for stream in (sys.stdout, sys.stderr)],
    }


def _umask() -> int:
    umask = os.umask(0o077)  # it can be read only by setting it
    os.umask(umask)
    return umask


def _working_directory() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - a Path would be made for each attempt
    except FileNotFoundError:  # somebody has removed it
        return None


def _has_children() -> bool:
    """A child of this process that runs, or was not waited for; by PR_SET_CHILD_SUBREAPER those of its dead children too."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _descriptors() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - likewise
    except OSError:
        return 0
