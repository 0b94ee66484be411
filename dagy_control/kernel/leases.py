"""Keeps this process's leases: takes, renews and gives back; a loop asks whether it holds its own.

Leases only save effort (`model/leases.py`); nothing may rely on them for safety. While the table cannot be reached the holder
stops acting at two thirds of its lease, and then nobody acts until it answers: readiness says so.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from prometheus_client import CollectorRegistry, Counter, Gauge

from dagy_control.errors import Conflict, DagyError, Transient
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.retrying import retrying
from dagy_control.kernel.tasks import background, within
from dagy_control.kernel.telemetry import log
from dagy_control.model.leases import (
    ACT_PART,
    Lease,
    LeaseMove,
    LeaseStep,
    Sight,
    decide,
    given_back,
    may_act,
    renewed,
    saw,
    taken,
    wrote,
)
from dagy_control.ports.leases import Leases

CALL_PART = 1 / 4  # of the lease, for one call: a holder whose renewal hangs has time for another before it must stop
RETRY_PART = 1 / 10  # of the lease, between tries of a call that failed
GIVE_BACK_WITHIN_S = 3.0  # a courtesy to the others; the process is about to end and must not wait for it

_log = log(__name__)


class LeaseMetrics:
    """Metrics of the leases. `lease` is the record's name."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.held = Gauge(
            "dagy_lease_held", "1 while this process holds the lease and may act, else 0.", ["lease"], registry=registry
        )
        self.epoch = Gauge(
            "dagy_lease_epoch", "How often the lease has been taken, as last seen.", ["lease"], registry=registry
        )
        self.takeovers = Counter(
            "dagy_lease_takeovers_total",
            "Times that this process took the lease; `from` is nobody, released or expired.",
            ["lease", "from"],
            registry=registry,
        )
        self.lost = Counter(
            "dagy_lease_lost_total",
            "Times that this process had to stop acting: it could not renew in time, or another took the lease.",
            ["lease"],
            registry=registry,
        )


@dataclass(frozen=True, slots=True)
class LeaseHolder:
    """Who keeps leases, and how.

    `name`: one that no other process ever has, not even this one's successor on the same host. `lease_s`: seconds; other
    replicas may have another. `new_nonce` gives an id that no other write has. `on_taken` is called each time a lease was taken
    that this process did not have, before its loop may act.
    """

    name: str
    lease_s: float
    new_nonce: Callable[[], str]
    on_taken: Callable[[], None] = lambda: None


