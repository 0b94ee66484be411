"""The results of tasks while a flow runs: packed, kept only as long as somebody still needs them, in memory or on this disk.

A result never leaves the machine: a run's attempt is one worker process, and a new attempt begins at the first task again.
"""

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dagy_control.flow_engine.calls import Call, fill
from dagy_control.flow_engine.packing import PackedResult, Packing, ResultFile, discard
from dagy_control.model.flow_tasks import TaskSpec
from dagy_control.model.flow_templates import Json, TaskRef, references
from dagy_control.model.flows import FlowSpec

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultLimits:
    """Where results are kept, in bytes.

    `result_bytes_max`: of one packed result. `inline_bytes_max`: a larger one goes into a file. `memory_bytes_max`: once the others
    hold this much together, every further one goes into a file. `disk_bytes_max`: of all files at once; what would go beyond is its
    task's failure. Tasks that run at that moment may each overshoot it by one result. `folder`: where the files lie, in a folder
    of the run's own; None: the system's folder for temporary files.
    """

    result_bytes_max: int = 256 * MEBIBYTE
    inline_bytes_max: int = 64 * 1024
    memory_bytes_max: int = 64 * MEBIBYTE
    disk_bytes_max: int = 8 * 1024 * MEBIBYTE
    folder: Path | None = None


class ResultStore:
    """Results by task key. One is dropped when every task that takes it is over, unless the flow's result names it."""

    def __init__(
        self,
        spec: FlowSpec,
        parameters: Mapping[str, Json],
        upstream: Mapping[str, tuple[str, ...]],
        limits: ResultLimits,
    ) -> None:
        self._template = spec.result
        self._parameters = parameters
        self._limits = limits
        self._results: dict[str, PackedResult] = {}
        self._upstream = upstream
        self._takers = dict.fromkeys(upstream, 0)
        for keys in upstream.values():
            for key in keys:
                self._takers[key] += 1
        for ref in references(spec.result):
            if isinstance(ref, TaskRef):
                self._takers[ref.key] += 1
        self._memory_bytes = 0
        self._disk_bytes = 0
        self._calls = 0
        self._folder = ""

    def open(self) -> None:
        """Make the folder for the files. `close` removes it; so does the end of this object or of the process."""
        self._folder = tempfile.mkdtemp(prefix="dagy-results-", dir=self._limits.folder)
        self.close = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def call(self, task: TaskSpec) -> Call:
        """What an attempt of this task needs; its upstreams have all succeeded."""
        results = {key: self._results[key] for key in self._upstream[task.key]}
        self._calls += 1
        limits, room = self._limits, self._limits.disk_bytes_max - self._disk_bytes
        inline = limits.inline_bytes_max if self._memory_bytes < limits.memory_bytes_max else 0
        packing = Packing(task.result, f"{self._folder}/{self._calls}", inline, limits.result_bytes_max)
        if room < limits.result_bytes_max:
            why = f", for results that wait to be taken fill {self._disk_bytes:,} of {limits.disk_bytes_max:,} bytes"
            packing = Packing(task.result, packing.file, inline, max(room, inline), why)
        return Call(
            task.key, task.import_path, task.args, task.kwargs, self._parameters, results, packing, task.retry_condition
        )

    def put(self, key: str, result: PackedResult) -> None:
        """Keep a result, if anybody takes it."""
        if not self._takers[key]:
            discard(result)
        else:
            self._results[key] = result
            self._count(result, 1)

    def task_over(self, key: str) -> None:
        """The task takes nothing any more."""
        for upstream in self._upstream[key]:
            self._takers[upstream] -= 1
            if not self._takers[upstream] and upstream in self._results:
                result = self._results.pop(upstream)
                self._count(result, -1)
                discard(result)

    def flow_result(self) -> object:
        """The flow's result, unpacked here. Only after a flow that succeeded."""
        return fill(self._template, self._parameters, self._results)

    def _count(self, result: PackedResult, sign: int) -> None:
        if isinstance(result, ResultFile):
            self._disk_bytes += sign * result.size
        else:
            self._memory_bytes += sign * len(result)
