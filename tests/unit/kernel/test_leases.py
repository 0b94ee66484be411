"""Keeping leases: taking, renewing, losing, handing over; and what metrics and health say about it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count

import pytest
from prometheus_client import CollectorRegistry

from dagy_control.errors import Permanent, Transient
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.leases import LeaseHolder, LeaseKeeper, LeaseMetrics
from dagy_control.model.leases import Lease
from tests.fakes.clock import VirtualClock
from tests.fakes.leases import FakeLeases

NAME = "dagy/main/launching"
LEASE_S = 30.0
THEIRS = Lease(lease_name=NAME, holder="other", epoch=7, nonce="t1", lease_s=LEASE_S)


class Replica:
    """One process's keeper, with one lease."""

    def __init__(self, clock: VirtualClock, leases: FakeLeases, name: str = "me") -> None:
        self.clock = clock
        self.registry = CollectorRegistry()
        self.drain = Drain()
        nonces = count(1)
        self.taken = 0
        holder = LeaseHolder(name, LEASE_S, lambda: f"{name}-{next(nonces)}", self._on_taken)
        self.keeper = LeaseKeeper(leases, clock, holder, LeaseMetrics(self.registry))
        self.lease = self.keeper.keep(NAME)

    def _on_taken(self) -> None:
        self.taken += 1

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, {"lease": NAME, **labels})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.keeper.run(self.drain))
            await self.clock.settle()
            yield
            self.drain.begin()
            await self.clock.advance(5)


class Bench:
    """A lease table, and replicas at it."""

    def __init__(self, *leases: Lease) -> None:
        self.clock = VirtualClock()
        self.table = FakeLeases(*leases)
        self.me = Replica(self.clock, self.table)

    def replica(self, name: str) -> Replica:
        return Replica(self.clock, self.table, name)

    @property
    def record(self) -> Lease:
        return self.table.records[NAME]

    def down(self, *, applied: bool = False, times: int = 1000) -> None:
        for method in ("get", "put_if"):
            self.table.next_error(method, Transient("no answer"), applied=applied, times=times)

    def up(self) -> None:
        self.table._errors.clear()


async def test_a_lease_that_nobody_holds_is_taken_at_once_and_renewed_every_fifth() -> None:
    bench = Bench()
    async with bench.me.running():
        assert bench.me.lease.held
        assert bench.me.lease.state() == "held here, epoch 1"
        await bench.clock.advance(4 * 6 + 1)
        assert bench.table.calls == ["get"] + ["put_if"] * 5
        assert bench.me.lease.held
        assert bench.me.metric("dagy_lease_held") == 1
        assert bench.me.metric("dagy_lease_epoch") == 1
        assert bench.me.metric("dagy_lease_takeovers_total", **{"from": "nobody"}) == 1
        assert bench.me.metric("dagy_lease_lost_total") == 0
    assert len({lease.nonce for lease in bench.table.writes}) == len(bench.table.writes)


async def test_giving_back_sets_the_flag_and_the_next_one_takes_it_at_its_next_look() -> None:
    bench = Bench()
    heir = bench.replica("heir")
    async with heir.running():
        assert heir.lease.held
        async with bench.me.running():
            assert bench.me.lease.state() == "standing by: held by heir, epoch 1"
            heir.drain.begin()
            await bench.clock.settle()
            assert not heir.lease.held
            assert (bench.record.released, bench.record.epoch) == (True, 1)
            await bench.clock.advance(LEASE_S / 5)
            assert bench.me.lease.held
            assert bench.record.epoch == 2
            assert bench.me.metric("dagy_lease_takeovers_total", **{"from": "released"}) == 1
            assert heir.metric("dagy_lease_lost_total") == 0
    assert bench.record.released


async def test_each_taking_of_a_lease_is_told_once_and_no_renewal_is() -> None:
    bench = Bench()
    heir = bench.replica("heir")
    async with bench.me.running():
        await bench.clock.advance(2 * LEASE_S)
        assert bench.me.taken == 1
    async with heir.running():
        assert (bench.me.taken, heir.taken) == (1, 1)


@pytest.mark.parametrize("their_lease_s", [10, LEASE_S, 90], ids=["shorter than ours", "like ours", "longer than ours"])
async def test_a_holder_that_has_died_is_watched_for_the_whole_of_its_own_lease(their_lease_s: float) -> None:
    bench = Bench(replace(THEIRS, lease_s=their_lease_s))
    async with bench.me.running():
        await bench.clock.advance(their_lease_s - 0.1)
        assert not bench.me.lease.held
        assert bench.table.writes == []
        await bench.clock.advance(0.2)
        assert bench.me.lease.held
        assert bench.record.epoch == 8
        assert bench.me.metric("dagy_lease_takeovers_total", **{"from": "expired"}) == 1


