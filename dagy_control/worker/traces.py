"""Exception traces in S3, one object for each failed attempt of a task, addressed on the task's row."""

from collections.abc import Callable
from urllib.parse import quote

from dagy_control.errors import DagyError
from dagy_control.kernel.telemetry import log
from dagy_control.model.runs import Run
from dagy_control.ports.flows import Artifacts

TRACES_MAX = 200
"""Of one attempt of a run: ten thousand tasks that fail alike need no ten thousand objects. The log has them all."""
_log = log("dagy.worker")


class Traces:
    """Traces that wait to be stored. `prefix`: of their keys, ending with a slash."""

    def __init__(self, run: Run, artifacts: Artifacts, prefix: str) -> None:
        self._run = run
        self._artifacts = artifacts
        self._prefix = prefix
        self._waiting: dict[str, tuple[str, str]] = {}  # task_run_id to key and text
        self._taken = 0

    def keep(self, task_run_id: str, task_try: int, text: str) -> None:
        """Take the trace of one try of a task; a later try's takes the place of one that still waits."""
        if self._taken < TRACES_MAX:
            self._taken += 1
            self._waiting[task_run_id] = (self._key(task_run_id, task_try), text)

    async def store(self, stored: Callable[[str, str], None]) -> None:
        """Store what waits, and tell `stored` (task_run_id, URI) of each. What fails waits for the next time."""
        for task_run_id, (key, text) in list(self._waiting.items()):
            try:
                uri = await self._artifacts.upload(key, text.encode("utf-8", "replace"))
            except DagyError as error:
                _log.warning(
                    "traces not stored", event_type="traces_delayed", traces=len(self._waiting), error=str(error)
                )
                return
            if self._waiting.get(task_run_id) == (key, text):
                del self._waiting[task_run_id]
            stored(task_run_id, uri)

    def _key(self, task_run_id: str, task_try: int) -> str:
        return f"{self._prefix}{self._run.run_id}/{quote(task_run_id.replace('#', '/', 1), safe='/')}.{task_try}.txt"
