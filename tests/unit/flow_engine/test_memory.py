"""A child that the kernel kills for lack of memory is told from one that somebody killed. The test plays the kernel."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from dagy_control.flow_engine.memory import ContainerMemory, own_control_group
from dagy_control.flow_engine.options import EngineOptions
from dagy_control.model.flow_tasks import Isolation, TaskState
from dagy_control.model.runs import FailureClass, ResultStatus
from tests.flows.running import Run, a_flow, a_task, pid_in

MEBIBYTE = 1 << 20
VERSION_2 = ("memory.events", "low 0\nhigh 0\nmax 12\noom 3\noom_kill {}\noom_group_kill 0\n", "memory.max")
VERSION_1 = ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n", "memory.limit_in_bytes")


def count_kills(folder: Path, kills: int, version: tuple[str, str, str] = VERSION_2) -> None:
    """Write the files of a control group whose container may use 512 MiB."""
    name, text, limit = version
    (folder / f".{name}").write_text(text.format(kills))
    (folder / f".{name}").rename(folder / name)
    (folder / limit).write_text(f"{512 * MEBIBYTE}\n")


async def killed(folder: Path, *, kills: int | None, function: str = "hang") -> Run:
    """A run of one victim, which is killed, and of a sibling; the kernel counts so many kills beside it."""
    spec = a_flow(
        a_task("victim", function, str(folder), "pid"),
        a_task("sibling", "wait_for", str(folder), "go"),
        a_task("after", "add", {"$task": "count"}),
        a_task("count", "add", 1),
    )
    options = EngineOptions(max_concurrency=2, stop_grace_s=0.3, cgroup_dir=folder)
    run = Run(spec, options=options)
    running = asyncio.create_task(run.finish(), name="the run")  # noqa: TID251 - the kernel comes from beside it
    pid = await pid_in(folder / "pid")
    if kills is not None:
        count_kills(folder, kills)
    os.kill(pid, signal.SIGKILL)
    (folder / "go").touch()
    await running
    return run


@pytest.mark.parametrize("version", [VERSION_2, VERSION_1], ids=["version 2", "version 1"])
def test_both_versions_of_control_groups_are_read(version: tuple[str, str, str], tmp_path: Path) -> None:
    count_kills(tmp_path, 4, version)
    memory = ContainerMemory(tmp_path)
    assert (memory.limit_mb, memory.kills(), memory.take_kill()) == (512.0, 4, False)
    count_kills(tmp_path, 6, version)
    assert [memory.take_kill() for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    "text", ["max", str(0x7FFFFFFFFFFFF000), "", "much"], ids=["max", "version 1's none", "empty", "odd"]
)
def test_no_limit_is_no_figure(text: str, tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(text)
    assert ContainerMemory(tmp_path).limit_mb is None


def test_nobody_can_tell_where_there_is_nothing_to_read(tmp_path: Path) -> None:
    memory = ContainerMemory(tmp_path / "nowhere")
    assert (memory.limit_mb, memory.kills(), memory.take_kill()) == (None, None, None)


def test_the_control_group_of_this_process_is_found_if_there_is_one() -> None:
    folder = own_control_group()
    assert folder is None or ContainerMemory().kills() is not None


async def test_a_child_that_the_kernel_killed_for_memory_says_so_and_its_siblings_go_on(tmp_path: Path) -> None:
    count_kills(tmp_path, 3)
    run = await killed(tmp_path, kills=4)
    assert run.outcome.failure_class is FailureClass.OUT_OF_MEMORY
    victim = run.reporter.last("victim")
    assert (victim.state, victim.error_type) == (TaskState.FAILED, "OutOfMemory")
    assert victim.peak_memory_mb is not None
    assert f"at a peak of {victim.peak_memory_mb} MB, in a container of 512.0 MB" in str(victim.error_message)
    assert {run.reporter.last(key).state for key in ("sibling", "after")} == {TaskState.SUCCEEDED}


async def test_a_child_that_somebody_killed_is_no_lack_of_memory(tmp_path: Path) -> None:
    count_kills(tmp_path, 3)
    run = await killed(tmp_path, kills=3)
    assert run.outcome.failure_class is FailureClass.USER_ERROR
    assert "it was not the kernel for lack of memory" in run.outcome.message


async def test_without_the_kernels_files_a_killed_child_is_only_most_likely_out_of_memory(tmp_path: Path) -> None:
    run = await killed(tmp_path, kills=None)
    assert run.outcome.failure_class is FailureClass.USER_ERROR
    assert "most likely out of memory" in run.outcome.message


async def test_a_child_that_we_ended_does_not_use_up_the_kernels_count(tmp_path: Path) -> None:
    count_kills(tmp_path, 0)
    spec = a_flow(
        a_task("slow", "hang_and_ignore_sigterm", str(tmp_path), timeout_seconds=0.5),
        a_task("victim", "kill_myself"),
        max_concurrency=1,
    )
    run = Run(spec, options=EngineOptions(stop_grace_s=0.1, cgroup_dir=tmp_path))
    running = asyncio.create_task(run.finish(), name="the run")  # noqa: TID251 - the kernel comes from beside it
    await pid_in(tmp_path / "pid")
    count_kills(tmp_path, 1)
    await running
    assert run.reporter.last("slow").state is TaskState.TIMED_OUT
    assert run.reporter.last("victim").error_type == "OutOfMemory"


@pytest.mark.parametrize("isolation", list(Isolation))
async def test_a_memory_error_is_out_of_memory(isolation: Isolation) -> None:
    run = Run(a_flow(a_task("a", "run_out_of_memory", isolation=isolation), a_task("b", "add", 1)))
    outcome = await run.finish()
    assert (outcome.status, outcome.failure_class) == (ResultStatus.FAILED, FailureClass.OUT_OF_MEMORY)
    assert "MemoryError: no 8 GiB here" in outcome.message


async def test_the_kernel_is_asked_to_take_a_child_and_never_the_worker() -> None:
    run = Run(a_flow(a_task("a", "oom_score"), result={"$task": "a"}))
    await run.finish()
    assert run.runner.result() == "1000"
