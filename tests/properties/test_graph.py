"""Any graph, any ends, in any order: what must hold of every run of a flow."""

from hypothesis import given
from hypothesis import strategies as st

from dagy_control.flow_engine.graph import AttemptEnd, FlowGraph, StopReason, TaskError
from dagy_control.model.flows import FlowSpec, TaskSpec, TaskState
from dagy_control.model.runs import FailureClass, ResultStatus

ENDS = [
    AttemptEnd(TaskState.SUCCEEDED),
    AttemptEnd(TaskState.SUCCEEDED),
    AttemptEnd(TaskState.FAILED, TaskError("ValueError", "bad")),
    AttemptEnd(TaskState.FAILED, TaskError("ImportError", "gone", failure_class=FailureClass.IMPORT, retryable=False)),
    AttemptEnd(TaskState.TIMED_OUT, TaskError("TimeoutError", "late", failure_class=FailureClass.TIMED_OUT)),
]


LIMITS: dict[str, int | None] = {"free": None, "one": 1, "two": 2}


@st.composite
def flows(draw: st.DrawFn) -> FlowSpec:
    """A flow whose tasks take results of any tasks before them."""
    tasks = []
    for i in range(draw(st.integers(1, 12))):
        upstream = draw(st.sets(st.integers(0, i - 1), max_size=4)) if i else set()
        name = draw(st.sampled_from(sorted(LIMITS)))
        tasks.append(
            TaskSpec(
                key=f"t{i}",
                name=name,
                concurrency_limit=LIMITS[name],
                import_path="m:f",
                args=tuple({"$task": f"t{j}"} for j in sorted(upstream)),
                retries=draw(st.integers(0, 2)),
                retry_delay_seconds=draw(st.sampled_from([0.0, 1.0, 7.5])),
            )
        )
    return FlowSpec(name="f", version="1", import_path="m:g", tasks=tuple(tasks), fail_fast=draw(st.booleans()))


@given(flows(), st.data())
def test_every_run_of_every_flow_keeps_the_rules(spec: FlowSpec, data: st.DataObject) -> None:
    assert spec.validate() == ()
    graph, now_s, running = FlowGraph(spec), 0.0, list[str]()
    ended: dict[str, TaskState] = {}
    upstream = {task.key: task.upstream_keys() for task in spec.tasks}
    names = {task.key: task.name for task in spec.tasks}
    stop_after = data.draw(st.none() | st.integers(0, 20))
    steps = 0
    while not graph.over:
        steps += 1
        assert steps < 400
        changes = graph.stop(StopReason.SHUTDOWN) if steps == stop_after else ()
        taken = graph.take_ready(now_s, data.draw(st.integers(1, 3)))
        for key in taken:
            assert all(graph.state(up) is TaskState.SUCCEEDED for up in upstream[key])
        if taken and data.draw(st.booleans()):
            *taken, unbegun = taken
            graph.give_back(unbegun)
        running += taken
        for name, limit in LIMITS.items():
            assert limit is None or sum(names[key] == name for key in running) <= limit
        if running:
            key = running.pop(data.draw(st.integers(0, len(running) - 1)))
            changes = (*changes, *graph.finish(key, data.draw(st.sampled_from(ENDS)), now_s))
        if graph.next_retry_s is not None and (not running or data.draw(st.booleans())):
            now_s = max(now_s, graph.next_retry_s)
        for change in changes:
            assert change.key not in ended, "a terminal state never changes"
            if change.state.is_terminal:
                ended[change.key] = change.state

    assert running == []
    assert ended == {task.key: graph.state(task.key) for task in spec.tasks}
    for task in spec.tasks:
        state, above = ended[task.key], [ended[up] for up in upstream[task.key]]
        assert graph.attempt(task.key) <= task.retries + 1
        if state is TaskState.SKIPPED:
            assert any(up is not TaskState.SUCCEEDED for up in above)
            assert graph.attempt(task.key) == 0
        elif any(up is not TaskState.SUCCEEDED for up in above):
            assert state is TaskState.CANCELLED
            assert graph.stopped is not None
    succeeded = set(ended.values()) == {TaskState.SUCCEEDED}
    assert (graph.outcome().status is ResultStatus.SUCCEEDED) == succeeded
