"""The runner with real children and threads. Every wait is bounded and on a condition."""

import asyncio
from pathlib import Path

import pytest

from dagy_control.flow_engine.execution import EngineOptions
from dagy_control.flow_engine.reporting import TaskRunState
from dagy_control.flow_engine.results import ResultLimits
from dagy_control.model.flow_templates import FlowSpecError
from dagy_control.model.flows import Isolation, TaskState
from dagy_control.model.outcomes import SHUTDOWN_MESSAGE
from dagy_control.model.runs import FailureClass, ResultStatus
from tests.flows.running import Run, a_flow, a_task, is_gone, pid_in, until, with_parameter

BOTH = pytest.mark.parametrize("isolation", [Isolation.PROCESS, Isolation.THREAD], ids=["process", "thread"])


@BOTH
async def test_results_flow_along_the_edges_and_into_the_flows_result(isolation: Isolation) -> None:
    spec = with_parameter(
        a_flow(
            a_task("a", "add", 1, {"$param": "n"}, isolation=isolation),
            a_task("b", "later", {"$task": "a"}, isolation=isolation),
            a_task("c", "same", {"x": [{"$task": "a"}, {"$task": "b"}], "t": {"$tuple": [1]}}, isolation=isolation),
            result={"c": {"$task": "c"}, "d": {"$dict": [["$task", 1]]}},
        ),
        "n",
    )
    run = Run(spec, {"n": 4})
    assert (await run.finish()).status is ResultStatus.SUCCEEDED
    assert run.runner.result() == {"c": {"x": [5, 6], "t": (1,)}, "d": {"$task": 1}}
    assert run.reporter.states("c") == [TaskState.RUNNING, TaskState.SUCCEEDED]


async def test_a_child_reports_its_peak_memory_and_duration() -> None:
    run = Run(a_flow(a_task("small", "add"), a_task("large", "allocate", 64)))
    await run.finish()
    small, large = run.reporter.last("small"), run.reporter.last("large")
    assert small.peak_memory_mb is not None
    assert large.peak_memory_mb is not None
    assert large.peak_memory_mb - small.peak_memory_mb > 60
    assert large.duration_s is not None
    assert large.started_at is not None


@BOTH
async def test_an_exception_becomes_text_and_skips_what_depends_on_it(isolation: Isolation) -> None:
    run = Run(
        a_flow(
            a_task("bad", "fail", "no such order", isolation=isolation),
            a_task("next", "same", {"$task": "bad"}, isolation=isolation),
            a_task("last", "same", {"$task": "next"}, isolation=isolation),
            a_task("other", "add", 1, isolation=isolation),
        )
    )
    outcome = await run.finish()
    bad = run.reporter.last("bad")
    assert (bad.state, bad.error_type, bad.error_message) == (TaskState.FAILED, "LookupError", "no such order")
    assert bad.error_traceback is not None
    assert "raise LookupError(message)" in bad.error_traceback
    assert "flow_engine" not in bad.error_traceback
    assert run.reporter.last("last").state is TaskState.SKIPPED
    assert run.reporter.last("other").state is TaskState.SUCCEEDED
    assert (outcome.failed_task, outcome.failure_class) == ("bad", FailureClass.USER_ERROR)
    assert outcome.message == "Task 'bad' FAILED: LookupError: no such order"


