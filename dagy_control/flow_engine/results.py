"""The results of tasks while a flow runs: pickled, kept only as long as somebody still needs them."""

from collections.abc import Mapping

from dagy_control.flow_engine.calls import Call, fill
from dagy_control.model.flow_templates import Json, TaskRef, references
from dagy_control.model.flows import FlowSpec, TaskSpec


class ResultStore:
    """Results by task key. One is dropped when every task that takes it is over, unless the flow's result names it."""

    def __init__(self, spec: FlowSpec, parameters: Mapping[str, Json]) -> None:
        self._template = spec.result
        self._parameters = parameters
        self._results: dict[str, bytes] = {}
        self._upstream = {task.key: task.upstream_keys() for task in spec.tasks}
        self._takers = dict.fromkeys(self._upstream, 0)
        for keys in self._upstream.values():
            for key in keys:
                self._takers[key] += 1
        for ref in references(spec.result):
            if isinstance(ref, TaskRef):
                self._takers[ref.key] += 1

    def put(self, key: str, result: bytes) -> None:
        """Keep a result, if anybody takes it."""
        if self._takers[key]:
            self._results[key] = result

    def call(self, task: TaskSpec, result_bytes_max: int) -> Call:
        """What an attempt of this task needs; its upstreams have all succeeded."""
        results = {key: self._results[key] for key in self._upstream[task.key]}
        return Call(task.key, task.import_path, task.args, task.kwargs, self._parameters, results, result_bytes_max)

    def task_over(self, key: str) -> None:
        """The task takes nothing any more."""
        for upstream in self._upstream[key]:
            self._takers[upstream] -= 1
            if not self._takers[upstream]:
                self._results.pop(upstream, None)

    def flow_result(self) -> object:
        """The flow's result, unpickled here. Only after a flow that succeeded."""
        return fill(self._template, self._parameters, self._results)
