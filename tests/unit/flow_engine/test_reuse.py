"""Child processes that take one attempt after the other: which of them do, and that one attempt never hurts another."""

import asyncio
import errno
import functools
import os
import random
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from dagy_control.flow_engine.options import EngineOptions
from dagy_control.model.flow_tasks import Isolation, TaskHooks, TaskState
from dagy_control.model.flow_templates import Json
from dagy_control.model.runs import FailureClass, ResultStatus
from tests.flows.leaving import WAYS
from tests.flows.running import Run, a_flow, a_task, is_gone, pid_in, until
from tests.unit.flow_engine.test_memory import count_kills

ONE_AT_A_TIME = EngineOptions(max_concurrency=1, stop_grace_s=0.3)
PID = "os:getpid"


async def results_of(*tasks: Any, options: EngineOptions = ONE_AT_A_TIME) -> list[Any]:
    """What these tasks return, in a flow of one task at a time unless told."""
    result: list[Json] = [{"$task": task.key} for task in tasks]
    run = Run(a_flow(*tasks, result=result), options=options)
    outcome = await run.finish()
    assert outcome.status is ResultStatus.SUCCEEDED, outcome.message
    found = run.runner.result()
    assert isinstance(found, list)
    return found


async def while_it_runs(run: Run, then: Callable[[], Any]) -> None:
    """Run, and do something beside it."""
    running = asyncio.create_task(run.finish(), name="the run")  # noqa: TID251 - something happens beside it
    await then()
    await running


async def test_a_clean_process_takes_the_next_task() -> None:
    assert len(set(await results_of(*(a_task(f"t{n}", PID) for n in range(5))))) == 1


async def test_no_process_takes_more_tasks_than_allowed() -> None:
    options = EngineOptions(max_concurrency=1, tasks_per_process_max=2)
    first, second, third, fourth, fifth = await results_of(*(a_task(f"t{n}", PID) for n in range(5)), options=options)
    assert (first, third) == (second, fourth)
    assert len({first, third, fifth}) == 3


async def test_each_task_has_a_process_of_its_own_if_only_one_is_allowed() -> None:
    options = EngineOptions(max_concurrency=1, tasks_per_process_max=1)
    assert len(set(await results_of(*(a_task(f"t{n}", PID) for n in range(4)), options=options))) == 4


async def test_a_fresh_task_shares_its_process_with_no_other() -> None:
    kinds = [Isolation.PROCESS, Isolation.FRESH, Isolation.PROCESS, Isolation.FRESH, Isolation.FRESH, Isolation.PROCESS]
    pids = await results_of(*(a_task(f"t{n}", PID, isolation=kind) for n, kind in enumerate(kinds)))
    fresh = [pid for pid, kind in zip(pids, kinds, strict=True) if kind is Isolation.FRESH]
    shared = [pid for pid, kind in zip(pids, kinds, strict=True) if kind is Isolation.PROCESS]
    assert len(set(fresh)) == 3
    assert not set(fresh) & set(shared)


async def test_a_failure_ends_the_process_and_a_retry_begins_in_a_new_one(tmp_path: Path) -> None:
    run = Run(
        a_flow(
            a_task("before", PID),
            a_task("failing", "tests.flows.leaving:fail_once", str(tmp_path), retries=1, retry_delay_seconds=0.05),
            a_task("after", PID),
            result=[{"$task": key} for key in ("before", "failing", "after")],
        ),
        options=ONE_AT_A_TIME,
    )
    assert (await run.finish()).status is ResultStatus.SUCCEEDED
    before, (failed, retried), after = cast("list[Any]", run.runner.result())
    assert failed == before, "the first attempt had a process that was used"
    assert after != before
    assert retried not in (before, after), "the retry had one for itself"


async def test_a_process_with_anything_left_in_it_takes_no_other_task() -> None:
    ways = list(WAYS)
    found = await results_of(*(a_task(way, "tests.flows.leaving:leave", way) for way in ways), a_task("last", PID))
    last = found.pop()
    assert {way: why for way, (_, why) in zip(ways, found, strict=True)} == {way: why for way, (_, why) in WAYS.items()}
    pids = [pid for pid, _ in found]
    assert ways[0] == "nothing"
    assert pids[0] == pids[1], "a clean one goes on"
    assert len({*pids, last}) == len(pids), "and each of the others is left alone"


