"""What a replica does about a lease, given what it saw, when, on its own clock."""

from dataclasses import replace

import pytest

from dagy_control.model.leases import (
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

NOW = 500.0
MINE = Lease(lease_name="l", holder="me", epoch=4, nonce="m1", lease_s=30)
THEIRS = Lease(lease_name="l", holder="other", epoch=4, nonce="t1", lease_s=30)


def sight(lease: Lease | None, *, since_s: float = 0, looked_s: float = 0, renewed_s: float | None = None) -> Sight:
    """First seen, last looked at, and renewed so long before NOW."""
    return Sight(
        lease=lease,
        since=NOW - since_s,
        looked_at=NOW - looked_s,
        renewed_at=None if renewed_s is None else NOW - renewed_s,
    )


@pytest.mark.parametrize(
    ("seen", "move"),
    [
        pytest.param(None, LeaseMove(LeaseStep.LOOK), id="nothing is known: look"),
        pytest.param(sight(None), LeaseMove(LeaseStep.TAKE), id="there is no record: take"),
        pytest.param(sight(replace(THEIRS, released=True)), LeaseMove(LeaseStep.TAKE), id="released: take at once"),
        pytest.param(sight(replace(MINE, released=True)), LeaseMove(LeaseStep.TAKE), id="released by us: take as any"),
        pytest.param(sight(MINE, renewed_s=0), LeaseMove(LeaseStep.KEEP, 6), id="just renewed: keep for a fifth"),
        pytest.param(sight(MINE, renewed_s=5), LeaseMove(LeaseStep.KEEP, 1), id="renewed a while ago: keep the rest"),
        pytest.param(sight(MINE, renewed_s=6), LeaseMove(LeaseStep.RENEW), id="a fifth has passed: renew"),
        pytest.param(sight(MINE, renewed_s=99), LeaseMove(LeaseStep.RENEW), id="lapsed but still in our name: renew"),
        pytest.param(sight(MINE), LeaseMove(LeaseStep.RENEW), id="ours by a write without a reply: renew at once"),
        pytest.param(sight(THEIRS), LeaseMove(LeaseStep.WATCH, 6), id="just seen: watch, and look again in a fifth"),
        pytest.param(sight(THEIRS, since_s=29), LeaseMove(LeaseStep.WATCH, 1), id="about to expire: watch until then"),
        pytest.param(sight(THEIRS, since_s=9, looked_s=6), LeaseMove(LeaseStep.LOOK), id="a fifth without a look: look"),
        pytest.param(sight(THEIRS, since_s=30), LeaseMove(LeaseStep.TAKE), id="the same nonce for a whole lease: take"),
        pytest.param(
            sight(replace(THEIRS, lease_s=90), since_s=30, looked_s=12),
            LeaseMove(LeaseStep.WATCH, 6),
            id="its holder's lease counts, not ours",
        ),
        pytest.param(
            sight(THEIRS, since_s=30 - 1e-9), LeaseMove(LeaseStep.WATCH, 0.01), id="no wait is too short for a clock"
        ),
    ],
)  # fmt: skip
def test_the_first_rule_that_fits_decides(seen: Sight | None, move: LeaseMove) -> None:
    decided = decide(seen, "me", NOW)
    assert decided.step is move.step
    assert decided.wait_s == pytest.approx(move.wait_s)


@pytest.mark.parametrize(
    ("seen", "acts"),
    [
        pytest.param(None, False, id="nothing is known"),
        pytest.param(sight(None), False, id="no record"),
        pytest.param(sight(THEIRS), False, id="another's"),
        pytest.param(sight(MINE), False, id="ours by a write without a reply"),
        pytest.param(sight(MINE, renewed_s=19.9), True, id="within two thirds"),
        pytest.param(sight(MINE, renewed_s=20), False, id="two thirds have passed"),
    ],
)
def test_a_holder_acts_for_two_thirds_of_its_lease(seen: Sight | None, acts: bool) -> None:
    assert may_act(seen, NOW) is acts


def test_validity_counts_from_before_the_request_not_from_the_reply() -> None:
    answered = wrote(MINE, sent_at=NOW - 19, at=NOW)
    assert may_act(answered, NOW)
    assert not may_act(answered, NOW + 1)


def test_a_nonce_is_watched_from_the_reply_that_first_showed_it() -> None:
    first = saw(None, THEIRS, me="me", at=NOW)
    again = saw(first, THEIRS, me="me", at=NOW + 6)
    assert (again.since, again.looked_at) == (NOW, NOW + 6)
    moved = saw(again, replace(THEIRS, nonce="t2"), me="me", at=NOW + 12)
    assert (moved.since, moved.looked_at) == (NOW + 12, NOW + 12)


def test_a_write_of_ours_without_a_reply_neither_ends_nor_extends_our_validity() -> None:
    held = wrote(MINE, sent_at=NOW, at=NOW + 1)
    found = saw(held, renewed(MINE, "m2"), me="me", at=NOW + 9)
    assert found.renewed_at == NOW
    assert decide(found, "me", NOW + 9).step is LeaseStep.RENEW


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param(replace(THEIRS, epoch=5), id="taken by another"),
        pytest.param(None, id="deleted by hand"),
        pytest.param(replace(MINE, released=True), id="released by hand"),
    ],
)
def test_whoever_sees_that_the_lease_is_not_its_own_stops_at_once(shown: Lease | None) -> None:
    held = wrote(MINE, sent_at=NOW, at=NOW)
    assert not may_act(saw(held, shown, me="me", at=NOW), NOW)


def test_the_epoch_counts_holders_and_survives_renewal_and_release() -> None:
    assert taken(None, lease_name="l", me="me", nonce="n", lease_s=9) == Lease(
        lease_name="l", holder="me", epoch=1, nonce="n", lease_s=9
    )
    assert taken(THEIRS, lease_name="l", me="me", nonce="n", lease_s=9) == Lease(
        lease_name="l", holder="me", epoch=5, nonce="n", lease_s=9
    )
    assert renewed(MINE, "m2") == replace(MINE, nonce="m2")
    back = given_back(MINE, "m2")
    assert back == replace(MINE, nonce="m2", released=True)
    assert taken(back, lease_name="l", me="other", nonce="n", lease_s=9).epoch == 5
    assert not taken(back, lease_name="l", me="other", nonce="n", lease_s=9).released
