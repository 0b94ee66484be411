"""What children inherit, and what becomes of them when a process around them dies."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dagy_control.errors import DagyError
from dagy_control.flow_engine.deaths import explain_status
from dagy_control.flow_engine.execution import EngineOptions
from dagy_control.model.flows import TaskState
from dagy_control.model.runs import FailureClass, ResultStatus
from tests.flows.running import Run, a_flow, a_task, is_gone, pid_in, until
from tests.unit.flow_engine.test_reuse import while_it_runs

ROOT = str(Path(__file__).parents[3])

WORKER = """
import asyncio, json, signal, sys
sys.path.insert(0, sys.argv[1])
from tests.flows.running import Run, a_flow, a_task

def main():
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    function, *args = sys.argv[2:]
    run = Run(a_flow(a_task("only", function, *args), result={"$task": "only"}))
    outcome = asyncio.run(run.finish())
    print(json.dumps([outcome.status, run.runner.result() if outcome.status == "SUCCEEDED" else outcome.message]))

main()
"""


def a_worker(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    """A process of its own that runs one task, from another folder and with another PYTHONPATH."""
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, ROOT, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_child_has_none_of_the_workers_signal_handlers(tmp_path: Path) -> None:
    worker = a_worker(tmp_path, "signal_state")
    out, _ = worker.communicate(timeout=30)
    assert out == '["SUCCEEDED", [[true, true, true], []]]\n'


def test_what_a_task_prints_goes_to_standard_error_and_leaves_the_json_log_alone(tmp_path: Path) -> None:
    worker = a_worker(tmp_path, "print_loudly")
    out, err = worker.communicate(timeout=30)
    assert out == '["SUCCEEDED", null]\n'
    assert err == "to standard output\nto standard error\n"


def parent_of(pid: int) -> int:
    """The process that forked it."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def test_nothing_survives_a_killed_worker(tmp_path: Path) -> None:
    worker = a_worker(tmp_path, "hang_with_a_grandchild", str(tmp_path))
    try:
        pids = [await pid_in(tmp_path / "pid"), await pid_in(tmp_path / "grandchild")]
        assert not any(is_gone(pid) for pid in pids)
    finally:
        worker.kill()
        worker.communicate(timeout=30)
    for pid in pids:
        await until(lambda pid=pid: is_gone(pid))


async def test_a_child_dies_with_its_zygote_and_the_next_attempt_gets_a_new_one(tmp_path: Path) -> None:
    run = Run(a_flow(a_task("killer", "kill_parent_once", str(tmp_path), retries=1), result={"$task": "killer"}))
    assert (await run.finish()).status is ResultStatus.SUCCEEDED
    assert run.runner.result() == "second"
    assert "the process that forks the tasks ended" in str(run.reporter.changes[1].error_message)
    pid = await pid_in(tmp_path / "pid")
    await until(lambda: is_gone(pid))


async def test_a_zygote_that_cannot_be_started_again_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(a_flow(a_task("only", "hang", str(tmp_path), "pid")))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    async def beside() -> None:
        zygote = parent_of(await pid_in(tmp_path / "pid"))
        monkeypatch.setattr("dagy_control.flow_engine.processes.subprocess.Popen", refuse)
        os.kill(zygote, signal.SIGKILL)

    with pytest.raises(DagyError, match=r"no other can be started.*Cannot allocate memory"):
        await while_it_runs(run, beside)


async def test_a_module_that_ends_the_zygote_fails_only_its_own_task() -> None:
    run = Run(a_flow(a_task("deadly", "tests.flows.ends_the_zygote:x"), a_task("fine", "add", 1)))
    outcome = await run.finish()
    assert (outcome.failed_task, outcome.failure_class) == ("deadly", FailureClass.USER_ERROR)
    assert "exit code 9" in outcome.message
    assert run.reporter.last("fine").state is TaskState.SUCCEEDED


async def test_children_look_for_modules_where_the_options_say(tmp_path: Path) -> None:
    (tmp_path / "unpacked_flow.py").write_text("def task():\n    return __file__\n")
    options = EngineOptions(sys_path=(str(tmp_path), *sys.path))
    run = Run(a_flow(a_task("a", "unpacked_flow:task"), result={"$task": "a"}), options=options)
    assert (await run.finish()).status is ResultStatus.SUCCEEDED
    assert run.runner.result() == str(tmp_path / "unpacked_flow.py")
    assert "unpacked_flow" not in sys.modules


async def test_what_a_task_started_ends_with_its_attempt() -> None:
    run = Run(a_flow(a_task("a", "leave_a_grandchild"), result={"$task": "a"}))
    assert (await run.finish()).status is ResultStatus.SUCCEEDED
    grandchild = run.runner.result()
    assert isinstance(grandchild, int)
    await until(lambda: is_gone(grandchild))


async def test_a_large_argument_and_a_large_result_go_through(tmp_path: Path) -> None:
    spec = a_flow(
        a_task("big", "make_large", 3_000_000),
        a_task("same", "same", [{"$task": "big"}, {"$task": "big"}]),
        result={"$task": "same"},
    )
    run = Run(spec)
    assert (await run.finish()).status is ResultStatus.SUCCEEDED
    assert run.runner.result() == [b"x" * 3_000_000] * 2


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (signal.SIGKILL.value, "killed by SIGKILL at a peak of 12.5 MB; most likely out of memory"),
        (signal.SIGSEGV.value, "killed by SIGSEGV at a peak of 12.5 MB; a native library crashed"),
        (3 << 8, "ended with exit code 3"),
    ],
    ids=["SIGKILL", "SIGSEGV", "exit"],
)
def test_a_death_without_an_answer_is_explained(status: int, says: str) -> None:
    assert says in explain_status(status, 12.5).message


def test_a_zygote_that_ends_leaves_no_descriptor_for_signals_to_be_written_to() -> None:
    """Its idle children die with it, and Python complains on standard error when their SIGCHLD finds the descriptor closed."""
    script = (
        "import signal, socket; from dagy_control.flow_engine.zygote import Zygote; ours, theirs = socket.socketpair(); "
        "zygote = Zygote(theirs); ours.shutdown(socket.SHUT_WR); zygote.serve(); print(signal.set_wakeup_fd(-1))"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "-1\n"