class KeptLease:
    """One lease. To a loop, a `Permit`: whether it may act, and a wait until it may."""

    def __init__(
        self, lease_name: str, leases: Leases, clock: Clock, holder: LeaseHolder, metrics: LeaseMetrics
    ) -> None:
        self.lease_name = lease_name
        self._leases = leases
        self._clock = clock
        self._me = holder.name
        self._lease_s = holder.lease_s
        self._new_nonce = holder.new_nonce
        self._on_taken = holder.on_taken
        self._metrics = metrics
        self._log = _log.bind(lease=lease_name)
        self._sight: Sight | None = None
        self._acting = False  # as last noticed; `held` is the truth, by the clock
        self._granted = asyncio.Event()
        self._wanted = True
        self._turned = asyncio.Event()  # wanted or no longer wanted: look again at once
        self._error = ""
        self._answered_at = -math.inf
        metrics.held.labels(lease_name).set_function(lambda: float(self.held))
        metrics.epoch.labels(lease_name).set(0)
        metrics.lost.labels(
            lease_name
        )  # shown as 0 from the start: an increase from nothing is no increase to Prometheus

    @property
    def held(self) -> bool:
        """True while the loop may begin another effect. It turns false by itself, by the clock."""
        return self._wanted and may_act(self._sight, self._clock.monotonic())

    @property
    def wanted(self) -> bool:
        """Whether to have the lease at all. Set to False it is given back, for another replica, until it is True again."""
        return self._wanted

    @wanted.setter
    def wanted(self, wanted: bool) -> None:
        if wanted is not self._wanted:
            self._wanted = wanted
            self._turned.set()

    async def wait_held(self) -> None:
        """Return when the lease is held; at once if it is. Costs nothing meanwhile."""
        while not self.held:
            self._granted.clear()
            await self._granted.wait()

    def state(self) -> str:
        """Who holds it, in words for people."""
        lease = self._sight.lease if self._sight is not None else None
        if not self._wanted:
            return "not wanted: its loop is switched off"
        if self.held and lease is not None:
            return f"held here, epoch {lease.epoch}"
        if self._error:
            return f"not held here: {self._error}"
        if lease is None or lease.holder == self._me:
            return "not held here"
        return f"standing by: {'released' if lease.released else 'held'} by {lease.holder}, epoch {lease.epoch}"

    def problem(self) -> str | None:
        """None, unless the table has failed for so long that the holder, whoever it is, has had to stop as well."""
        silent_s = self._clock.monotonic() - self._answered_at
        if not self._error or self.held or silent_s < ACT_PART * self._lease_s:
            return None
        return f"nobody may act under lease {self.lease_name} until the lease table works: {self._error}"

    async def keep(self, drain: Drain) -> None:
        """Take, renew or watch until the drain begins; then give the lease back, if it is ours.

        A call cut short by the drain is like one whose reply was lost: giving back looks first.
        """
        while not drain.begun:
            self._turned.clear()
            if self._wanted:
                wait_s = await drain.interrupt(self._step())
                await drain.interrupt(self._sleep_unless_turned(wait_s or 0.0))
            else:
                await self._give_back()
                await drain.interrupt(self._turned.wait())
        if self._wanted:
            await self._give_back()

    async def _sleep_unless_turned(self, seconds: float) -> None:
        async with background(self._wake_after(seconds), name=f"lease {self.lease_name}: next step"):
            await self._turned.wait()

    async def _wake_after(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._turned.set()

    async def _step(self) -> float:
        """One decision, carried out; gives the seconds until the next."""
        self._notice()
        move = decide(self._sight, self._me, self._clock.monotonic())
        if move.wait_s > 0:
            return move.wait_s
        try:
            after = await within(
                self._clock, CALL_PART * self._lease_s, self._carry_out(move), name=f"lease {self.lease_name}"
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may act on a lease that is not known to be held
            self._failed(error)
            return RETRY_PART * self._lease_s
        self._adopt(after)
        return 0.0

    async def _carry_out(self, move: LeaseMove) -> Sight:
        if self._sight is None or move.step is LeaseStep.LOOK:
            return self._shown(await self._leases.get(self.lease_name))
        seen, nonce = self._sight.lease, self._new_nonce()
        if seen is not None and move.step is LeaseStep.RENEW:
            lease = renewed(seen, nonce)
        else:
            lease = taken(seen, lease_name=self.lease_name, me=self._me, nonce=nonce, lease_s=self._lease_s)
        sent_at = self._clock.monotonic()
        try:
            await self._leases.put_if(lease, seen_nonce=seen.nonce if seen else None)
        except Conflict as conflict:
            return self._shown(conflict.current if isinstance(conflict.current, Lease) else None)
        return wrote(lease, sent_at=sent_at, at=self._clock.monotonic())

    def _shown(self, lease: Lease | None) -> Sight:
        return saw(self._sight, lease, me=self._me, at=self._clock.monotonic())

    def _adopt(self, after: Sight) -> None:
        """Know what a reply has shown, and say what has changed by it."""
        self._notice()  # first what has changed by the clock: a late reply must not hide that the lease had run out
        before, self._sight = self._sight, after
        if self._error:
            self._log.info("Lease table works again", event_type="LEASE_TABLE_RECOVERED")
        self._error, self._answered_at = "", after.looked_at
        if after.lease is not None:
            self._metrics.epoch.labels(self.lease_name).set(after.lease.epoch)
            if after.lease.holder == self._me and not _is_of(self._me, before):
                self._metrics.takeovers.labels(self.lease_name, _taken_from(before)).inc()
                self._on_taken()
        self._notice()

    def _notice(self) -> None:
        """Count and log what has become of the right to act since the last look at it."""
        held, lease = self.held, self._sight.lease if self._sight is not None else None
        if held and not self._acting:
            self._log.info("Lease held", event_type="LEASE_HELD", epoch=lease.epoch if lease else 0)
            self._granted.set()
        elif self._acting and not held:
            self._metrics.lost.labels(self.lease_name).inc()
            by = lease.holder if lease is not None and lease.holder != self._me else ""
            self._log.warning("Lease lost", event_type="LEASE_LOST", taken_by=by, error=self._error)
        self._acting = held

    def _failed(self, error: Exception) -> None:
        if not self._error:
            known = isinstance(error, DagyError | TimeoutError)
            self._log.warning(
                "Lease table fails",
                event_type="LEASE_TABLE_FAILS",
                error=str(error),
                exc_info=None if known else error,
            )
        self._error = str(error) or type(error).__name__

    async def _give_back(self) -> None:
        """Stop acting, then say so in the record."""
        if self._sight is not None:
            self._sight = replace(self._sight, renewed_at=None)
        self._acting = False
        try:
            await within(
                self._clock,
                GIVE_BACK_WITHIN_S,
                retrying(self._write_release, self._clock, key=self.lease_name),
                name=f"giving back lease {self.lease_name}",
            )
        except (DagyError, TimeoutError) as error:
            self._log.warning(
                "Lease not given back; the others wait until it expires",
                event_type="LEASE_NOT_GIVEN_BACK",
                error=str(error),
            )

    async def _write_release(self) -> None:
        lease = await self._leases.get(self.lease_name)
        if lease is None or lease.holder != self._me or lease.released:
            return
        try:
            await self._leases.put_if(given_back(lease, self._new_nonce()), seen_nonce=lease.nonce)
        except Conflict as conflict:
            raise Transient("a write of ours came late, or the release before it did") from conflict
        self._log.info("Lease given back", event_type="LEASE_GIVEN_BACK", epoch=lease.epoch)


class LeaseKeeper:
    """The leases of one process. A service in a stage after the loops, so that a lease is given back when its loop has ended."""

    def __init__(self, leases: Leases, clock: Clock, holder: LeaseHolder, metrics: LeaseMetrics) -> None:
        self._leases = leases
        self._clock = clock
        self._holder = holder
        self._metrics = metrics
        self._kept: dict[str, KeptLease] = {}

    def keep(self, lease_name: str) -> KeptLease:
        """Keep one more lease, before `run`."""
        if lease_name in self._kept:
            raise ValueError(f"lease {lease_name!r} is kept already")
        self._kept[lease_name] = KeptLease(lease_name, self._leases, self._clock, self._holder, self._metrics)
        return self._kept[lease_name]

    async def run(self, drain: Drain) -> None:
        """Keep all of them until the drain begins, then give them back. A cancelled keeper gives nothing back: they expire."""
        async with asyncio.TaskGroup() as group:
            for name, lease in self._kept.items():
                group.create_task(lease.keep(drain), name=f"lease {name}")
            await drain.wait()

    async def ready(self) -> str | None:
        """For `Health.register_ready`: None, unless the lease table fails so long that nobody may act. Asks nothing outside."""
        return next(filter(None, (lease.problem() for lease in self._kept.values())), None)


def _is_of(me: str, sight: Sight | None) -> bool:
    return sight is not None and sight.lease is not None and sight.lease.holder == me and not sight.lease.released


def _taken_from(before: Sight | None) -> str:
    """What the record said before we took it."""
    if before is None or before.lease is None:
        return "nobody"
    return "released" if before.lease.released else "expired"