async def test_a_holder_that_lives_is_never_taken_from() -> None:
    bench = Bench()
    other = bench.replica("other")
    async with other.running(), bench.me.running():
        await bench.clock.advance(10 * LEASE_S)
        assert other.lease.held
        assert not bench.me.lease.held
        assert {lease.holder for lease in bench.table.writes} == {"other"}
        other.drain.begin()
        await bench.clock.advance(7)


async def test_without_the_table_the_holder_stops_at_two_thirds_and_goes_on_when_it_is_back() -> None:
    bench = Bench()
    async with bench.me.running():
        bench.down()
        await bench.clock.advance(LEASE_S * 2 / 3 - 0.1)
        assert bench.me.lease.held
        assert await bench.me.keeper.ready() is None
        await bench.clock.advance(0.2)
        assert not bench.me.lease.held
        await bench.clock.advance(5)
        assert bench.me.metric("dagy_lease_held") == 0
        assert bench.me.metric("dagy_lease_lost_total") == 1
        assert await bench.me.keeper.ready() == (
            f"nobody may act under lease {NAME} until the lease table works: no answer"
        )
        assert bench.me.lease.state() == "not held here: no answer"
        bench.up()
        await bench.clock.advance(3)
        assert bench.me.lease.held
        assert await bench.me.keeper.ready() is None
        assert bench.record.epoch == 1, "nobody else has had it"
        assert bench.me.metric("dagy_lease_takeovers_total", **{"from": "nobody"}) == 1


@pytest.mark.parametrize(
    "error", [Transient("down"), Permanent("no table DAGY_LEASES"), KeyError("a bug")], ids=["down", "refused", "bug"]
)
async def test_who_cannot_reach_the_table_at_first_is_not_ready_and_tries_again(error: Exception) -> None:
    bench = Bench()
    bench.table.next_error("get", error, times=4)
    async with bench.me.running():
        assert await bench.me.keeper.ready() is not None
        await bench.clock.advance(20)
        assert bench.me.lease.held
        assert await bench.me.keeper.ready() is None


async def test_standing_by_is_ready_and_stops_being_it_when_the_holder_must_have_stopped_too() -> None:
    bench = Bench(THEIRS)
    async with bench.me.running():
        assert await bench.me.keeper.ready() is None
        bench.down()
        await bench.clock.advance(LEASE_S * 2 / 3 - 1)
        assert await bench.me.keeper.ready() is None
        await bench.clock.advance(2)
        assert await bench.me.keeper.ready() is not None
        bench.up()
        await bench.clock.advance(3)
        assert await bench.me.keeper.ready() is None


async def test_a_call_that_hangs_is_given_up_in_time_for_another() -> None:
    bench = Bench()

    async def hang(lease: Lease, *, seen_nonce: str | None) -> None:
        await asyncio.Event().wait()

    async with bench.me.running():
        answering = bench.table.put_if
        bench.table.put_if = hang  # type: ignore[method-assign]  # a connection that never answers
        await bench.clock.advance(LEASE_S / 5 + 1)
        bench.table.put_if = answering  # type: ignore[method-assign]  # the next one does
        await bench.clock.advance(LEASE_S / 4 + LEASE_S / 10)
        assert bench.me.lease.held
        assert bench.me.metric("dagy_lease_lost_total") == 0


async def test_a_slow_reply_does_not_make_the_lease_any_longer() -> None:
    bench = Bench(replace(THEIRS, released=True))
    answering = bench.table.put_if

    async def slow(lease: Lease, *, seen_nonce: str | None) -> None:
        await answering(lease, seen_nonce=seen_nonce)
        bench.down()
        await bench.clock.sleep(7)

    bench.table.put_if = slow  # type: ignore[method-assign]  # the write takes effect at once, the reply takes its time
    async with bench.me.running():
        await bench.clock.advance(LEASE_S * 2 / 3 - 0.1)
        assert bench.me.lease.held
        await bench.clock.advance(0.2)
        assert not bench.me.lease.held


async def test_lost_replies_of_take_and_renewal_are_settled_from_the_record() -> None:
    bench = Bench()
    bench.table.next_error("put_if", Transient("lost"), applied=True)
    async with bench.me.running():
        assert not bench.me.lease.held
        await bench.clock.advance(LEASE_S / 10)
        assert bench.me.lease.held
        assert bench.record.epoch == 1
        assert bench.me.metric("dagy_lease_takeovers_total", **{"from": "nobody"}) == 1
        bench.table.next_error("put_if", Transient("lost"), applied=True)
        await bench.clock.advance(2 * LEASE_S)
        assert bench.me.lease.held
        assert (bench.record.epoch, bench.me.metric("dagy_lease_lost_total")) == (1, 0)


