"""The one rule for every write to a run."""

import pytest

from dagy_control.errors import Conflict, Permanent, Transient
from dagy_control.model.lifecycle import record_stop_cause, request_cancel
from dagy_control.model.runs import ActiveRun, Run, RunChange, StopCause, applied
from tests.builders import NOW, a_run, running, writer_of
from tests.fakes.clock import VirtualClock
from tests.fakes.runs import FakeRuns

LOST = Transient("the reply was lost")


class Restless(FakeRuns):
    """Somebody else writes before each of our first `others` writes."""

    others = 0

    async def change(self, change: RunChange, op_id: str) -> Run:
        if self.others:
            self.others -= 1
            run = self.records[change.run_id]
            self.seed(applied(run, RunChange(run_id=run.run_id, expected_version=run.version, fields={}), "other"))
        return await super().change(change, op_id)


def note(run: ActiveRun) -> RunChange:
    return record_stop_cause(run, StopCause.TIMED_OUT, now=NOW, by="test")


async def test_a_write_gives_the_run_after_it() -> None:
    clock, runs = VirtualClock(), FakeRuns(running())
    run = await clock.run(writer_of(runs, clock).write(note(running())))
    assert (run.stop_cause, run.version, run.op_id) == (StopCause.TIMED_OUT, 8, "op-1")
    assert runs.records["r1"] == run


async def test_a_write_whose_reply_was_lost_is_repeated_under_the_same_id_and_is_one_write() -> None:
    clock, runs = VirtualClock(), FakeRuns(running())
    runs.next_error("change", LOST, applied=True)
    run = await clock.run(writer_of(runs, clock).write(note(running())))
    assert (run.version, len(runs.writes), runs.calls) == (8, 1, ["change", "change"])


async def test_a_create_whose_reply_was_lost_is_a_success() -> None:
    clock, runs = VirtualClock(), FakeRuns()
    runs.next_error("create", LOST, applied=True)
    assert (await clock.run(writer_of(runs, clock).create(a_run()))).run_id == "r1"


async def test_a_create_of_a_run_that_somebody_else_has_made_is_a_conflict_with_that_run() -> None:
    clock, runs = VirtualClock(), FakeRuns(a_run(priority=3))
    with pytest.raises(Conflict) as caught:
        await clock.run(writer_of(runs, clock).create(a_run()))
    assert caught.value.current == a_run(priority=3)


async def test_each_write_has_an_id_of_its_own() -> None:
    clock, runs = VirtualClock(), FakeRuns(running())
    writer = writer_of(runs, clock)
    await clock.run(writer.write(note(await clock.run(writer.write(note(running()))))))
    assert [op_id for _, op_id in runs.writes] == ["op-1", "op-2"]


async def test_a_write_that_stays_unknown_is_transient_and_one_that_is_refused_permanent() -> None:
    clock, runs = VirtualClock(), FakeRuns(running())
    runs.next_error("change", LOST, times=4)
    with pytest.raises(Transient):
        await clock.run(writer_of(runs, clock).write(note(running())))
    runs.next_error("change", Permanent("AccessDenied"))
    with pytest.raises(Permanent):
        await clock.run(writer_of(runs, clock).write(note(running())))
    assert len(runs.calls) == 5


async def test_a_lost_race_is_decided_again_from_the_record_as_it_is() -> None:
    clock, runs = VirtualClock(), Restless(running())
    runs.others = 2
    seen: list[int] = []

    def decide(run: ActiveRun) -> RunChange:
        seen.append(run.version)
        return note(run)

    written, instead = await clock.run(writer_of(runs, clock).settle(running(), decide))
    assert seen == [7, 8, 9]
    assert (written, instead) == (runs.records["r1"], None)


async def test_a_decision_against_writing_is_handed_back() -> None:
    clock, runs = VirtualClock(), FakeRuns(running(cancel_requested_at=NOW))

    def decide(run: ActiveRun) -> RunChange | str:
        return request_cancel(run, now=NOW, by="test") or "on record already"

    stale = running(version=3)
    assert await clock.run(writer_of(runs, clock).settle(stale, decide)) == (None, "on record already")
    assert runs.writes == []


@pytest.mark.parametrize(("others", "wins"), [(4, True), (5, False)])
async def test_five_lost_races_are_enough(others: int, wins: bool) -> None:
    clock, runs = VirtualClock(), Restless(running())
    runs.others = others
    settled = clock.run(writer_of(runs, clock).settle(running(), note))
    if wins:
        assert (await settled)[0] is not None
    else:
        with pytest.raises(Conflict):
            await settled


async def test_a_record_that_is_gone_is_a_conflict() -> None:
    clock, runs = VirtualClock(), FakeRuns()
    with pytest.raises(Conflict) as caught:
        await clock.run(writer_of(runs, clock).settle(running(), note))
    assert caught.value.current is None
