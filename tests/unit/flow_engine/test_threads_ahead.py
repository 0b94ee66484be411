"""Light attempts are handed to threads before they are free. Nobody may notice but the clock."""

import asyncio
from pathlib import Path

from dagy_control.flow_engine.options import EngineOptions
from dagy_control.flow_engine.reporting import TaskRunState
from dagy_control.flow_engine.results import ResultLimits
from dagy_control.model.flow_tasks import Isolation, TaskSpec, TaskState
from dagy_control.model.flow_templates import Json
from dagy_control.model.runs import FailureClass, ResultStatus
from tests.flows.running import Run, a_flow, a_task, until

ONE = EngineOptions(max_concurrency=1)


def light(key: str, function: str, *args: Json) -> TaskSpec:
    return a_task(key, function, *args, isolation=Isolation.THREAD)


async def test_a_shutdown_takes_back_what_has_not_begun(tmp_path: Path) -> None:
    spec = a_flow(light("slow", "wait_for", str(tmp_path), "go"), *(light(f"t{n}", "add", n) for n in range(5)))
    run = Run(spec, options=ONE)
    running = asyncio.create_task(run.finish(), name="the run")  # noqa: TID251 - the shutdown comes from beside it
    await until(lambda: run.reporter.states("slow") == [TaskState.RUNNING])
    run.runner.request_shutdown(30)
    await until(lambda: run.reporter.states("t4") == [TaskState.CANCELLED])
    (tmp_path / "go").touch()
    assert (await running).failure_class is FailureClass.SHUTDOWN
    assert run.reporter.states("slow") == [TaskState.RUNNING, TaskState.SUCCEEDED]
    for n in range(5):
        last = run.reporter.last(f"t{n}")
        assert (run.reporter.states(f"t{n}"), last.attempt) == ([TaskState.CANCELLED], 0)
        assert "Cancelled before it started" in str(last.error_message)


async def test_what_waits_for_a_thread_is_not_told_to_run(tmp_path: Path) -> None:
    spec = a_flow(light("slow", "wait_for", str(tmp_path), "go"), light("next", "add", 1), light("last", "add", 2))
    run = Run(spec, options=ONE)
    running = asyncio.create_task(run.finish(), name="the run")  # noqa: TID251 - looked at while it runs
    await until(lambda: run.reporter.states("slow") == [TaskState.RUNNING])
    assert run.reporter.changes[1:] == []
    (tmp_path / "go").touch()
    await running
    slow, following = run.reporter.last("slow"), run.reporter.last("next")
    assert slow.ended_at is not None
    assert following.started_at is not None
    assert following.started_at >= slow.ended_at
    assert [change.state for change in run.reporter.changes] == [TaskState.RUNNING, TaskState.SUCCEEDED] * 3


async def test_a_thread_that_is_lost_does_not_keep_what_waited_for_it(tmp_path: Path) -> None:
    stuck = a_task("stuck", "wait_for", str(tmp_path), "go", isolation=Isolation.THREAD, timeout_seconds=0.05)
    run = Run(a_flow(stuck, *(light(f"t{n}", "add", n) for n in range(5))), options=ONE)
    await run.finish()
    assert [run.reporter.last(f"t{n}").state for n in range(5)] == [TaskState.SUCCEEDED] * 5
    assert run.reporter.last("stuck").state is TaskState.TIMED_OUT
    (tmp_path / "go").touch()


async def test_after_a_failure_a_fail_fast_flow_of_threads_starts_nothing(tmp_path: Path) -> None:
    later = [light(f"t{n}", "write_pid", str(tmp_path), f"t{n}") for n in range(5)]
    run = Run(a_flow(light("bad", "fail"), *later, fail_fast=True), options=ONE)
    told = run.reporter.task_changed

    async def task_changed(task: TaskRunState) -> None:
        await told(task)
        if task.state is TaskState.FAILED:
            over_s = asyncio.get_running_loop().time() + 0.3
            await until(lambda: asyncio.get_running_loop().time() > over_s)

    run.reporter.task_changed = task_changed  # type: ignore[method-assign]  # a slow one: a thread has time to go on
    assert (await run.finish()).failed_task == "bad"
    assert list(tmp_path.iterdir()) == []


async def test_a_task_that_a_thread_took_by_itself_is_told_to_run_while_it_runs(tmp_path: Path) -> None:
    spec = a_flow(light("quick", "add", 1), light("slow", "wait_for", str(tmp_path), "go"))
    run = Run(spec, options=ONE)
    running = asyncio.create_task(run.finish(), name="the run")  # noqa: TID251 - looked at while it runs
    await until(lambda: run.reporter.states("slow") == [TaskState.RUNNING])
    (tmp_path / "go").touch()
    assert (await running).status is ResultStatus.SUCCEEDED


async def test_large_results_of_many_threads_are_there_for_those_that_take_them(tmp_path: Path) -> None:
    makers = [light(f"m{n}", "make_large", 50_000) for n in range(80)]
    takers = [light(f"t{n}", "size", {"$task": f"m{n}"}) for n in range(80)]
    spec = a_flow(*makers, *takers, result=[{"$task": taker.key} for taker in takers])
    limits = ResultLimits(folder=tmp_path, inline_bytes_max=1_000)
    run = Run(spec, options=EngineOptions(max_concurrency=3, results=limits))
    assert (await run.finish()).status is ResultStatus.SUCCEEDED
    assert run.runner.result() == [50_000] * 80
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_the_time_of_a_task_that_waits_for_a_thread_does_not_run_yet(tmp_path: Path) -> None:
    waiting = a_task("next", "add", 1, isolation=Isolation.THREAD, timeout_seconds=1.0)
    run = Run(a_flow(light("slow", "wait_for", str(tmp_path), "go"), waiting), options=ONE)
    running = asyncio.create_task(run.finish(), name="the run")  # noqa: TID251 - looked at while it runs
    await until(lambda: run.reporter.states("slow") == [TaskState.RUNNING])
    over_s = asyncio.get_running_loop().time() + 1.2
    await until(lambda: asyncio.get_running_loop().time() > over_s)
    (tmp_path / "go").touch()
    assert (await running).status is ResultStatus.SUCCEEDED
