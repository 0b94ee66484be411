"""The launch breaker: what opens it, what it holds back, and how it closes."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from dagy_control.errors import Transient
from dagy_control.launching.breaker import (
    CLOSED,
    Breaker,
    BreakerPolicy,
    Claims,
    after_refusal,
    allowed_claims,
    choose_probe,
    shape_of,
)
from dagy_control.model.launch_failure import LaunchCause, LaunchFailure, LaunchFailureKind
from dagy_control.model.runs import FailureClass, RunStatus
from tests.builders import NOW, a_run, refusal, target
from tests.launch_bed import LaunchBed

POLICY = BreakerPolicy(refusals=3, probe_delay_s=30, probe_delay_max_s=100)
LOST = Transient("the reply was lost")


def refused_for(cause: LaunchCause | None, message: str = "ECS said no") -> LaunchFailure:
    return LaunchFailure(
        kind=LaunchFailureKind.PERMANENT,
        failure_class=FailureClass.LAUNCH_CONFIGURATION,
        message=message,
        cause=cause,
    )


DENIED = refused_for(LaunchCause.PERMISSION)


def after(failures: Sequence[LaunchFailure], runs: Sequence[str] = (), breaker: Breaker = CLOSED) -> Breaker:
    """The breaker after these refusals at one moment, each of another run unless `runs` says whose."""
    for number, failure in enumerate(failures):
        run = a_run(run_id=runs[number] if runs else f"run-{number}")
        breaker = after_refusal(breaker, run, failure, POLICY, NOW)
    return breaker


@pytest.mark.parametrize(
    ("failures", "is_open"),
    [
        pytest.param([DENIED] * 2, False, id="two refusals may be chance"),
        pytest.param([DENIED] * 3, True, id="three in a row"),
        pytest.param([DENIED, DENIED, refused_for(LaunchCause.CLUSTER)], False, id="for different causes"),
        pytest.param([refused_for(LaunchCause.RUN)] * 9, False, id="each for its own request"),
        pytest.param([refused_for(None)] * 9, False, id="for lack of capacity"),
        pytest.param([DENIED, refused_for(LaunchCause.RUN), DENIED, DENIED], True, id="a run's own fault tells nothing"),
        pytest.param(
            [refused_for(LaunchCause.UNKNOWN, f"Bad value '{n}' for arn:aws:x:{n}") for n in range(3)],
            True,
            id="unknown, but told in the same words",
        ),
        pytest.param(
            [refused_for(LaunchCause.UNKNOWN, word) for word in ("Strange", "Odd", "Queer")],
            False,
            id="unknown, in different words",
        ),
    ],
)  # fmt: skip
def test_it_opens_by_refusals_of_different_runs_for_one_cause(failures: list[LaunchFailure], *, is_open: bool) -> None:
    assert after(failures).is_open is is_open


def test_one_run_refused_again_and_again_does_not_open_it() -> None:
    assert not after([DENIED] * 9, runs=["r1"] * 9).is_open


def test_one_probe_at_a_time_is_let_through_and_each_refused_one_doubles_the_wait() -> None:
    breaker = after([DENIED] * 3)
    waits = []
    for number in range(4):
        assert breaker.probe_at is not None
        waits.append((breaker.probe_at - NOW).total_seconds())
        assert allowed_claims(breaker, breaker.probe_at - timedelta(seconds=1)) is Claims.NONE
        assert allowed_claims(breaker, breaker.probe_at) is Claims.ONE
        breaker = after_refusal(breaker, a_run(run_id=f"probe-{number}"), DENIED, POLICY, breaker.probe_at)
    assert [later - earlier for earlier, later in zip([0.0, *waits], waits, strict=False)] == [30, 60, 100, 100]
    assert allowed_claims(CLOSED, NOW) is Claims.ALL


def test_a_refusal_that_was_on_its_way_when_it_opened_does_not_lengthen_the_wait() -> None:
    breaker = after([DENIED] * 3)
    assert after([DENIED] * 20, breaker=breaker).probe_at == breaker.probe_at


def test_a_probe_refused_for_another_cause_keeps_it_open_for_that_one() -> None:
    breaker = after([DENIED] * 3)
    assert breaker.probe_at is not None
    breaker = after_refusal(breaker, a_run(), refused_for(LaunchCause.CLUSTER), POLICY, breaker.probe_at)
    assert (breaker.is_open, breaker.cause, breaker.opened_at) == (True, LaunchCause.CLUSTER, NOW)


def test_a_probe_is_of_an_organisation_that_was_not_refused_if_there_is_one() -> None:
    breaker = after([DENIED] * 3)
    acme, other = a_run(run_id="a"), a_run(run_id="b", org_id="other")
    assert choose_probe(breaker, (acme, other)) == (other,)
    assert choose_probe(breaker, (acme,)) == (acme,)
    assert choose_probe(breaker, ()) == ()


def test_the_shape_of_a_message_leaves_out_what_is_particular_to_a_call() -> None:
    one = "Role 'a' of arn:aws:iam::1:role/x is bad (request 8f2c-1)"
    other = 'Role "bcd" of arn:aws:iam::2:role/y is bad (request 77aa-2)'
    assert shape_of(one) == shape_of(other) != shape_of("Role 'a' is good")


# In the loop.


def denied_bed(count: int, *, refusals: int, max_in_flight: int = 1) -> LaunchBed:
    bed = LaunchBed(
        *(a_run(run_id=f"run-{number:02}") for number in range(count)), breaker=POLICY, max_in_flight=max_in_flight
    )
    for _ in range(refusals):
        bed.tasks.next_failure(DENIED)
    return bed


def count_of(bed: LaunchBed, status: RunStatus) -> int:
    return sum(run.status is status for run in bed.runs.records.values())


async def test_a_lost_permission_fails_three_runs_and_the_others_wait_until_it_is_back() -> None:
    bed = denied_bed(20, refusals=6)
    await bed.tick()
    assert (count_of(bed, RunStatus.FAILED), count_of(bed, RunStatus.QUEUED)) == (3, 17)
    assert bed.metrics.get_sample_value("dagy_launch_breaker_open", {"cause": "permission"}) == 1
    assert bed.loop.describe_breaker().startswith("open since 00:00:00 for permission")
    await bed.tick()
    assert len(bed.tasks.requests) == 3, "no run is sent while it is open"
    assert bed.metrics.get_sample_value("dagy_queue_held", {"reason": "breaker_open"}) == 17
    for _ in range(60):
        await bed.clock.advance(10)
        await bed.tick()
    assert (count_of(bed, RunStatus.FAILED), count_of(bed, RunStatus.RUNNING)) == (3, 17)
    assert bed.metrics.get_sample_value("dagy_launch_breaker_open", {"cause": "permission"}) == 0
    assert bed.metrics.get_sample_value("dagy_launches_total", {"result": "held"}) == 3
    assert bed.loop.describe_breaker() == "closed"


async def test_runs_that_were_on_their_way_when_it_opened_go_back_to_the_queue_uncounted() -> None:
    bed = denied_bed(20, refusals=20, max_in_flight=10)
    await bed.tick()
    assert (count_of(bed, RunStatus.FAILED), count_of(bed, RunStatus.QUEUED)) == (3, 17)
    assert {run.launch_try for run in bed.runs.records.values()} == {1}
    held = [run for run in bed.runs.records.values() if run.transitions and run.status is RunStatus.QUEUED]
    assert held
    assert all(run.transitions[-1].why.startswith("held: ECS launch failed: ECS said no") for run in held)


async def test_runs_refused_for_their_own_size_all_fail_and_hold_nobody_back() -> None:
    bed = denied_bed(20, refusals=0)
    for _ in range(19):
        bed.tasks.next_failure(refused_for(LaunchCause.RUN))
    await bed.tick()
    assert (count_of(bed, RunStatus.FAILED), count_of(bed, RunStatus.RUNNING)) == (19, 1)


async def test_a_probe_that_is_refused_for_its_own_size_fails_and_the_next_one_is_sent_at_once() -> None:
    bed = denied_bed(5, refusals=3)
    await bed.tick()
    bed.tasks.next_failure(refused_for(LaunchCause.RUN))
    await bed.clock.advance(31)
    await bed.tick()
    assert (count_of(bed, RunStatus.FAILED), count_of(bed, RunStatus.QUEUED)) == (4, 1)
    await bed.clock.advance(1)
    await bed.tick()
    assert (count_of(bed, RunStatus.RUNNING), bed.loop.describe_breaker()) == (1, "closed")


async def test_a_success_between_refusals_keeps_it_closed() -> None:
    bed = denied_bed(3, refusals=2)
    await bed.tick()
    for number in range(2):
        bed.runs.seed(a_run(run_id=f"late-{number}"))
        bed.tasks.next_failure(DENIED)
    await bed.tick()
    assert (count_of(bed, RunStatus.FAILED), bed.loop.describe_breaker()) == (4, "closed")


async def test_an_answer_without_capacity_says_that_the_target_is_right() -> None:
    bed = denied_bed(2, refusals=2)
    await bed.tick()
    bed.runs.seed(a_run(run_id="late"), a_run(run_id="later"))
    bed.tasks.next_failure(refusal(LaunchFailureKind.RETRYABLE, settles_token=True))
    bed.tasks.next_failure(DENIED)
    await bed.tick()
    assert bed.loop.describe_breaker() == "closed"


async def test_an_adopted_task_of_before_does_not_close_it() -> None:
    bed = LaunchBed(a_run(run_id="lost"), breaker=POLICY, max_in_flight=1)
    bed.tasks.next_error("run_task", LOST, applied=True)
    with pytest.raises(Transient):
        await bed.tick()
    bed.runs.seed(*(a_run(run_id=f"run-{number}") for number in range(3)))
    for _ in range(3):
        bed.tasks.next_failure(DENIED)
    await bed.tick()
    assert bed.loop.describe_breaker() != "closed"
    await bed.clock.advance(46)
    bed.tasks.next_failure(DENIED)
    await bed.tick()
    assert bed.runs.records["lost"].status is RunStatus.RUNNING
    assert bed.loop.describe_breaker() != "closed"


async def test_a_changed_target_is_tried_at_once() -> None:
    bed = denied_bed(5, refusals=3)
    await bed.tick()
    assert count_of(bed, RunStatus.QUEUED) == 2
    bed.loop.policy = bed.policy.__class__(target=target(task_definition="dagy-worker:4"), breaker=POLICY)
    await bed.tick()
    assert count_of(bed, RunStatus.RUNNING) == 2


async def test_runs_of_one_refused_organisation_do_not_keep_another_waiting() -> None:
    bed = denied_bed(10, refusals=3)
    await bed.tick()
    bed.runs.seed(a_run(run_id="other", org_id="other", active_since=NOW))
    await bed.clock.advance(31)
    await bed.tick()
    assert bed.runs.records["other"].status is RunStatus.RUNNING
    assert bed.loop.describe_breaker() == "closed"
