"""Plain functions for specs that tests write by hand; each is called by import path in a child process or a thread."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

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


def size(value: bytes) -> int:
    return len(value)