async def test_who_finds_its_lease_taken_stops_at_once_and_stands_by() -> None:
    bench = Bench()
    async with bench.me.running():
        bench.table.records[NAME] = replace(THEIRS, epoch=2)
        await bench.clock.advance(LEASE_S / 5 + 0.1)
        assert not bench.me.lease.held
        assert bench.me.lease.state() == "standing by: held by other, epoch 2"
        assert bench.me.metric("dagy_lease_lost_total") == 1
        assert bench.me.metric("dagy_lease_epoch") == 2


async def test_a_process_that_was_frozen_for_longer_than_its_lease_knows_it_before_its_next_effect() -> None:
    bench = Bench()
    async with bench.me.running():
        bench.clock._elapsed_s += 2 * LEASE_S  # nothing of this process ran
        assert not bench.me.lease.held
        await bench.clock.advance(0)
        assert bench.me.lease.held, "nobody has taken it meanwhile"
        assert bench.me.metric("dagy_lease_lost_total") == 1


async def test_waiting_for_a_lease_ends_when_it_is_held() -> None:
    bench = Bench(THEIRS)
    async with bench.me.running():
        waiting = asyncio.ensure_future(bench.me.lease.wait_held())  # noqa: TID251 - awaited below
        await bench.clock.advance(LEASE_S - 1)
        assert not waiting.done()
        await bench.clock.advance(2)
        assert waiting.done()
        await bench.me.lease.wait_held()


async def test_a_drain_in_the_middle_of_a_take_gives_back_what_the_take_may_have_got() -> None:
    bench = Bench()
    on_its_way = asyncio.Event()
    answering = bench.table.put_if

    async def never_answered(lease: Lease, *, seen_nonce: str | None) -> None:
        bench.table.put_if = answering  # type: ignore[method-assign]  # the next call is answered again
        await answering(lease, seen_nonce=seen_nonce)
        on_its_way.set()
        await asyncio.Event().wait()

    bench.table.put_if = never_answered  # type: ignore[method-assign]  # the write takes effect, the reply never comes
    async with bench.me.running():
        assert on_its_way.is_set()
        assert not bench.record.released
    assert bench.record.released


async def test_a_table_that_is_down_at_the_end_does_not_hold_the_process() -> None:
    bench = Bench()
    async with bench.me.running():
        bench.down()
    assert not bench.record.released
    assert not bench.me.lease.held


async def test_another_holders_lease_is_not_given_back() -> None:
    bench = Bench(THEIRS)
    async with bench.me.running():
        pass
    assert bench.record == THEIRS


async def test_a_cancelled_keeper_gives_nothing_back() -> None:
    bench = Bench()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(bench.me.keeper.run(bench.me.drain))
        await bench.clock.settle()
        task.cancel()
    assert not bench.record.released


async def test_a_keeper_keeps_several_leases_each_in_a_task_of_its_name_until_it_drains() -> None:
    bench = Bench()
    other = bench.me.keeper.keep("dagy/main/orphans")
    async with bench.me.running():
        assert bench.me.lease.held
        assert other.held
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert {f"lease {NAME}", "lease dagy/main/orphans"} <= names
    with pytest.raises(ValueError, match="is kept already"):
        bench.me.keeper.keep(NAME)


async def test_a_keeper_without_leases_waits_for_its_drain() -> None:
    bench = Bench()
    drain = Drain()
    keeper = LeaseKeeper(bench.table, bench.clock, LeaseHolder("me", 30, str), LeaseMetrics(CollectorRegistry()))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(keeper.run(drain))
        await bench.clock.advance(100)
        assert not running.done()
        assert await keeper.ready() is None
        drain.begin()


async def test_a_lease_that_is_not_wanted_is_given_to_another_replica_and_taken_back_when_it_is_wanted_again() -> None:
    bench = Bench()
    other = bench.replica("other")
    async with bench.me.running():
        await bench.clock.advance(1)
        assert bench.me.lease.held
        async with other.running():
            bench.me.lease.wanted = False
            assert not bench.me.lease.held, "it stops acting at once, before the record says so"
            await bench.clock.advance(LEASE_S / 5 + 1)
            assert other.lease.held
            assert "not wanted" in bench.me.lease.state()
        bench.me.lease.wanted = True
        await bench.clock.advance(LEASE_S / 5 + 1)
        assert bench.me.lease.held
    assert bench.record.released


async def test_a_lease_never_wanted_is_never_taken() -> None:
    bench = Bench()
    bench.me.lease.wanted = False
    async with bench.me.running():
        await bench.clock.advance(5 * LEASE_S)
    assert bench.table.records == {}
