"""A whole attempt, from claim to result: fakes outside, and a real flow engine that runs a small artifact."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from structlog.testing import capture_logs
from typing_extensions import override

from dagy_control.errors import Permanent, Transient
from dagy_control.kernel.tasks import start_task
from dagy_control.model.flows import FlowSpec, Isolation, ParameterSpec, TaskState
from dagy_control.model.lifecycle import request_cancel
from dagy_control.model.outcomes import EXIT_CLAIM_REFUSED, SHUTDOWN_MESSAGE
from dagy_control.model.runs import FailureClass, ResultStatus, Run, RunStatus, applied
from dagy_control.worker.installer import InstallPolicy
from dagy_control.worker.lines import Redactor
from dagy_control.worker.packages import PackagePolicy
from tests.builders import ARN, NOW, OTHER_ARN, ago, launching, running
from tests.fakes.flows import FakeArtifacts
from tests.fakes.task_runs import FakeTaskRuns
from tests.flows.running import until
from tests.hostile_archives import a_zip
from tests.working import MODULE, URI, Working, a_flow, a_task

SOURCE = b'''
import pathlib, time


def write(folder, text):
    (pathlib.Path(folder) / "here").write_text(text)


def fail():
    raise LookupError("no such customer")


def wait(folder):
    (pathlib.Path(folder) / "here").touch()
    while True:
        time.sleep(0.01)


def wait_for(folder):
    (pathlib.Path(folder) / "here").touch()
    while not (pathlib.Path(folder) / "go").exists():
        time.sleep(0.01)


def spoil_own_folder():
    """Put a file where the artifact's folder was: it can then not be removed as a folder."""
    folder = pathlib.Path(__file__).parent
    folder.rename(folder.with_name(folder.name + "-moved"))
    folder.write_text("in the way")