@pytest.mark.parametrize(
    ("function", "args", "says"),
    [
        ("drop_dead", (3,), "exit code 3 before it gave a result"),
        ("drop_dead", (0,), "exit code 0 before it gave a result"),
        ("kill_myself", (), "killed by SIGKILL"),
        ("leave", (4,), "4"),
        ("make_unpicklable", (), "cannot be pickled"),
        ("make_large", (5_000_000,), "more than the 1,000,000 bytes allowed"),
    ],
    ids=["exit", "exit zero", "killed", "sys.exit", "unpicklable", "too large"],
)
async def test_whatever_a_child_does_is_the_tasks_failure_and_the_flow_goes_on(
    function: str, args: tuple[int, ...], says: str
) -> None:
    options = EngineOptions(max_concurrency=1, results=ResultLimits(result_bytes_max=1_000_000))
    run = Run(
        a_flow(a_task("bad", function, *args), a_task("good", "add", 2), result={"$task": "good"}), options=options
    )
    outcome = await run.finish()
    assert outcome.failure_class is FailureClass.USER_ERROR
    assert says in outcome.message
    assert run.reporter.last("good").state is TaskState.SUCCEEDED


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("tests.flows.tasks:ad", "has no 'ad'; did you mean 'add'?"),
        ("tests.flows.nothing:x", "there is no module 'tests.flows.nothing'. Looked in"),
        ("no_such_package.module:x", "there is no module 'no_such_package'. Looked in"),
        ("tests.flows.tasks:NOT_CALLABLE", "is a int, not a callable"),
        ("tests.flows.broken_import:x", "ImportError: No module named 'custom_module'"),
    ],
    ids=["attribute", "module", "package", "not callable", "its own import"],
)
@BOTH
async def test_a_callable_that_cannot_be_found_is_said_and_not_retried(
    path: str, says: str, isolation: Isolation
) -> None:
    run = Run(a_flow(a_task("lost", path, retries=3, isolation=isolation)))
    outcome = await run.finish()
    assert outcome.failure_class is FailureClass.IMPORT
    assert "Could not resolve callable for task 'lost'" in outcome.message
    assert says in outcome.message
    assert run.reporter.last("lost").attempt == 1


@pytest.mark.parametrize("function", ["hang", "hang_and_ignore_sigterm", "hang_with_a_grandchild"])
async def test_a_timeout_ends_the_child_and_all_that_it_started(function: str, tmp_path: Path) -> None:
    run = Run(
        a_flow(a_task("slow", function, str(tmp_path), timeout_seconds=1.0), a_task("after", "same", {"$task": "slow"}))
    )
    outcome = await run.finish()
    assert outcome.failure_class is FailureClass.TIMED_OUT
    assert "exceeded timeout of 1 s" in outcome.message
    assert run.reporter.last("slow").state is TaskState.TIMED_OUT
    assert run.reporter.last("after").state is TaskState.SKIPPED
    for file in tmp_path.iterdir():
        pid = int(file.read_text())
        await until(lambda pid=pid: is_gone(pid))


async def test_a_thread_that_times_out_is_abandoned_and_its_place_given_on(tmp_path: Path) -> None:
    spec = a_flow(
        a_task("slow", "wait_for", str(tmp_path), "never", isolation=Isolation.THREAD, timeout_seconds=0.05),
        a_task("next", "add", 1, isolation=Isolation.THREAD),
    )
    run = Run(spec, options=EngineOptions(max_concurrency=1))
    assert (await run.finish()).failure_class is FailureClass.TIMED_OUT
    assert run.reporter.last("next").state is TaskState.SUCCEEDED
    (tmp_path / "never").touch()


async def test_a_retry_follows_a_failure_and_may_succeed(tmp_path: Path) -> None:
    run = Run(
        a_flow(
            a_task("flaky", "fail_until", str(tmp_path), 3, retries=2, retry_delay_seconds=0.01),
            result={"$task": "flaky"},
        )
    )
    assert (await run.finish()).status is ResultStatus.SUCCEEDED
    assert run.runner.result() == 3
    assert run.reporter.states("flaky") == ["RUNNING", "PENDING", "RUNNING", "PENDING", "RUNNING", "SUCCEEDED"]
    retry = run.reporter.changes[1]
    assert (retry.attempt, retry.error_message) == (1, "attempt 1")
    assert retry.retry_at is not None


@BOTH
async def test_a_fan_out_runs_as_many_at_once_as_allowed(isolation: Isolation, tmp_path: Path) -> None:
    tasks = [a_task(f"m-{i}", "meet", str(tmp_path), i, 3, isolation=isolation) for i in range(3)]
    run = Run(a_flow(*tasks, result=[{"$task": task.key} for task in tasks]), options=EngineOptions(max_concurrency=3))
    assert (await run.finish()).status is ResultStatus.SUCCEEDED
    assert run.runner.result() == [0, 1, 2]


