"""The processes of a task, seen as its container: who belongs to it, how much memory they hold, and their end."""

import contextlib
import os
import signal
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Watched:
    """A container under a memory limit. `root_pid`: its first process, leader of its session."""

    task_arn: str
    root_pid: int
    memory_limit_bytes: int


@dataclass(frozen=True, slots=True)
class Exceeded:
    """A container that holds more memory than it may, and the process that the kernel would kill for it."""

    container: Watched
    victim_pid: int


def over_limit(containers: Iterable[Watched]) -> list[Exceeded]:
    """The containers whose processes hold more memory than they may. Walks the process table once; blocks some ms."""
    watched = list(containers)
    members = _members({container.root_pid for container in watched})
    exceeding = [c for c in watched if _exceeds(members.get(c.root_pid, []), c.memory_limit_bytes)]
    return [Exceeded(c, _victim(members[c.root_pid], c)) for c in exceeding]


def kill_process(pid: int) -> None:
    """SIGKILL to this one process, as the kernel does when it is out of memory."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def kill_container(root_pid: int) -> None:
    """SIGKILL to everything in the container: its process group, its session, its descendants."""
    processes = _members({root_pid}).get(root_pid, [])
    with contextlib.suppress(ProcessLookupError):
        os.killpg(root_pid, signal.SIGKILL)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def kill_marked(variable: str, value: str) -> int:
    """SIGKILL to every process of ours whose environment holds `variable` with this value; how many there were.

    Finds what tree and session cannot: a daemon that forked twice, or workers of a cloud that was itself killed.
    """
    killed = 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(variable) == value:
                process.kill()
                killed += 1
    return killed


def _members(roots: set[int]) -> dict[int, list[psutil.Process]]:
    """The live processes of each root: itself, its descendants, and whatever shares its session."""
    parents: dict[int, int] = {}
    processes: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            parents[process.pid] = process.ppid()
            processes[process.pid] = process
    members: dict[int, list[psutil.Process]] = defaultdict(list)
    for pid, process in processes.items():
        root = _root_of(pid, parents, roots)
        if root is not None:
            members[root].append(process)
    return members


def _root_of(pid: int, parents: dict[int, int], roots: set[int]) -> int | None:
    seen: set[int] = set()
    ancestor = pid
    while ancestor not in seen:  # a pid reused during the walk could make a ring
        if ancestor in roots:
            return ancestor
        seen.add(ancestor)
        ancestor = parents.get(ancestor, 0)
    with contextlib.suppress(OSError):
        session = os.getsid(pid)
        return session if session in roots else None
    return None


def _victim(processes: list[psutil.Process], container: Watched) -> int:
    """The kernel's choice (`oom_badness` in mm/oom_kill.c): resident memory, and a share of the limit by `oom_score_adj`."""
    badness = {container.root_pid: -1.0}
    for process in processes:
        with contextlib.suppress(psutil.Error, OSError, ValueError):
            score = int(Path(f"/proc/{process.pid}/oom_score_adj").read_text()) if sys.platform == "linux" else 0
            badness[process.pid] = process.memory_info().rss + score / 1000 * container.memory_limit_bytes
    return max(badness, key=lambda pid: badness[pid])


def _exceeds(processes: list[psutil.Process], limit_bytes: int) -> bool:
    """Resident memory first, which is cheap and counts shared pages twice; the proportional share only when in doubt."""
    resident = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            resident += process.memory_info().rss
    if resident <= limit_bytes:
        return False
    share = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            info = process.memory_full_info()
            share += getattr(info, "pss", info.uss)  # proportional on Linux, unique elsewhere
    return share > limit_bytes