'''


class World(Working):
    """One run of the flow above, and its worker."""

    def __init__(self, spec: FlowSpec, run: Run | None = None, **values: Any) -> None:
        super().__init__(spec, {f"{MODULE}.py": SOURCE}, run, **values)


@pytest.mark.parametrize("isolation", Isolation)
async def test_a_flow_that_succeeds_ends_the_run_and_exits_0(isolation: Isolation, tmp_path: Path) -> None:
    spec = a_flow(
        a_task("write", str(tmp_path), {"$param": "text"}, isolation=isolation), parameters=(ParameterSpec("text"),)
    )
    world = World(spec, launching(parameters='{"text": "bonjour"}'))
    assert await world.work() == 0
    assert (tmp_path / "here").read_text() == "bonjour"
    assert (world.run.status, world.run.result_status, world.run.exit_code) == (
        RunStatus.SUCCEEDED,
        ResultStatus.SUCCEEDED,
        0,
    )
    assert world.run.external_id == ARN
    assert [each.to_status for each in world.run.transitions] == ["RUNNING", "SUCCEEDED"]
    assert world.statuses() == {"0001#write": TaskState.SUCCEEDED}
    sys.modules.pop("dagy_test_etl", None)


async def test_a_task_that_raises_fails_the_run_by_the_users_error_and_exits_1() -> None:
    world = World(a_flow(a_task("fail")))
    assert await world.work() == 1
    assert (world.run.status, world.run.failure_class) == (RunStatus.FAILED, FailureClass.USER_ERROR)
    assert "no such customer" in (world.run.error_message or "")
    row = world.task_runs.records["r1", "0001#fail"]
    assert (row.status, row.error_type) == (TaskState.FAILED, "LookupError")


async def test_a_module_that_is_not_in_the_artifact_is_an_import_failure() -> None:
    world = World(a_flow(a_task("dagy_test_nowhere:run")))
    assert await world.work() == 1
    assert (world.run.status, world.run.failure_class) == (RunStatus.FAILED, FailureClass.IMPORT)
    assert "dagy_test_nowhere" in (world.run.error_message or "")


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        pytest.param("{}", "'folder'", id="one is missing"),
        pytest.param('{"folder": "x", "foldr": 1}', "foldr", id="one is unknown"),
        pytest.param("{", "not JSON", id="no JSON"),
        pytest.param("[1]", "not a JSON object", id="no object"),
    ],
)
async def test_wrong_parameters_are_the_users_error_and_nothing_runs(parameters: str, told: str) -> None:
    spec = a_flow(a_task("wait", {"$param": "folder"}), parameters=(ParameterSpec("folder"),))
    world = World(spec, launching(parameters=parameters))
    assert await world.work() == 1
    assert (world.run.status, world.run.failure_class) == (RunStatus.FAILED, FailureClass.USER_ERROR)
    assert told in (world.run.error_message or "")
    assert world.task_runs.records == {}


async def test_a_missing_artifact_fails_the_run_with_its_class() -> None:
    world = World(a_flow(a_task("fail")))
    world.artifacts.objects.clear()
    assert await world.work() == 1
    assert (world.run.status, world.run.failure_class) == (RunStatus.FAILED, FailureClass.ARTIFACT)
    assert URI in (world.run.error_message or "")


async def test_a_flow_that_is_not_registered_any_more_fails_with_the_class_artifact() -> None:
    world = World(a_flow(a_task("fail")), launching(flow_version="2"))
    assert await world.work() == 1
    assert world.run.failure_class is FailureClass.ARTIFACT
    assert (
        world.run.error_message == "flow 'etl' version 2 is not registered for organisation 'acme'; register it again"
    )


# Shutting down.


async def test_a_shutdown_requested_before_the_flow_runs_nothing_of_it_and_exits_143(tmp_path: Path) -> None:
    world = World(a_flow(a_task("write", str(tmp_path), "x")))
    world.worker.request_shutdown()
    assert await world.work() == 143
    assert list(tmp_path.iterdir()) == []
    assert world.run.status is RunStatus.RUNNING, "ECS has the last word on why"
    assert (world.run.result_class, world.run.result_message) == (FailureClass.SHUTDOWN, SHUTDOWN_MESSAGE)
    assert world.run.exit_code == 143


async def test_a_shutdown_while_a_task_runs_ends_it_after_the_drain_and_exits_143(tmp_path: Path) -> None:
    world = World(a_flow(a_task("wait", str(tmp_path))))
    work = start_task(world.work(), name="the worker")
    await until((tmp_path / "here").exists)
    world.worker.request_shutdown()
    world.worker.request_shutdown()
    assert await work == 143
    assert world.run.status is RunStatus.RUNNING
    assert (world.run.result_class, world.run.result_message) == (FailureClass.SHUTDOWN, SHUTDOWN_MESSAGE)
    assert world.statuses() == {"0001#wait": TaskState.CANCELLED}


async def test_a_task_in_flight_may_finish_within_the_drain_and_the_run_then_succeeds(tmp_path: Path) -> None:
    """All that was to be done is done: the shutdown came too late to matter."""
    world = World(a_flow(a_task("wait_for", str(tmp_path))), drain_s=60.0)
    work = start_task(world.work(), name="the worker")
    await until((tmp_path / "here").exists)
    world.worker.request_shutdown()
    (tmp_path / "go").touch()
    assert await work == 0
    assert world.run.status is RunStatus.SUCCEEDED


# The claim.


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(running(external_id=OTHER_ARN), id="another task has the attempt"),
        pytest.param(launching(cancel_requested_at=ago(1)), id="cancelled"),
        pytest.param(launching(attempt=2), id="another attempt"),
    ],
)
async def test_a_refused_claim_exits_with_the_reserved_code_and_touches_nothing(run: Run) -> None:
    world = World(a_flow(a_task("fail")), run)
    assert await world.work() == EXIT_CLAIM_REFUSED == 75
    assert world.run == run
    assert world.runs.writes == []
    assert world.flows.calls == world.artifacts.calls == world.task_runs.calls == world.results.calls == []


async def test_a_claim_that_cannot_be_made_exits_with_the_reserved_code_too() -> None:
    world = World(a_flow(a_task("fail")))
    world.runs.next_error("get", Permanent("access denied"))
    assert await world.work() == EXIT_CLAIM_REFUSED
    assert world.artifacts.calls == []


# Trouble of our own.


class BuggyArtifacts(FakeArtifacts):
    """Raises what no port may raise."""

    @override
    async def download(self, uri: str, target: Path, *, max_bytes: int) -> str:
        raise ZeroDivisionError(f"{uri} {max_bytes}")


async def test_the_workers_own_bug_is_never_told_as_the_users() -> None:
    world = World(a_flow(a_task("fail")), artifacts=BuggyArtifacts())
    assert await world.work() == 1
    assert world.run.status is RunStatus.RUNNING, "it is tried again, by whoever knows the budget"
    assert world.run.result_class is FailureClass.INFRASTRUCTURE
    assert "ZeroDivisionError" in (world.run.result_message or "")


async def test_a_flows_table_that_stays_down_is_infrastructure() -> None:
    world = World(a_flow(a_task("fail")))
    world.flows.next_error("get", Permanent("access denied"))
    assert await world.work() == 1
    assert world.run.result_class is FailureClass.INFRASTRUCTURE


async def test_a_temporary_folder_that_cannot_be_removed_does_not_undo_a_success() -> None:
    """The container's disk dies with it. A run that succeeded and is called failed would be run again."""
    world = World(a_flow(a_task("spoil_own_folder")))
    assert await world.work() == 0
    assert world.run.status is RunStatus.SUCCEEDED


async def test_a_work_folder_that_does_not_exist_is_made(tmp_path: Path) -> None:
    world = World(a_flow(a_task("write", str(tmp_path), "x")), work_dir=tmp_path / "not" / "there")
    assert await world.work() == 0
    assert list((tmp_path / "not" / "there").iterdir()) == []


async def test_a_task_runs_table_in_trouble_never_fails_the_flow(tmp_path: Path) -> None:
    world = World(a_flow(a_task("write", str(tmp_path), "x")))
    world.task_runs.next_error("put_many", Transient("down"), times=99)
    assert await world.work() == 0
    assert world.run.status is RunStatus.SUCCEEDED


class HangingTaskRuns(FakeTaskRuns):
    """A table that never answers."""

    @override
    async def put_many(self, rows: Any) -> None:
        await asyncio.Event().wait()
        await super().put_many(rows)


async def test_a_task_runs_table_that_hangs_does_not_hold_back_the_result(tmp_path: Path) -> None:
    """After SIGTERM there are seconds left: the result matters, the rows of the tasks do not."""
    world = World(a_flow(a_task("write", str(tmp_path), "x")), last_write_s=0.05, task_runs=HangingTaskRuns())
    assert await world.work() == 0
    assert world.run.status is RunStatus.SUCCEEDED


async def test_after_a_shutdown_a_table_that_hangs_leaves_s3_its_part_of_the_time(tmp_path: Path) -> None:
    """ECS kills the worker 30 seconds after SIGTERM: a result that waits for the table longer than that is kept nowhere."""
    world = World(a_flow(a_task("wait", str(tmp_path))), last_write_s=0.05, result_write_timeout_s=3600.0)
    work = start_task(world.work(), name="the worker")
    await until((tmp_path / "here").exists)
    world.runs.next_error("change", Transient("down"), times=999)
    world.worker.request_shutdown()
    assert await work == 143
    assert [word.failure_class for word in world.results.records.values()] == [FailureClass.SHUTDOWN]


async def test_a_result_that_nobody_can_keep_still_ends_the_process() -> None:
    world = World(a_flow(a_task("fail")))
    world.results.next_error("put", Permanent("access denied"), times=99)
    work = start_task(world.work(), name="the worker")
    await until(lambda: world.run.status is RunStatus.RUNNING)
    world.runs.next_error("change", Permanent("access denied"), times=99)
    assert await work == 1
    assert world.run.committed_result is None


async def test_a_cancel_during_the_run_makes_its_end_a_cancel(tmp_path: Path) -> None:
    world = World(a_flow(a_task("wait", str(tmp_path))))
    work = start_task(world.work(), name="the worker")
    await until((tmp_path / "here").exists)
    change = request_cancel(world.run, now=NOW, by="request")
    assert change is not None
    world.runs.seed(applied(world.run, change, "op-cancel"))
    world.worker.request_shutdown()  # StopTask, as the worker sees it
    assert await work == 143
    assert world.run.status is RunStatus.CANCELLED


# Dependency packages.

USES_A_PACKAGE = b"""
import pathlib
from own import words


def write(folder, text):
    (pathlib.Path(folder) / "here").write_text(words.GREETING + text)
"""
PACKAGE = a_zip(("own/__init__.py", b""), ("own/words.py", b"GREETING = 'bonjour '\n"))


@pytest.mark.parametrize("isolation", Isolation)
async def test_a_flow_imports_from_the_packages_of_its_run(isolation: Isolation, tmp_path: Path) -> None:
    spec = a_flow(a_task("write", str(tmp_path), "monde", isolation=isolation))
    world = Working(spec, {f"{MODULE}.py": USES_A_PACKAGE}, launching(dep_package_slugs=("words",)))
    world.add_package("words", PACKAGE)
    assert await world.work() == 0, world.run.error_message
    assert (tmp_path / "here").read_text() == "bonjour monde"
    for name in (MODULE, "own", "own.words"):
        sys.modules.pop(name, None)


async def test_a_package_stays_in_the_work_folder_for_the_next_run(tmp_path: Path) -> None:
    spec = a_flow(a_task("write", str(tmp_path), "monde"))
    for downloads in (["download", "download"], ["download"]):
        world = Working(
            spec, {f"{MODULE}.py": USES_A_PACKAGE}, launching(dep_package_slugs=("words",)), work_dir=tmp_path / "work"
        )
        world.add_package("words", PACKAGE)
        assert await world.work() == 0
        assert [call for call in world.artifacts.calls if call == "download"] == downloads
        assert [path.name for path in (tmp_path / "work").iterdir()] == ["packages"]


async def test_a_library_that_a_task_misses_while_it_runs_is_a_dependency_failure() -> None:
    source = b"def write(folder):\n    import no_such_library\n"
    world = Working(a_flow(a_task("write", "x")), {f"{MODULE}.py": source}, launching(dep_package_slugs=("words",)))
    world.add_package("words", PACKAGE)
    assert await world.work() == 1
    assert world.run.failure_class is FailureClass.DEPENDENCY
    assert "nor in the dependency packages [words]" in (world.run.error_message or "")


# What is told.


async def test_what_must_not_be_told_is_on_no_record(tmp_path: Path) -> None:
    source = b"def write(password):\n    raise LookupError('cannot sign in with ' + password)\n"
    spec = a_flow(a_task("write", {"$param": "password"}), parameters=(ParameterSpec("password"),))
    run = launching(parameters='{"password": "hunter22"}')
    world = Working(spec, {f"{MODULE}.py": source}, run, redactor=Redactor(["*password*"]))
    assert await world.work() == 1
    assert "cannot sign in with [redacted password]" in (world.run.error_message or "")
    kept = f"{world.run.error_message} {world.run.result_message} {world.task_runs.records} {world.artifacts.objects}"
    assert "hunter22" not in kept.replace(repr(world.artifacts.objects[URI]), "")


async def test_a_failed_task_leaves_its_trace_in_s3() -> None:
    world = World(a_flow(a_task("fail")))
    assert await world.work() == 1
    row = world.task_runs.records["r1", "0001#fail"]
    assert row.trace_uri == "s3://dagy-traces/traces/r1/0001/fail.1.txt"
    assert b"LookupError: no such customer" in world.traces.objects[row.trace_uri]


async def test_a_store_that_takes_no_traces_never_fails_or_delays_the_flow() -> None:
    world = World(a_flow(a_task("fail")))
    world.artifacts.next_error("upload", Permanent("access denied"), times=99)
    assert await world.work() == 1
    assert world.task_runs.records["r1", "0001#fail"].error_type == "LookupError"


# Shutting down while the run is prepared.


class HangingArtifacts(FakeArtifacts):
    """A store that never answers."""

    @override
    async def download(self, uri: str, target: Path, *, max_bytes: int) -> str:
        await self._begin("download")
        await asyncio.Event().wait()
        return ""


async def test_a_shutdown_during_a_download_gives_it_up_at_once(tmp_path: Path) -> None:
    world = World(a_flow(a_task("write", str(tmp_path), "x")), artifacts=HangingArtifacts(), work_dir=tmp_path / "work")
    work = start_task(world.work(), name="the worker")
    await until(lambda: "download" in world.artifacts.calls)
    world.worker.request_shutdown()
    assert await work == 143
    assert (world.run.result_class, world.run.result_message) == (FailureClass.SHUTDOWN, SHUTDOWN_MESSAGE)
    assert list((tmp_path / "work").iterdir()) == []
    assert world.statuses() == {"0001#write": TaskState.CANCELLED}


async def test_a_shutdown_during_an_installation_ends_the_installer(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text(
        f"#!{sys.executable}\nimport os, pathlib, time\n"
        f"pathlib.Path({str(tmp_path)!r}, 'pid').write_text(str(os.getpid()))\ntime.sleep(600)\n"
    )
    tool.chmod(0o755)
    packages = PackagePolicy(install=InstallPolicy(tool=str(tool)))
    spec = a_flow(a_task("write", str(tmp_path), "x"))
    world = World(spec, launching(dep_package_slugs=("lib",)), packages=packages)
    world.add_package("lib", a_zip(("requirements.txt", b"x==1\n")))
    work = start_task(world.work(), name="the worker")
    await until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
    world.worker.request_shutdown()
    assert await work == 143
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize(("provider", "told"), [("FARGATE_SPOT", True), ("FARGATE", False)])
async def test_a_shutdown_on_spot_capacity_says_what_it_may_mean(provider: str, told: bool, tmp_path: Path) -> None:
    world = World(a_flow(a_task("wait", str(tmp_path))), launching(capacity_provider=provider))
    with capture_logs() as lines:
        work = start_task(world.work(), name="the worker")
        await until((tmp_path / "here").exists)
        world.worker.request_shutdown()
        assert await work == 143
    assert ("spot_notice" in [line.get("event_type") for line in lines]) is told
