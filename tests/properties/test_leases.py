"""The laws of leases, for replicas whose clocks drift, whose calls are slow or lose their replies, and which freeze or die."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import count, cycle

from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from dagy_control.errors import Conflict, Transient
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.leases import LeaseHolder, LeaseKeeper, LeaseMetrics
from dagy_control.kernel.tasks import end_tasks
from dagy_control.model.leases import Lease
from tests.fakes.clock import VirtualClock
from tests.fakes.drift import DriftingClock
from tests.fakes.leases import FakeLeases

NAME = "dagy/main/launching"
SAMPLE_S = 0.25
LEASES_S = (8.0, 10.0, 12.0)  # replicas may be configured differently
LONGEST_S = max(LEASES_S)
LONGEST_TROUBLE_S = 30.0
RATES = (
    0.9,
    0.95,
    1.0,
    1.05,
    1.1,
)  # of the replicas' monotonic clocks: the assumption that the algorithm rests on, with room


class Fate(StrEnum):
    """How a call ends."""

    ANSWERED = "answered"
    LOST_REPLY = "lost reply"
    LOST_REQUEST = "lost request"


@dataclass(frozen=True)
class Weather:
    """One call: true seconds until it takes effect, true seconds until its reply, and its end."""

    there_s: float
    back_s: float
    fate: Fate


CALM = Weather(0.05, 0.05, Fate.ANSWERED)
CUT_OFF = Weather(0.05, 0.05, Fate.LOST_REQUEST)
WEATHER = st.sampled_from(
    [
        CALM,
        CALM,
        Weather(0.1, 1.5, Fate.ANSWERED),
        Weather(1.5, 0.1, Fate.ANSWERED),
        Weather(0.05, 20.0, Fate.ANSWERED),  # later than anybody waits
        Weather(20.0, 0.05, Fate.ANSWERED),  # the same, and it takes effect when nobody expects it any more
        Weather(0.05, 0.05, Fate.LOST_REPLY),
        CUT_OFF,
    ]
)


class Line:
    """`ports.Leases`, as one replica reaches it: a request once sent arrives, even if nobody waits for the reply any more."""

    def __init__(self, table: FakeLeases, true: VirtualClock, clock: DriftingClock, weather: list[Weather]) -> None:
        self._table = table
        self._true = true
        self._clock = clock
        self._weather: Iterator[Weather] = cycle(weather)
        self._cut_until = 0.0
        self._under_way: set[asyncio.Task[None]] = set()

    def cut(self, seconds: float) -> None:
        """For so long no new request gets through."""
        self._cut_until = max(self._cut_until, self._true.monotonic() + seconds)

    async def clear_up(self) -> None:
        """From now on every call is quick and answered; what is still on its way is lost."""
        self._weather, self._cut_until = cycle([CALM]), 0.0
        await end_tasks(*self._under_way)

    async def get(self, lease_name: str) -> Lease | None:
        seen: list[Lease | None] = []

        async def arrive() -> None:
            seen.append(await self._table.get(lease_name))

        await self._call(arrive)
        return seen[0]

    async def put_if(self, lease: Lease, *, seen_nonce: str | None) -> None:
        async def arrive() -> None:
            await self._table.put_if(lease, seen_nonce=seen_nonce)

        await self._call(arrive)

    async def _call(self, arrive: Callable[[], Awaitable[None]]) -> None:
        weather = next(self._weather)
        if self._true.monotonic() < self._cut_until:
            weather = CUT_OFF
        journey = asyncio.ensure_future(self._travel(arrive, weather))  # noqa: TID251 - kept, and ended by `close`
        self._under_way.add(journey)
        journey.add_done_callback(self._landed)
        refused: Conflict | None = None
        try:
            await asyncio.shield(journey)
        except Conflict as conflict:
            refused = conflict
        await self._true.sleep(weather.back_s)
        await self._clock.thaw()
        if weather.fate is not Fate.ANSWERED:
            raise Transient(weather.fate)
        if refused is not None:
            raise refused

    async def _travel(self, arrive: Callable[[], Awaitable[None]], weather: Weather) -> None:
        await self._true.sleep(weather.there_s)
        if weather.fate is not Fate.LOST_REQUEST:
            await arrive()

    def _landed(self, journey: "asyncio.Task[None]") -> None:
        self._under_way.discard(journey)
        if not journey.cancelled():
            journey.exception()  # a refusal that nobody waited for


class Replica:
    """One process after the other in one place: a crash ends one as a power cut does, a release in good order."""

    def __init__(self, world: "World", number: int, *, rate: float, lease_s: float, weather: list[Weather]) -> None:
        self.world = world
        self.number = number
        self.lease_s = lease_s
        self.clock = DriftingClock(world.true, rate=rate, start_s=1e5 * number)
        self.line = Line(world.table, world.true, self.clock, weather)
        self.processes = 0
        self.start()

    def start(self) -> None:
        """A new process, which knows nothing of the one before."""
        self.processes += 1
        name, nonces = f"{self.number}.{self.processes}", count(1)
        holder = LeaseHolder(name, self.lease_s, lambda: f"{name}-{next(nonces)}")
        keeper = LeaseKeeper(self.line, self.clock, holder, LeaseMetrics(CollectorRegistry()))
        self.lease = keeper.keep(NAME)
        self.drain = Drain()
        self.task = asyncio.ensure_future(keeper.run(self.drain))  # noqa: TID251 - kept, and ended by `crash`

    async def crash(self) -> None:
        await end_tasks(self.task)

    @property
    def acts(self) -> bool:
        return not self.task.done() and self.lease.held


class Kind(StrEnum):
    """What befalls a replica."""

    FREEZE = "freeze"
    CUT = "cut off from the table"
    CRASH = "crash"
    RELEASE = "release"


@dataclass(frozen=True)
class Trouble:
    """After `after_s` it befalls one replica (None: the one that acts); `length_s` later it is over.

    Then a frozen one thaws, one that was cut off has the table again, a dead or drained one has a successor.
    """

    after_s: float
    replica: int | None
    kind: Kind
    length_s: float


TROUBLES = st.lists(
    st.builds(
        Trouble,
        after_s=st.sampled_from([0.0, 0.5, 3.0, 7.0, 15.0, 15.25, 16.0, 17.5]),
        replica=st.sampled_from([None, None, 0, 1, 2]),
        kind=st.sampled_from(list(Kind)),
        length_s=st.sampled_from([0.5, 6.0, 9.0, 13.0, LONGEST_TROUBLE_S]),
    ),
    min_size=2,
    max_size=10,
)


class World:
    """Replicas at one table, watched at every sample."""

    def __init__(self) -> None:
        self.true = VirtualClock()
        self.table = FakeLeases()
        self.replicas: list[Replica] = []
        self.returns: list[tuple[float, Replica]] = []
        self.epoch = 0

    @property
    def acting(self) -> list[Replica]:
        return [replica for replica in self.replicas if replica.acts]

    async def watch(self, seconds: float) -> None:
        """Let time pass, and look: at most one acts, and the epoch never falls."""
        for _ in range(round(seconds / SAMPLE_S)):
            await self.true.advance(SAMPLE_S)
            for returning in [each for each in self.returns if each[0] <= self.true.monotonic()]:
                self.returns.remove(returning)
                await returning[1].crash()
                returning[1].start()
            self.check()

    def check(self) -> None:
        names = [f"{replica.number}.{replica.processes}" for replica in self.acting]
        assert len(names) <= 1, f"{names} act at the same moment"
        record = self.table.records.get(NAME)
        assert record is None or record.epoch >= self.epoch
        self.epoch = record.epoch if record else 0

    async def befall(self, trouble: Trouble) -> None:
        number = trouble.replica
        if number is None:
            number = self.acting[0].number if self.acting else 0
        replica = self.replicas[number % len(self.replicas)]
        match trouble.kind:
            case Kind.FREEZE:
                replica.clock.freeze(trouble.length_s)
                return
            case Kind.CUT:
                replica.line.cut(trouble.length_s)
                return
            case Kind.CRASH:
                await replica.crash()
            case Kind.RELEASE:
                replica.drain.begin()
        self.returns.append((self.true.monotonic() + trouble.length_s, replica))

    async def calm_down(self) -> None:
        """No more trouble: calls are quick and answered, what was under way is lost, everybody has thawed or returned."""
        for replica in self.replicas:
            await replica.line.clear_up()
        await self.watch(LONGEST_TROUBLE_S + 2 * LONGEST_S)

    async def until_acting(self, within_s: float) -> None:
        """Let time pass until one acts; it must within so many true seconds."""
        deadline = self.true.monotonic() + within_s
        while not self.acting:
            await self.watch(SAMPLE_S)
            assert self.true.monotonic() <= deadline, f"nobody acts after {within_s:g} s"

    async def close(self) -> None:
        for replica in self.replicas:
            await replica.crash()
            await replica.line.clear_up()


Setting = tuple[float, float, list[Weather]]
REPLICAS = st.lists(
    st.tuples(st.sampled_from(RATES), st.sampled_from(LEASES_S), st.lists(WEATHER, min_size=1, max_size=12)),
    min_size=2,
    max_size=3,
)


def played(replicas: Sequence[Setting], troubles: Sequence[Trouble], then: Callable[[World], Awaitable[None]]) -> World:
    """Start the replicas, let the troubles befall them, calm down, and do one thing more."""

    async def play() -> World:
        world = World()
        world.replicas = [
            Replica(world, number, rate=rate, lease_s=lease_s, weather=weather)
            for number, (rate, lease_s, weather) in enumerate(replicas)
        ]
        try:
            for trouble in troubles:
                await world.watch(trouble.after_s)
                await world.befall(trouble)
            await world.watch(2 * LONGEST_S)
            await world.calm_down()
            await then(world)
        finally:
            await world.close()
        return world

    return asyncio.run(play())


async def _crash_the_holder(world: World) -> None:
    (holder,) = world.acting
    await holder.crash()
    await world.until_acting(within_s=2 * LONGEST_S)
    assert world.acting != [holder]


async def _drain_the_holder(world: World) -> None:
    (holder,) = world.acting
    holder.drain.begin()
    await world.true.settle()
    assert not world.acting, "it stops before it says so"
    await world.until_acting(within_s=LONGEST_S / 5 / min(RATES) + 1)  # their next look, and the calls
    assert world.acting != [holder]


FROZEN = Trouble(4.5, None, Kind.FREEZE, LONGEST_TROUBLE_S)
SLOW_REPLIES = Weather(0.1, 1.5, Fate.ANSWERED)


@settings(deadline=None, max_examples=150)
@given(REPLICAS, TROUBLES)
@example([(0.9, 10.0, [CALM]), (1.1, 10.0, [CALM])], [FROZEN])  # the slowest holder and the fastest taker
@example([(0.9, 12.0, [CALM]), (1.1, 8.0, [CALM])], [FROZEN])  # a taker whose own lease is shorter
@example([(1.0, 12.0, [SLOW_REPLIES]), (1.0, 12.0, [CALM])], [FROZEN])  # frozen before the reply to its renewal
def test_at_most_one_acts_at_any_moment_no_epoch_falls_and_a_crash_hands_over_within_two_leases(
    replicas: list[Setting], troubles: list[Trouble]
) -> None:
    world = played(replicas, troubles, _crash_the_holder)
    holders = {(lease.epoch, lease.holder) for lease in world.table.writes}
    assert len(holders) == len({epoch for epoch, _ in holders}), "an epoch has one holder"
    epochs = [lease.epoch for lease in world.table.writes]
    assert epochs == sorted(epochs)
    assert len({lease.nonce for lease in world.table.writes}) == len(world.table.writes)
    event(f"holders: {min(len(holders), 6)}")


@settings(deadline=None, max_examples=30)
@given(REPLICAS, TROUBLES)
def test_a_release_hands_over_at_the_next_look(replicas: list[Setting], troubles: list[Trouble]) -> None:
    played(replicas, troubles, _drain_the_holder)
