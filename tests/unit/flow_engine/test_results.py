"""Results between tasks: small ones in memory, large ones in files that go when nobody needs them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from dagy_control.flow_engine.options import EngineOptions
from dagy_control.flow_engine.packing import Packing, ResultFile, UnpackableError, pack, unpack
from dagy_control.flow_engine.results import ResultLimits
from dagy_control.model.flow_tasks import Isolation, ResultFormat, TaskState
from dagy_control.model.runs import ResultStatus
from tests.flows.running import Run, a_flow, a_task, is_gone, pid_in, until

BOTH = pytest.mark.parametrize("isolation", [Isolation.PROCESS, Isolation.THREAD], ids=["process", "thread"])
MEBIBYTE = 1 << 20


def packing(folder: Path, format_: ResultFormat = ResultFormat.PICKLE, **limits: Any) -> Packing:
    return Packing(format_, str(folder / "result"), **{"inline_bytes_max": 100, "bytes_max": 10_000, **limits})


def options(folder: Path, **limits: Any) -> EngineOptions:
    return EngineOptions(max_concurrency=2, stop_grace_s=0.3, results=ResultLimits(folder=folder, **limits))


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("format_", list(ResultFormat))
@pytest.mark.parametrize(
    "value", [None, True, 3, 2.5, "text", [1, {"a": [None]}], "x" * 5_000, list(range(1_000))], ids=str
)
def test_a_result_unpacks_equal_from_memory_and_from_a_file(
    value: object, format_: ResultFormat, tmp_path: Path
) -> None:
    packed = pack(value, packing(tmp_path, format_))
    assert unpack(packed) == value
    assert isinstance(packed, ResultFile) == bool(files(tmp_path))


def test_the_boundary_between_memory_and_file_is_the_limit_itself(tmp_path: Path) -> None:
    inside, outside = (
        pack("x" * 98, packing(tmp_path, ResultFormat.JSON)),
        pack("x" * 99, packing(tmp_path, ResultFormat.JSON)),
    )
    assert isinstance(inside, bytes)
    assert outside == ResultFile(str(tmp_path / "result"), 101)


class Odd:
    """Pickles to something too large for its class to tell."""

    def __reduce__(self) -> tuple[type, tuple[bytes]]:
        return bytes, (b"x" * 20_000,)


@pytest.mark.parametrize(
    ("value", "format_", "kind", "says"),
    [
        (Odd(), ResultFormat.PICKLE, "ResultTooLarge", "has more than the 10,000 bytes allowed. Write it to S3"),
        ("x" * 20_000, ResultFormat.JSON, "ResultTooLarge", "has more than the 10,000 bytes allowed"),
        (["x" * 5_000, asyncio.Lock], ResultFormat.JSON, "NotJson", "is not JSON: a type is no JSON value"),
        ((1, 2), ResultFormat.JSON, "NotJson", "a tuple is no JSON value"),
        ({1: 2}, ResultFormat.JSON, "NotJson", "the key 1 is not a string"),
        ([b"x" * 5_000, lambda: 1], ResultFormat.PICKLE, "UnpicklableResult", "cannot be pickled"),
    ],
    ids=["too large", "too large JSON", "a class", "a tuple", "a key", "a function after a large part"],
)
def test_what_cannot_be_kept_says_why_and_leaves_no_file(
    value: object, format_: ResultFormat, kind: str, says: str, tmp_path: Path
) -> None:
    with pytest.raises(UnpackableError, match=says) as caught:
        pack(value, packing(tmp_path, format_))
    assert (caught.value.type, files(tmp_path)) == (kind, [])


def test_a_result_that_turns_out_too_large_half_way_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(UnpackableError, match="more than the 200,000 bytes"):
        pack([b"a" * 150_000, b"b" * 150_000], packing(tmp_path, bytes_max=200_000))
    assert files(tmp_path) == []


def test_a_disk_that_takes_no_more_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnpackableError, match=r"could not be written to .*No such file or directory") as caught:
        pack("x" * 500, packing(tmp_path / "gone"))
    assert caught.value.type == "ResultNotStored"


@BOTH
async def test_a_large_result_goes_by_file_and_its_file_goes_with_its_last_taker(
    isolation: Isolation, tmp_path: Path
) -> None:
    spec = a_flow(
        a_task("big", "make_large", MEBIBYTE, isolation=isolation),
        a_task("nobodys", "make_large", MEBIBYTE, isolation=isolation),
        a_task("size", "size", {"$task": "big"}, isolation=isolation),
        a_task("looked", "wait_for", str(tmp_path), "looked", isolation=isolation),
        a_task("again", "size", {"$task": "big"}, {"$task": "looked"}, isolation=isolation),
        a_task("hold", "wait_for", str(tmp_path), "go", isolation=isolation),
        result=[{"$task": "size"}, {"$task": "again"}],
    )
    folder = tmp_path / "results"
    folder.mkdir()
    run = Run(spec, options=EngineOptions(max_concurrency=3, results=ResultLimits(folder=folder)))
    running = asyncio.create_task(run.finish(), name="the run")  # noqa: TID251 - looked at while it runs
    await until(lambda: run.reporter.states("size")[-1:] == [TaskState.SUCCEEDED])
    await until(lambda: run.reporter.states("nobodys")[-1:] == [TaskState.SUCCEEDED])
    assert len(files(folder)) == 1
    (tmp_path / "looked").touch()
    await until(lambda: run.reporter.states("again")[-1:] == [TaskState.SUCCEEDED])
    await until(lambda: not files(folder))
    (tmp_path / "go").touch()
    assert (await running).status is ResultStatus.SUCCEEDED
    assert run.runner.result() == [MEBIBYTE, MEBIBYTE]


async def test_the_flows_own_result_outlives_the_run_as_long_as_somebody_may_ask(tmp_path: Path) -> None:
    run = Run(a_flow(a_task("big", "make_large", MEBIBYTE), result={"$task": "big"}), options=options(tmp_path))
    await run.finish()
    assert len(files(tmp_path)) == 1
    assert run.runner.result() == b"x" * MEBIBYTE
    del run
    await until(lambda: not list(tmp_path.iterdir()))


async def test_a_run_that_fails_leaves_nothing_on_the_disk(tmp_path: Path) -> None:
    spec = a_flow(a_task("big", "make_large", MEBIBYTE), a_task("bad", "fail"), result={"$task": "big"})
    await Run(spec, options=options(tmp_path)).finish()
    assert list(tmp_path.iterdir()) == []


async def test_many_results_that_are_small_alone_go_to_files_too(tmp_path: Path) -> None:
    makers = [a_task(f"m{n}", "make_large", 1_000, isolation=Isolation.THREAD) for n in range(60)]
    spec = a_flow(*makers, result=[{"$task": maker.key} for maker in makers], max_concurrency=1)
    run = Run(spec, options=options(tmp_path, memory_bytes_max=5_000))
    assert (await run.finish()).status is ResultStatus.SUCCEEDED
    assert 20 <= len(files(tmp_path)) < 60
    assert run.runner.result() == [b"x" * 1_000] * 60


async def test_the_disk_is_bounded_and_what_fills_it_is_named(tmp_path: Path) -> None:
    makers = [a_task(f"m{n}", "make_large", MEBIBYTE) for n in range(4)]
    spec = a_flow(*makers, result=[{"$task": maker.key} for maker in makers], max_concurrency=1)
    run = Run(spec, options=options(tmp_path, disk_bytes_max=3 * MEBIBYTE + 100_000))
    outcome = await run.finish()
    assert outcome.failed_task == "m3"
    assert "for results that wait to be taken fill" in outcome.message
    assert "ResultTooLarge" in outcome.message


async def test_a_child_that_is_ended_while_it_writes_leaves_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    spec = a_flow(
        a_task("slow", "tests.flows.odd_results:half", str(tmp_path), timeout_seconds=2.0),
        a_task("hold", "wait_for", str(tmp_path), "go"),
    )
    run = Run(spec, options=options(folder))
    running = asyncio.create_task(run.finish(), name="the run")  # noqa: TID251 - looked at while it runs
    pid = await pid_in(tmp_path / "pid")
    assert len(files(folder)) == 1
    await until(lambda: run.reporter.states("slow")[-1:] == [TaskState.TIMED_OUT])
    assert (files(folder), is_gone(pid)) == ([], True)
    (tmp_path / "go").touch()
    await running


@BOTH
async def test_a_json_result_reads_back_as_json_and_is_never_unpickled(isolation: Isolation) -> None:
    spec = a_flow(
        a_task("plain", "same", {"a": [1, 2]}, isolation=isolation, result=ResultFormat.JSON),
        a_task("taken", "as_text", {"$task": "plain"}, isolation=isolation),
        a_task("odd", "same", {"$tuple": [1]}, isolation=isolation, result=ResultFormat.JSON, retries=2),
        result={"$task": "taken"},
    )
    run = Run(spec)
    outcome = await run.finish()
    assert run.reporter.last("taken").state is TaskState.SUCCEEDED
    assert "NotJson: the result of task 'odd' (a tuple) is not JSON: a tuple is no JSON value" in outcome.message
    assert run.reporter.last("odd").attempt == 1
