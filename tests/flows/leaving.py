"""Tasks that leave something behind in their process, for the tests of who gets that process next."""

import contextvars
import locale
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from io import StringIO
from pathlib import Path

from dagy_control.flow_engine.hooks import TaskEvent
from dagy_control.flow_engine.leftovers import Leftovers
from tests.flows.tasks import meet, write_pid

SLEEPER = "import signal; signal.pause()"
tenant = contextvars.ContextVar("tenant", default="nobody")
_kept: list[object] = []


def _thread() -> None:
    threading.Thread(target=threading.Event().wait, daemon=True).start()


def _process() -> None:
    _kept.append(subprocess.Popen([sys.executable, "-c", SLEEPER]))


def _daemon() -> None:
    """A process whose parent has ended, in a session of its own, as daemons are made."""
    script = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEPER!r}], start_new_session=True)"
    subprocess.run([sys.executable, "-c", script], check=True)


def _forked() -> None:
    """A copy of the task's own process, which goes on as if it were the task."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        os.fork()


def _environment() -> None:
    os.environ["TENANT"] = "acme"


def _folder() -> None:
    os.chdir("/")


def _umask() -> None:
    os.umask(0o123)


def _handler() -> None:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def _mask() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])


def _alarm() -> None:
    signal.alarm(600)


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _priority() -> None:
    os.nice(1)


def _path() -> None:
    sys.path.append("/nowhere")


def _locale() -> None:
    locale.setlocale(locale.LC_ALL, "C.UTF-8" if locale.setlocale(locale.LC_ALL) == "C" else "C")


def _recursion() -> None:
    sys.setrecursionlimit(sys.getrecursionlimit() + 1)


def _stream() -> None:
    sys.stdout = StringIO()


def _files() -> None:
    _kept.extend(Path(os.devnull).open() for _ in range(100))  # noqa: SIM115 - left open on purpose


def _memory() -> None:
    _kept.append(b"x" * (100 * 1024 * 1024))


def _nothing() -> None:
    garbage: list[object] = []
    garbage.append(garbage)


WAYS: dict[str, tuple[Callable[[], None], str | None]] = {
    "nothing": (_nothing, None),
    "thread": (_thread, "a thread still runs"),
    "process": (_process, "a process that it started is still there"),
    "daemon": (_daemon, "a process that it started is still there"),
    "forked": (_forked, "a process that it started is still there"),
    "environment": (_environment, "its environment changed"),
    "folder": (_folder, "its working directory changed"),
    "umask": (_umask, "its umask changed"),
    "handler": (_handler, "its signal handlers changed"),
    "mask": (_mask, "its signal mask changed"),
    "alarm": (_alarm, "its timers changed"),
    "limit": (_limit, "its resource limits changed"),
    "priority": (_priority, "its priority changed"),
    "path": (_path, "its module path changed"),
    "locale": (_locale, "its locale changed"),
    "recursion": (_recursion, "its recursion limit changed"),
    "stream": (_stream, "its standard streams changed"),
    "files": (_files, "files are still open"),
    "memory": (_memory, "its memory grew"),
}
"""By name: what leaves something, and what is said of it."""


def leave(way: str) -> tuple[int, str | None]:
    """(this process, why it should take no other call)."""
    leftovers = Leftovers()
    WAYS[way][0]()
    return os.getpid(), leftovers.after_attempt()


def seed_and_set() -> int:
    """Make this process's random numbers and context variables its own."""
    random.seed(7)
    tenant.set("acme")
    return os.getpid()


def draw_and_get() -> tuple[int, float, str]:
    """(this process, a random number, the context variable)."""
    return os.getpid(), random.random(), tenant.get()


async def in_a_loop() -> int:
    return os.getpid()


def say_without_a_line_end(text: str) -> int:
    sys.stdout.write(text)
    return os.getpid()


def fail_once(folder: str) -> tuple[int, int]:
    """Fail the first time; (the process of that time, this one)."""
    note = Path(folder) / "failed"
    if not note.exists():
        note.write_text(str(os.getpid()))
        raise ConnectionError("the first time")
    return int(note.read_text()), os.getpid()


def use_and_give_back(folder: str, mebibytes: int) -> int:
    write_pid(folder, "large")
    return len(b"x" * (mebibytes * 1024 * 1024))


def meet_and_write_pid(folder: str, me: int, others: int) -> None:
    write_pid(folder, f"pid-{me}")
    meet(folder, me, others)


def note_pid(event: TaskEvent) -> None:
    """A hook: append its process to the file that the run's name is."""
    with Path(event.run_id).open("a") as file:
        file.write(f"{os.getpid()}\n")
