"""Plain functions for specs that tests write by hand; each is called by import path in a child process or a thread."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from dagy_control.flow_engine.hooks import TaskEvent

NOT_CALLABLE = 3


def add(*numbers: int) -> int:
    return sum(numbers)


def same(value: object) -> object:
    return value


async def later(value: int) -> int:
    await asyncio.sleep(0)  # noqa: TID251 - a user's coroutine
    return value + 1


def fail(message: str = "no such customer") -> None:
    raise LookupError(message)


def leave(code: int) -> None:
    sys.exit(code)


def drop_dead(code: int) -> None:
    os._exit(code)


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def make_unpicklable() -> object:
    return threading.Lock()


def make_large(size: int) -> bytes:
    return b"x" * size


def write_pid(folder: str, name: str = "pid") -> int:
    pid = os.getpid()
    temporary = Path(folder) / f".{name}"
    temporary.write_text(str(pid))
    temporary.rename(Path(folder) / name)
    return pid


def hang(folder: str, name: str = "pid") -> None:
    """Write the process id and never return."""
    write_pid(folder, name)
    while True:
        signal.pause()


def hang_and_ignore_sigterm(folder: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hang(folder)


def hang_with_a_grandchild(folder: str) -> None:
    grandchild = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    (Path(folder) / "grandchild").write_text(str(grandchild.pid))
    hang(folder)


def wait_for(folder: str, name: str) -> str:
    """Return once the file is there."""
    while not (Path(folder) / name).exists():
        time.sleep(0.005)  # noqa: TID251 - a user's function
    return name


def meet(folder: str, me: int, others: int) -> int:
    """Return only when all of them are here at once."""
    (Path(folder) / f"here-{me}").touch()
    for other in range(others):
        wait_for(folder, f"here-{other}")
    return me


def fail_until(folder: str, attempts: int) -> int:
    """Fail until this many attempts have been made."""
    made = len(list(Path(folder).glob("attempt-*"))) + 1
    (Path(folder) / f"attempt-{made}").touch()
    if made < attempts:
        raise ConnectionError(f"attempt {made}")
    return made


def signal_state() -> list[object]:
    """Whether signals are at their default here, and which of them are blocked."""
    defaults = [
        signal.getsignal(number) == signal.SIG_DFL for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD)
    ]
    return [defaults, sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))]


def leave_a_grandchild() -> int:
    """Start a process and return without it."""
    return subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]).pid


def print_loudly() -> None:
    print("to standard output")  # noqa: T201 - a user's function prints
    print("to standard error", file=sys.stderr)  # noqa: T201 - likewise


def allocate(mebibytes: int) -> int:
    return len(bytearray(mebibytes * 1024 * 1024).replace(b"\0", b"x"))


def kill_parent_once(folder: str) -> str:
    """Kill the process that forked this one, and hang; the second time, just return."""
    if (Path(folder) / "pid").exists():
        return "second"
    write_pid(folder)
    os.kill(os.getppid(), signal.SIGKILL)
    while True:
        signal.pause()


def size(value: bytes, after: object = None) -> int:
    return len(value)


def note(event: TaskEvent) -> None:
    """A hook: append what it was told to the file that the run's name is."""
    with Path(event.run_id).open("a") as file:
        file.write(f"{event.kind} {event.task_key} {event.attempt} {event.error_type}\n")


async def note_later(event: TaskEvent) -> None:
    note(event)


def raise_hook(event: TaskEvent) -> None:
    raise RuntimeError(f"no pager for {event.task_key}")


def die_hook(event: TaskEvent) -> None:
    os._exit(7)


def hang_hook(event: TaskEvent) -> None:
    while True:
        signal.pause()


def wait_hook(event: TaskEvent) -> None:
    wait_for(event.run_id, "go")


def is_connection_error(error: BaseException) -> bool:
    """A retry condition."""
    return isinstance(error, ConnectionError)


def broken_condition(error: BaseException) -> bool:
    raise ValueError("cannot judge")


def run_out_of_memory() -> None:
    raise MemoryError("no 8 GiB here")


def allocate_without_end(folder: str) -> None:
    """Take memory until somebody ends it; says first who it is."""
    kept = []
    write_pid(folder)
    while True:
        kept.append(bytearray(b"x" * (4 * 1024 * 1024)))


def oom_score() -> str:
    return Path("/proc/self/oom_score_adj").read_text().strip()


def as_text(value: object) -> str:
    return repr(value)