async def test_never_more_attempts_run_than_the_flow_allows() -> None:
    tasks = [a_task(f"t-{i}", "add", i, isolation=Isolation.THREAD) for i in range(20)]
    run = Run(a_flow(*tasks, max_concurrency=3), options=EngineOptions(max_concurrency=8))
    await run.finish()
    running, most = 0, 0
    for change in run.reporter.changes:
        running += 1 if change.state is TaskState.RUNNING else -1
        most = max(most, running)
    assert most == 3


async def test_fail_fast_ends_the_running_tasks_and_cancels_the_rest(tmp_path: Path) -> None:
    spec = a_flow(
        a_task("slow", "hang", str(tmp_path)),
        a_task("bad", "fail", retries=0),
        a_task("after", "same", {"$task": "bad"}),
        a_task("waiting", "add", 1),
        fail_fast=True,
    )
    outcome = await (run := Run(spec)).finish()
    assert outcome.failed_task == "bad"
    states = {key: run.reporter.last(key).state for key in ("slow", "after")}
    assert states == {"slow": TaskState.CANCELLED, "after": TaskState.SKIPPED}


async def test_a_shutdown_lets_the_drain_finish_what_is_in_flight_and_cancels_the_rest(tmp_path: Path) -> None:
    spec = a_flow(
        a_task("quick", "wait_for", str(tmp_path), "go"),
        a_task("stuck", "hang", str(tmp_path), "stuck"),
        a_task("next", "same", {"$task": "quick"}),
        a_task("other", "add", 1),
    )
    run = Run(spec)
    running = asyncio.create_task(run.finish(), name="the run")  # noqa: TID251 - the shutdown comes from beside it
    stuck = await pid_in(tmp_path / "stuck")
    await until(lambda: run.reporter.states("quick") == [TaskState.RUNNING])
    run.runner.request_shutdown(1.0)
    await until(lambda: run.reporter.states("other") == [TaskState.CANCELLED])
    (tmp_path / "go").touch()
    outcome = await running
    assert (outcome.failure_class, outcome.message) == (FailureClass.SHUTDOWN, SHUTDOWN_MESSAGE)
    assert {key: run.reporter.last(key).state for key in ("quick", "stuck", "next")} == {
        "quick": TaskState.SUCCEEDED,
        "stuck": TaskState.CANCELLED,
        "next": TaskState.CANCELLED,
    }
    assert is_gone(stuck)


async def test_a_shutdown_before_the_run_starts_nothing() -> None:
    run = Run(a_flow(a_task("a", "add")))
    run.runner.request_shutdown(5)
    outcome = await run.finish()
    assert outcome.failure_class is FailureClass.SHUTDOWN
    assert run.reporter.states("a") == [TaskState.CANCELLED]


async def test_a_cancelled_run_leaves_no_child(tmp_path: Path) -> None:
    run = Run(a_flow(a_task("stuck", "hang", str(tmp_path))))
    running = asyncio.create_task(run.finish(), name="the run")  # noqa: TID251 - it is cancelled from outside
    pid = await pid_in(tmp_path / "pid")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: is_gone(pid))


async def test_a_reporter_that_raises_ends_the_run_and_its_children(tmp_path: Path) -> None:
    run = Run(a_flow(a_task("stuck", "hang", str(tmp_path)), a_task("bad", "wait_for", str(tmp_path), "pid")))
    told = run.reporter.task_changed

    async def task_changed(task: TaskRunState) -> None:
        await told(task)
        if task.state is TaskState.SUCCEEDED:
            raise OSError("the table is gone")

    run.reporter.task_changed = task_changed  # type: ignore[method-assign]  # a reporter that breaks in the middle
    with pytest.raises(OSError, match="the table is gone"):
        await run.finish()
    pid = await pid_in(tmp_path / "pid")
    await until(lambda: is_gone(pid))


async def test_a_flow_that_is_not_valid_or_lacks_parameters_is_refused_before_anything_starts() -> None:
    with pytest.raises(FlowSpecError, match="unknown task 'b'"):
        Run(a_flow(a_task("a", "same", {"$task": "b"})))
    with pytest.raises(FlowSpecError, match="needs the parameter 'n'"):
        Run(with_parameter(a_flow(a_task("a", "add")), "n"))
