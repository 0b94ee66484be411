"""Starting, ordered draining, and exit codes. Signals of a real process are in tests/acceptance."""

import asyncio
from collections.abc import Callable

import pytest

from dagy_control.kernel.drain import Drain
from dagy_control.kernel.supervisor import Supervisor
from tests.fakes.clock import VirtualClock


class Bench:
    """A supervisor on a virtual clock, and a diary of its services."""

    def __init__(self, drain_timeout_s: float = 25) -> None:
        self.clock = VirtualClock()
        self.supervisor = Supervisor(self.clock, drain_timeout_s=drain_timeout_s)
        self.diary: list[tuple[str, float]] = []

    def note(self, what: str) -> None:
        self.diary.append((what, self.clock.monotonic() - 1000))

    def add(self, name: str, *, stage: int = 0, ends_after_s: float = 0, fails: Exception | None = None) -> None:
        async def run(drain: Drain) -> None:
            try:
                await drain.wait()
                self.note(f"{name} drains")
                await self.clock.sleep(ends_after_s)
                if fails is not None:
                    raise fails
                self.note(f"{name} ended")
            except asyncio.CancelledError:
                self.note(f"{name} cancelled")
                raise

        self.supervisor.add(name, run, stage=stage)

    async def run(self, meanwhile: Callable[[], None] | None = None) -> int:
        """Run for ten seconds, do `meanwhile` (by default: ask for the drain), and give the exit code."""
        async with asyncio.TaskGroup() as group:
            running = group.create_task(self.supervisor.run())
            await self.clock.advance(10)
            (meanwhile or (lambda: self.supervisor.request_drain("test")))()
            await self.clock.advance(100)
        return running.result()


async def test_stages_drain_one_after_the_other_lowest_first() -> None:
    bench = Bench()
    bench.add("http", stage=2)
    bench.add("launching", ends_after_s=3)
    bench.add("reconciling", ends_after_s=1)
    bench.add("leases", stage=1, ends_after_s=2)
    assert await bench.run() == 0
    assert bench.diary == [
        ("launching drains", 10),
        ("reconciling drains", 10),
        ("reconciling ended", 11),
        ("launching ended", 13),
        ("leases drains", 13),
        ("leases ended", 15),
        ("http drains", 15),
        ("http ended", 15),
    ]


async def test_tasks_carry_the_names_of_their_services() -> None:
    bench = Bench()
    names: list[str] = []

    async def run(drain: Drain) -> None:
        task = asyncio.current_task()
        assert task is not None
        names.append(task.get_name())
        await drain.wait()

    bench.supervisor.add("launching", run)
    await bench.run()
    assert names == ["launching"]


async def test_what_has_not_ended_in_time_is_cancelled_and_the_exit_code_says_so() -> None:
    bench = Bench(drain_timeout_s=25)
    bench.add("slow", ends_after_s=60)
    bench.add("http", stage=1)
    assert await bench.run() == 1
    assert bench.diary == [("slow drains", 10), ("slow cancelled", 35), ("http cancelled", 35)]


async def test_a_service_that_ignores_its_cancellation_does_not_hold_the_process() -> None:
    bench = Bench(drain_timeout_s=5)
    release = asyncio.Event()

    async def stubborn(_: Drain) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                if bench.diary:
                    raise  # the test's own end
                bench.note("ignored")

    bench.supervisor.add("stubborn", stubborn)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(bench.supervisor.run())
        await bench.clock.settle()
        bench.supervisor.request_drain("test")
        await bench.clock.advance(10)
        assert running.done()
        release.set()
        await bench.clock.settle()
    assert running.result() == 1
    assert bench.diary == [("ignored", 5)]


@pytest.mark.parametrize("error", [None, ValueError("broken")], ids=["returns", "raises"])
async def test_a_service_that_ends_by_itself_is_a_failure_and_drains_the_others(error: Exception | None) -> None:
    bench = Bench()

    async def short(_: Drain) -> None:
        await bench.clock.sleep(4)
        if error is not None:
            raise error

    bench.supervisor.add("short", short)
    bench.add("other", ends_after_s=1)
    assert await bench.run(lambda: None) == 1
    assert bench.diary == [("other drains", 4), ("other ended", 5)]


async def test_a_service_that_fails_while_draining_is_a_failure_but_the_rest_still_drains_in_order() -> None:
    bench = Bench()
    bench.add("broken", fails=ValueError("while draining"))
    bench.add("http", stage=1)
    assert await bench.run() == 1
    assert bench.diary == [("broken drains", 10), ("http drains", 10), ("http ended", 10)]


async def test_callbacks_run_the_moment_the_drain_begins_and_a_broken_one_stops_nothing() -> None:
    bench = Bench()
    bench.add("service")

    def broken() -> None:
        raise ValueError("callback")

    bench.supervisor.on_drain(broken)
    bench.supervisor.on_drain(lambda: bench.note("told"))

    def ask_twice() -> None:
        bench.supervisor.request_drain("first")
        bench.supervisor.request_drain("second")
        assert bench.diary == [("told", 10)]

    assert await bench.run(ask_twice) == 0


async def test_a_drain_asked_for_before_the_start_stops_at_once() -> None:
    bench = Bench()
    bench.add("service")
    bench.supervisor.request_drain("early")
    assert await bench.clock.run(bench.supervisor.run()) == 0
    assert bench.diary == [("service drains", 0), ("service ended", 0)]


async def test_cancelling_the_supervisor_cancels_its_services() -> None:
    bench = Bench()
    bench.add("service")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(bench.supervisor.run())
        await bench.clock.settle()
        running.cancel()
    assert running.cancelled()
    assert bench.diary == [("service cancelled", 0)]


async def test_a_name_taken_twice_is_refused() -> None:
    bench = Bench()
    bench.add("launching")
    with pytest.raises(ValueError, match="'launching'"):
        bench.add("launching")
