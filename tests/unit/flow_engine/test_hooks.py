"""Hooks are told of everything, and can harm nothing; conditions decide about retries."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from dagy_control.flow_engine.hooks import HookFailure
from dagy_control.flow_engine.options import EngineOptions
from dagy_control.model.flow_tasks import Isolation, TaskHooks, TaskState
from dagy_control.model.runs import FailureClass, ResultStatus
from tests.flows.running import Run, a_flow, a_task, until

BOTH = pytest.mark.parametrize("isolation", [Isolation.PROCESS, Isolation.THREAD], ids=["process", "thread"])
NOTE = "tests.flows.tasks:note"
EVERY = TaskHooks(on_running=(NOTE,), on_completion=(NOTE,), on_failure=(NOTE,), on_retry=(NOTE,))


def hooked(kind: str, function: str) -> TaskHooks:
    return TaskHooks(**{kind: (f"tests.flows.tasks:{function}",)})


class Failures(list[HookFailure]):
    """Remembers what went wrong with hooks, and the options that say so."""

    def options(self, **values: Any) -> EngineOptions:
        return EngineOptions(max_concurrency=2, stop_grace_s=0.3, on_hook_failed=self.append, **values)


@BOTH
async def test_hooks_are_told_of_every_turn_of_a_task(isolation: Isolation, tmp_path: Path) -> None:
    file = tmp_path / "notes"
    spec = a_flow(
        a_task("flaky", "fail_until", str(tmp_path), 2, isolation=isolation, retries=1, hooks=EVERY),
        a_task("bad", "fail", isolation=isolation, hooks=EVERY),
        max_concurrency=1,
    )
    failures = Failures()
    await Run(spec, options=failures.options(run_id=str(file))).finish()
    assert failures == []
    assert sorted(file.read_text().splitlines()) == [
        "on_completion flaky 2 None",
        "on_failure bad 1 LookupError",
        "on_retry flaky 1 ConnectionError",
        "on_running bad 1 None",
        "on_running flaky 1 None",
        "on_running flaky 2 None",
    ]


@pytest.mark.parametrize(
    ("function", "args", "settings", "error"),
    [
        ("hang", True, {"timeout_seconds": 1.0}, "TimeoutError"),
        ("kill_myself", False, {}, "ProcessKilled"),
        ("drop_dead", 3, {}, "ProcessExited"),
    ],
    ids=["timed out", "killed", "exited"],
)
async def test_a_hook_is_told_even_of_a_task_that_cannot_tell_anything_any_more(
    function: str, args: object, settings: dict[str, Any], error: str, tmp_path: Path
) -> None:
    file = tmp_path / "notes"
    given: list[Any] = [str(tmp_path)] if args is True else [args] if args else []
    hooks = hooked("on_failure", "note_later")
    failures = Failures()
    await Run(
        a_flow(a_task("bad", function, *given, hooks=hooks, **settings)), options=failures.options(run_id=str(file))
    ).finish()
    assert (list(failures), file.read_text()) == ([], f"on_failure bad 1 {error}\n")


@BOTH
async def test_a_hook_that_fails_is_told_of_and_the_task_succeeds(isolation: Isolation) -> None:
    failures = Failures()
    run = Run(
        a_flow(
            a_task("a", "add", 1, isolation=isolation, hooks=hooked("on_completion", "raise_hook")),
            a_task("b", "add", 1, isolation=isolation, hooks=hooked("on_running", "not_there")),
        ),
        options=failures.options(),
    )
    assert (await run.finish()).status is ResultStatus.SUCCEEDED
    told = {failure.task_key: failure for failure in failures}
    assert (told["a"].kind, told["a"].function) == ("on_completion", "tests.flows.tasks:raise_hook")
    assert (told["a"].error.type, told["a"].error.message) == ("RuntimeError", "no pager for a")
    assert "raise RuntimeError" in told["a"].error.traceback
    assert "has no 'not_there'" in told["b"].error.message


async def test_a_hook_that_dies_or_hangs_costs_nothing_but_its_own_time() -> None:
    failures = Failures()
    run = Run(
        a_flow(
            a_task("dies", "add", 1, hooks=hooked("on_completion", "die_hook")),
            a_task("hangs", "add", 1, hooks=hooked("on_completion", "hang_hook")),
        ),
        options=failures.options(hook_timeout_s=1.0),
    )
    assert (await run.finish()).status is ResultStatus.SUCCEEDED
    told = {failure.task_key: failure.error.message for failure in failures}
    assert "exit code 7" in told["dies"]
    assert told["hangs"] == "it took longer than 1 s and was ended"


async def test_without_a_listener_a_failed_hook_is_told_of_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    hooks = hooked("on_completion", "raise_hook")
    await Run(a_flow(a_task("a", "add", 1, hooks=hooks))).finish()
    told = capfd.readouterr().err
    assert "on_completion tests.flows.tasks:raise_hook of task 'a' failed: RuntimeError: no pager for a" in told


async def test_the_run_waits_for_its_hooks_and_a_shutdown_ends_them(tmp_path: Path) -> None:
    hooks = hooked("on_completion", "wait_hook")
    spec = a_flow(
        a_task("a", "add", 1, isolation=Isolation.THREAD, hooks=hooks),
        a_task("b", "add", 1, isolation=Isolation.THREAD, hooks=hooks),
        max_concurrency=1,
    )
    failures = Failures()
    run = Run(spec, options=failures.options(run_id=str(tmp_path)))
    running = asyncio.create_task(run.finish(), name="the run")  # noqa: TID251 - the shutdown comes from beside it
    await until(lambda: run.reporter.states("b") == [TaskState.RUNNING, TaskState.SUCCEEDED])
    assert not running.done()
    run.runner.request_shutdown(0.1)
    assert (await running).status is ResultStatus.SUCCEEDED
    (tmp_path / "go").touch()
    told = {failure.task_key: failure.error.message for failure in failures}
    assert told == {"a": "the worker is shutting down", "b": "it was not called: the worker is shutting down"}


@BOTH
@pytest.mark.parametrize(
    ("condition", "function", "attempts"),
    [
        ("is_connection_error", "fail", 1),
        ("is_connection_error", "fail_until", 3),
        ("broken_condition", "fail_until", 1),
        ("not_there", "fail_until", 1),
    ],
    ids=["not worth it", "worth it", "a broken condition", "no such condition"],
)
async def test_the_retry_condition_is_asked_about_the_exception(
    condition: str,
    function: str,
    attempts: int,
    isolation: Isolation,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    args: list[Any] = [str(tmp_path), 9] if function == "fail_until" else []
    run = Run(
        a_flow(
            a_task(
                "a", function, *args, isolation=isolation, retries=2, retry_condition=f"tests.flows.tasks:{condition}"
            )
        )
    )
    assert (await run.finish()).status is ResultStatus.FAILED
    last = run.reporter.last("a")
    assert (last.attempt, last.error_type) == (attempts, "LookupError" if function == "fail" else "ConnectionError")
    assert ("failed; the task is not tried again" in capfd.readouterr().err) == (
        condition in ("broken_condition", "not_there")
    )


async def test_an_end_without_an_exception_is_retried_without_asking() -> None:
    condition = "tests.flows.tasks:broken_condition"
    run = Run(a_flow(a_task("a", "drop_dead", 3, retries=1, retry_condition=condition)))
    assert (await run.finish()).failure_class is FailureClass.USER_ERROR
    assert run.reporter.last("a").attempt == 2