async def test_a_coroutine_takes_its_process_along() -> None:
    """What it leaves (clients, locks) belongs to an event loop that is closed."""
    function = "tests.flows.leaving:in_a_loop"
    assert len(set(await results_of(a_task("a", function), a_task("b", function), a_task("c", PID)))) == 3


async def test_random_numbers_and_context_variables_are_the_attempts_own() -> None:
    seeded, (pid, drawn, tenant) = await results_of(
        a_task("a", "tests.flows.leaving:seed_and_set"), a_task("b", "tests.flows.leaving:draw_and_get")
    )
    assert pid == seeded
    assert drawn != random.Random(7).random()
    assert tenant == "nobody"


async def test_what_a_task_prints_is_out_before_its_end_is_told(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # the zygote's streams are like a worker's
    run = Run(
        a_flow(a_task("a", "tests.flows.leaving:say_without_a_line_end", "half a line"), a_task("b", "kill_myself")),
        options=ONE_AT_A_TIME,
    )
    await run.finish()
    assert run.reporter.last("a").state is TaskState.SUCCEEDED
    assert "half a line" in capfd.readouterr().err


async def test_each_attempt_has_a_peak_of_its_own(tmp_path: Path) -> None:
    run = Run(
        a_flow(
            a_task("large", "tests.flows.leaving:use_and_give_back", str(tmp_path), 200),
            a_task("small", "write_pid", str(tmp_path), "small"),
            a_task("killed", "kill_myself"),
        ),
        options=ONE_AT_A_TIME,
    )
    await run.finish()
    assert (tmp_path / "large").read_text() == (tmp_path / "small").read_text(), "one process did both"
    peaks = {key: run.reporter.last(key).peak_memory_mb or 0 for key in ("large", "small", "killed")}
    assert peaks["large"] > 200
    assert 0 < peaks["small"] < 150
    assert 0 < peaks["killed"] < 150, "by the kernel's word too"


async def test_a_timeout_ends_a_used_process_and_no_other(tmp_path: Path) -> None:
    folder = str(tmp_path)
    run = Run(
        a_flow(
            a_task("warm-1", "tests.flows.leaving:meet_and_write_pid", folder, 0, 2),
            a_task("warm-2", "tests.flows.leaving:meet_and_write_pid", folder, 1, 2),
            a_task("hangs", "hang", folder, "pid", timeout_seconds=0.5),
            a_task("goes-on", "wait_for", folder, "go"),
            a_task("after", PID),
            result=[{"$task": "after"}],
        ),
        options=EngineOptions(max_concurrency=2, stop_grace_s=0.3),
    )

    async def beside() -> None:
        pid = await pid_in(tmp_path / "pid")
        await until(lambda: is_gone(pid))
        (tmp_path / "go").touch()

    await while_it_runs(run, beside)
    assert (tmp_path / "pid").read_text() in {(tmp_path / name).read_text() for name in ("pid-0", "pid-1")}
    assert run.reporter.last("hangs").state is TaskState.TIMED_OUT
    assert {run.reporter.last(key).state for key in ("goes-on", "after")} == {TaskState.SUCCEEDED}


async def test_a_used_process_that_the_kernel_kills_for_memory_says_so_and_others_go_on(tmp_path: Path) -> None:
    count_kills(tmp_path, 0)
    folder = str(tmp_path)
    run = Run(
        a_flow(
            a_task("warm", PID),
            a_task("victim", "hang", folder, "pid"),
            a_task("after", PID),
            result=[{"$task": "after"}],
        ),
        options=EngineOptions(max_concurrency=1, stop_grace_s=0.3, cgroup_dir=tmp_path),
    )

    async def beside() -> None:
        pid = await pid_in(tmp_path / "pid")
        count_kills(tmp_path, 1)
        os.kill(pid, signal.SIGKILL)

    await while_it_runs(run, beside)
    assert run.outcome.failure_class is FailureClass.OUT_OF_MEMORY
    assert run.reporter.last("victim").error_type == "OutOfMemory"
    assert run.reporter.last("after").state is TaskState.SUCCEEDED


@pytest.mark.parametrize("stopped", [False, True], ids=["it is gone", "the call is on its way"])
async def test_an_idle_process_that_is_killed_costs_no_task_and_answers_for_its_own_death(
    tmp_path: Path, *, stopped: bool
) -> None:
    """The kernel takes an idle child; the next task runs, and the next that is killed is not blamed for memory."""
    count_kills(tmp_path, 0)
    folder = str(tmp_path)
    waiter = a_task("waiter", "wait_for", folder, "go", isolation=Isolation.THREAD)
    run = Run(
        a_flow(
            a_task("warm", "write_pid", folder, "pid"),
            waiter,
            a_task("next", "write_pid", folder, "next"),
            a_task("killed", "kill_myself"),
            max_concurrency=1,
        ),
        options=EngineOptions(stop_grace_s=0.3, cgroup_dir=tmp_path),
    )

    async def beside() -> None:
        pid = await pid_in(tmp_path / "pid")
        await until(lambda: run.reporter.states("waiter") == [TaskState.RUNNING])
        count_kills(tmp_path, 1)
        if stopped:
            os.kill(pid, signal.SIGSTOP)
            (tmp_path / "go").touch()
            await until(lambda: run.reporter.states("next") == [TaskState.RUNNING])
        os.kill(pid, signal.SIGKILL)
        if not stopped:
            await until(lambda: is_gone(pid))
        (tmp_path / "go").touch()

    await while_it_runs(run, beside)
    assert run.reporter.last("next").state is TaskState.SUCCEEDED
    assert run.reporter.states("next") == [TaskState.RUNNING, TaskState.SUCCEEDED], "its attempt was not used up"
    assert "it was not the kernel for lack of memory" in str(run.reporter.last("killed").error_message)


async def test_a_call_that_its_dead_process_has_not_read_fails_if_no_other_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(tmp_path)
    run = Run(
        a_flow(
            a_task("warm", "write_pid", folder, "pid"),
            a_task("waiter", "wait_for", folder, "go", isolation=Isolation.THREAD),
            a_task("next", PID),
            a_task("after", PID),
            max_concurrency=1,
        ),
        options=EngineOptions(stop_grace_s=0.3),
    )
    make = socket.socketpair

    def refuse_once() -> tuple[socket.socket, socket.socket]:
        monkeypatch.setattr(socket, "socketpair", make)
        raise OSError(errno.EMFILE, "Too many open files")

    async def beside() -> None:
        pid = await pid_in(tmp_path / "pid")
        await until(lambda: run.reporter.states("waiter") == [TaskState.RUNNING])
        os.kill(pid, signal.SIGSTOP)
        (tmp_path / "go").touch()
        await until(lambda: run.reporter.states("next") == [TaskState.RUNNING])
        monkeypatch.setattr(socket, "socketpair", refuse_once)
        os.kill(pid, signal.SIGKILL)

    await while_it_runs(run, beside)
    assert run.reporter.last("next").error_type == "ForkFailed"
    assert "Too many open files" in str(run.reporter.last("next").error_message)
    assert run.reporter.last("after").state is TaskState.SUCCEEDED


async def test_a_shutdown_ends_used_and_idle_processes(tmp_path: Path) -> None:
    folder = str(tmp_path)
    run = Run(
        a_flow(
            a_task("warm", "tests.flows.leaving:meet_and_write_pid", folder, 0, 2),
            a_task("idle", "tests.flows.leaving:meet_and_write_pid", folder, 1, 2),
            a_task("hangs", "hang", folder, "pid"),
        ),
        options=EngineOptions(max_concurrency=2, stop_grace_s=0.3),
    )

    async def beside() -> None:
        await pid_in(tmp_path / "pid")
        run.runner.request_shutdown(0.05)

    await while_it_runs(run, beside)
    assert run.reporter.last("hangs").state is TaskState.CANCELLED
    used = {int((tmp_path / name).read_text()) for name in ("pid-0", "pid-1")}
    assert int((tmp_path / "pid").read_text()) in used
    for pid in used:
        await until(functools.partial(is_gone, pid))


async def test_hooks_take_clean_processes_too(tmp_path: Path) -> None:
    hooks = TaskHooks(on_completion=("tests.flows.leaving:note_pid",))
    run = Run(
        a_flow(*(a_task(f"t{n}", PID, hooks=hooks) for n in range(4))),
        options=EngineOptions(max_concurrency=1, run_id=str(tmp_path / "told")),
    )
    assert (await run.finish()).status is ResultStatus.SUCCEEDED
    pids = (tmp_path / "told").read_text().split()
    assert len(pids) == 4
    assert len(set(pids)) <= 2, "one for a task and one for a hook at once"
