"""Who works: each safeguard of the leases and of a drain taken away."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dagy_control.kernel.leases import KeptLease
from dagy_control.kernel.ticker import Tick
from dagy_control.model import leases
from tests.simulation.conduct import Conduct
from tests.simulation.faults import Fate, Outage, Slow
from tests.simulation.ports import SimLeases
from tests.simulation.removing import CALM, Mutant, always, replaced
from tests.simulation.scenario import DRIFTING


def _always_held() -> Any:
    return replaced(KeptLease, "held", property(always))


def _waits(part: float) -> Callable[[], Any]:
    """Who waits for another's lease to run out waits for this part of it."""

    def apply() -> Any:
        honest = leases.decide

        def decide(sight: Any, me: str, now: float) -> Any:
            if sight is not None and sight.lease is not None and sight.lease.holder != me:
                sight = replace(sight, lease=replace(sight.lease, lease_s=part * sight.lease.lease_s))
            return honest(sight, me, now)

        return replaced(leases, "decide", decide)

    return apply


def _from_the_answer() -> Any:
    """A lease is held from when its renewal was answered."""
    honest = leases.wrote

    def wrote(lease: Any, *, sent_at: float, at: float) -> Any:
        del sent_at
        return honest(lease, sent_at=at, at=at)

    return replaced(leases, "wrote", wrote)


def _put_anyhow() -> Any:
    honest = SimLeases.put_if

    async def put_if(port: Any, lease: Any, *, seen_nonce: Any) -> None:
        del seen_nonce
        current = port.records.get(lease.lease_name)
        await honest(port, lease, seen_nonce=current.nonce if current else None)

    return replaced(SimLeases, "put_if", put_if)


def _asked_once() -> Any:
    """A tick that has begun goes on, whoever holds the lease by then."""
    return replaced(Tick, "stopping", property(lambda tick: tick.drain.begun))


def _drain_unasked() -> Any:
    return replaced(Tick, "stopping", property(lambda tick: tick.permit is not None and not tick.permit.held))


SHARED: dict[str, Any] = {"with_leases": True, "replicas": 2, "with_earlier_version": False}
LEASES_RUN_OUT: dict[str, Any] = {
    **CALM,
    **SHARED,
    "clock_rates": DRIFTING,
    "outages": tuple(Outage(at_s, at_s + 300.0, calls=("PutItem lease renew",)) for at_s in range(300, 7000, 600)),
}
"""One clock is nearly 1.5 times as fast as the other, and now and then no lease can be renewed."""

SLOW_ANSWERS: dict[str, Any] = {**LEASES_RUN_OUT, "slow": (Slow(0.0, 7000.0, ("PutItem lease",), back_s=24.0),)}
"""A write of a lease takes effect at once, and is answered 24 s later."""

LONG_TICK: dict[str, Any] = {
    **CALM,
    **SHARED,
    "runs": 150,
    "burst": True,
    "conducts": ((1.0, Conduct.SUCCEED),),
    "outages": (
        Outage(10, 400, calls=("PutItem lease renew",)),
        Outage(0, 300, Fate.TIMEOUT_NOT_APPLIED, ("RunTask",)),
    ),
    "calm_from_s": 900.0,
    "with_trainer": False,
}
"""No RunTask is answered, so that a tick of 150 launches goes on for minutes, and the lease runs out in the middle of it."""

DRAINED: dict[str, Any] = {
    **LONG_TICK,
    "outages": (Outage(0, 300, Fate.TIMEOUT_NOT_APPLIED, ("RunTask",)),),
    "acts": ((15.0, "drain_daemon"), (16.0, "drain_daemon"), (17.0, "drain_daemon")),
}

LEASE_MUTANTS: tuple[Mutant, ...] = (
    Mutant("lease_check", "only the holder of a loop's lease works", _always_held, SHARED),
    Mutant(
        "lease_two_thirds",
        "a holder stops acting before any other's clock may have run its lease out",
        lambda: replaced(leases, "ACT_PART", 1.0),
        LEASES_RUN_OUT,
    ),
    Mutant("lease_whole", "nobody takes a lease before it has run out", _waits(0.5), LEASES_RUN_OUT),
    Mutant("lease_from_sending", "a lease is held from when its renewal was sent", _from_the_answer, SLOW_ANSWERS),
    Mutant("lease_condition", "a lease is written over what was seen, and nothing else", _put_anyhow, SHARED),
    Mutant(
        "lease_renewed_in_time",
        "a lease is renewed long before it runs out",
        lambda: replaced(leases, "RENEW_PART", 1.1),
        {**CALM, **SHARED},
    ),
    Mutant(
        "lease_taken_in_time",
        "a lease that nobody renews is taken by another",
        _waits(4.0),
        {**CALM, **SHARED, "acts": tuple((500.0 * step, "crash_holder") for step in range(1, 5))},
    ),
    Mutant("effect_asks_lease", "before each effect a loop asks whether it may go on", _asked_once, LONG_TICK),
    Mutant("effect_asks_drain", "a process that drains begins nothing new", _drain_unasked, DRAINED),
)
