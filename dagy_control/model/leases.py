"""Leases: which of several replicas does a loop's work, decided from what one of them saw, when, on its own monotonic clock.

Leases only save effort: two replicas in one loop waste calls and harm nothing, because every write is conditional. Nothing
may rely on a lease for safety: an effect under way when it lapses goes on, and a clock may stand still (a suspended laptop).

Wall clocks are never compared. The holder counts its validity from before it sent the write, and stops acting at two thirds
of the lease; a taker counts from when a reply showed it the nonce, and waits for the whole. So at most one acts as long as
no clock runs more than 1.5 times as fast as another (C. Gray, D. Cheriton, "Leases", SOSP 1989; the nonce that must stand
still is the record version number of AWS's DynamoDB lock client).
"""

from dataclasses import dataclass, replace
from enum import StrEnum

ACT_PART = 2 / 3
"""The part of its lease in which a holder acts without having renewed it."""

RENEW_PART = 1 / 5
"""The part of the lease between two renewals of a holder, and between two looks of the others."""

WAIT_MIN_S = 0.01
"""No wait is shorter: rounding must not make anybody spin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A lease's record. `epoch` counts the holders, `nonce` differs in every write, `lease_s` is the holder's own setting.

    It is released by the flag and never deleted: the epoch would begin again.
    """

    lease_name: str
    holder: str
    epoch: int
    nonce: str
    lease_s: float
    released: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a replica knows of one lease. Times are seconds of its own monotonic clock.

    `lease`: the record as last seen, None when there is none. `since`: when a reply first showed this nonce. `looked_at`: when
    the last reply came. `renewed_at`: when the last write of its own that took effect was sent; None while it does not hold it.
    """

    lease: Lease | None
    since: float
    looked_at: float
    renewed_at: float | None = None


class LeaseStep(StrEnum):
    """What to do next. KEEP (it is ours) and WATCH (it is another's) only wait."""

    LOOK = "look"
    TAKE = "take"
    RENEW = "renew"
    KEEP = "keep"
    WATCH = "watch"


@dataclass(frozen=True, slots=True)
class LeaseMove:
    """The next step; after a KEEP or WATCH of `wait_s` decide again."""

    step: LeaseStep
    wait_s: float = 0.0


def decide(sight: Sight | None, me: str, now: float) -> LeaseMove:
    """What the replica `me` does now; the first rule that fits. TAKE and RENEW write on the condition of the nonce that was seen."""
    if sight is None:
        return LeaseMove(LeaseStep.LOOK)
    lease = sight.lease
    if lease is None or lease.released:
        return LeaseMove(LeaseStep.TAKE)
    if lease.holder == me:
        # Ours without a write that is known to have taken effect: its reply was lost. Renewing settles it.
        left_s = 0.0 if sight.renewed_at is None else sight.renewed_at + RENEW_PART * lease.lease_s - now
        return _wait(LeaseStep.KEEP, left_s) if left_s > 0 else LeaseMove(LeaseStep.RENEW)
    expires_s = sight.since + lease.lease_s - now  # by the holder's own setting, not by ours
    if expires_s <= 0:
        return LeaseMove(LeaseStep.TAKE)
    look_s = sight.looked_at + RENEW_PART * lease.lease_s - now
    return _wait(LeaseStep.WATCH, min(look_s, expires_s)) if look_s > 0 else LeaseMove(LeaseStep.LOOK)


def _wait(step: LeaseStep, wait_s: float) -> LeaseMove:
    return LeaseMove(step, max(wait_s, WAIT_MIN_S))


def may_act(sight: Sight | None, now: float) -> bool:
    """Whether the loop may begin another effect: the lease was renewed less than two thirds of it ago."""
    if sight is None or sight.lease is None or sight.renewed_at is None:
        return False
    return now - sight.renewed_at < ACT_PART * sight.lease.lease_s


def saw(before: Sight | None, lease: Lease | None, *, me: str, at: float) -> Sight:
    """What is known after a reply of the time `at` has shown this record, or that there is none.

    Our own record with another nonce is a write of ours whose reply was lost: nobody has had the lease in between, so what we
    knew of our validity still holds; from when the new nonce counts is not known.
    """
    known = before is not None and before.lease == lease
    ours = lease is not None and lease.holder == me and not lease.released
    return Sight(
        lease=lease,
        since=before.since if before is not None and known else at,
        looked_at=at,
        renewed_at=before.renewed_at if before is not None and ours else None,
    )


def wrote(lease: Lease, *, sent_at: float, at: float) -> Sight:
    """What is known after our write of this record, sent at `sent_at`, was answered at `at`."""
    return Sight(lease=lease, since=at, looked_at=at, renewed_at=sent_at)


def taken(seen: Lease | None, *, lease_name: str, me: str, nonce: str, lease_s: float) -> Lease:
    """The record that takes the lease from the one seen."""
    return Lease(lease_name=lease_name, holder=me, epoch=seen.epoch + 1 if seen else 1, nonce=nonce, lease_s=lease_s)


def renewed(lease: Lease, nonce: str) -> Lease:
    """The record of a holder that goes on."""
    return replace(lease, nonce=nonce)


def given_back(lease: Lease, nonce: str) -> Lease:
    """The record of a holder that has stopped acting: anybody may take it at once."""
    return replace(lease, nonce=nonce, released=True)
