"""Whether the kernel killed a task for lack of memory, and how much the container may use: from its control group's files.

On Fargate one control group holds the worker and all of its children. When it is full the kernel kills the process with the
highest `oom_score_adj` and size (proc(5)), which is a child of ours by `child.CHILD_OOM_SCORE`, and counts it: `oom_kill` in
`memory.events` (control groups version 2, kernel documentation "cgroup-v2"), in `memory.oom_control` (version 1, since Linux 4.13).
"""

import re
from contextlib import suppress
from pathlib import Path

MEBIBYTE = 1 << 20
_ROOT = Path("/sys/fs/cgroup")
_COUNTERS = ("memory.events", "memory.oom_control")
_LIMITS = ("memory.max", "memory.limit_in_bytes")
_UNLIMITED_BYTES = 1 << 60
"""Version 1 writes "no limit" as a number just below 2 to the 63."""


class ContainerMemory:
    """The memory files of one control group. `folder`: where they lie; None: this process's own group, if it can be found."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or own_control_group()
        self._seen = self.kills()

    @property
    def limit_mb(self) -> float | None:
        """What the container may use, in MiB; None when it has no limit of its own, or that cannot be read."""
        for name in _LIMITS:
            text = self._read(name).strip()
            if text.isdecimal() and int(text) < _UNLIMITED_BYTES:
                return round(int(text) / MEBIBYTE, 1)
        return None

    def kills(self) -> int | None:
        """Processes of the container that the kernel has killed for memory; None when it cannot be read."""
        for name in _COUNTERS:
            if found := re.search(r"^oom_kill (\d+)$", self._read(name), re.MULTILINE):
                return int(found[1])
        return None

    def take_kill(self) -> bool | None:
        """Asked for each child that was killed and not by us: whether it was for memory. None: nobody can tell.

        Each counted kill answers for one child.
        """
        kills = self.kills()
        if kills is None or self._seen is None:
            return None
        if kills <= self._seen:
            return False
        self._seen += 1
        return True

    def _read(self, name: str) -> str:
        if self._folder is not None:
            with suppress(OSError, UnicodeDecodeError):
                return (self._folder / name).read_text()
        return ""


def own_control_group() -> Path | None:
    """The folder of this process's control group. Inside a container it is the root of the mount, whatever its path says."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "memory" or not controllers:
                root = _ROOT / "memory" if controllers else _ROOT
                for folder in (root / path.lstrip("/"), root):
                    if any((folder / name).is_file() for name in _COUNTERS):
                        return folder
    return None
