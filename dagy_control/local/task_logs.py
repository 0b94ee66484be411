"""What a task's container writes: one file a task, of bounded size."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TaskLogs:
    """The logs below one folder. `bytes_max`: a longer log is cut, its newest half kept in `<task-id>.log.1`."""

    folder: Path
    bytes_max: int

    def path(self, task_arn: str) -> Path:
        """Where a task's standard output and error go."""
        return self.folder / f"{task_arn.rsplit('/', 1)[1]}.log"

    def open(self, task_arn: str) -> int:
        """A descriptor that appends to the task's log; the caller closes it. Raises `OSError`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return os.open(self.path(task_arn), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def bound(self, task_arn: str) -> None:
        """Cut a log that has grown too long: its newest half moves to `.log.1`, the writer goes on at the start (O_APPEND)."""
        path = self.path(task_arn)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size <= self.bytes_max:
                return
            with path.open("rb+") as log:
                log.seek(-(self.bytes_max // 2), os.SEEK_END)
                path.with_suffix(".log.1").write_bytes(log.read(self.bytes_max // 2))  # the writer goes on meanwhile
                log.truncate(0)
