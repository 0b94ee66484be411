"""What a launching tick does with the queue and with launches whose outcome is unknown."""

from datetime import timedelta
from typing import Any

import pytest

from dagy_control.launching.decide import (
    LaunchPlan,
    LaunchPolicy,
    LaunchSnapshot,
    Settle,
    decide,
    judge_unresolved,
    may_give_up,
    may_replay,
)
from dagy_control.model.census import Census
from dagy_control.model.runs import ActiveRun
from tests.builders import ARN, NOW, a_run, ago, launching, running, target

POLICY = LaunchPolicy(target=target(), reply_timeout_s=45, token_replay_max_age_s=3300, not_found_grace_s=600)
CANCELLED = {"cancel_requested_at": ago(1)}


def plan(*, queued: list[ActiveRun] | None = None, under_way: list[ActiveRun] | None = None) -> LaunchPlan:
    return decide(LaunchSnapshot(queued or [], under_way or [], Census()), POLICY, NOW)


@pytest.mark.parametrize(
    ("run", "settle"),
    [
        pytest.param(launching(sent_s_ago=44), Settle.WAIT, id="its answer may still come"),
        pytest.param(launching(sent_s_ago=44, **CANCELLED), Settle.WAIT, id="cancelled, its answer may still come"),
        pytest.param(launching(sent_s_ago=45), Settle.REPLAY, id="no answer, token alive"),
        pytest.param(launching(sent_s_ago=3299), Settle.REPLAY, id="the token's last second"),
        pytest.param(launching(sent_s_ago=3300), Settle.LOOK, id="token expired"),
        pytest.param(launching(sent_s_ago=60, claimed_s_ago=3300), Settle.LOOK, id="renewed a minute ago, first sent too long ago"),
        pytest.param(launching(sent_s_ago=45, **CANCELLED), Settle.LOOK, id="cancelled: never replayed to learn an ARN"),
        pytest.param(running(), Settle.WAIT, id="a stale page: it runs"),
    ],
)  # fmt: skip
def test_a_launch_without_a_known_outcome(run: ActiveRun, settle: Settle) -> None:
    assert judge_unresolved(run, POLICY, NOW) is settle


@pytest.mark.parametrize(("sends", "sent_s_ago"), [(1, 3299.0), (9, 1.0)])
def test_a_tokens_age_counts_from_the_first_send_not_from_renewals(sends: int, sent_s_ago: float) -> None:
    run = launching(sent_s_ago=sent_s_ago, claimed_s_ago=3299, launch_sends=sends)
    assert may_replay(run, POLICY, NOW)
    assert not may_replay(run, POLICY, NOW + timedelta(seconds=1))


@pytest.mark.parametrize(
    ("run", "may"),
    [
        pytest.param(launching(sent_s_ago=3300), True, id="expired, grace passed"),
        pytest.param(launching(sent_s_ago=599, claimed_s_ago=4000), False, id="expired, sent within the grace"),
        pytest.param(launching(sent_s_ago=600, claimed_s_ago=4000), True, id="expired, grace just passed"),
        pytest.param(launching(sent_s_ago=3299), False, id="the token may still answer"),
        pytest.param(launching(sent_s_ago=600, **CANCELLED), True, id="cancelled, grace passed: no task is wanted"),
        pytest.param(launching(sent_s_ago=599, **CANCELLED), False, id="cancelled, within the grace"),
    ],
)
def test_a_launch_without_a_task_may_be_called_dead(run: ActiveRun, may: bool) -> None:
    assert may_give_up(run, POLICY, NOW) == may


def test_a_plan_sorts_launches_under_way_by_how_they_are_settled() -> None:
    fresh, lost, old = (
        launching(run_id=run_id, sent_s_ago=age) for run_id, age in (("fresh", 1), ("lost", 60), ("old", 4000))
    )
    decided = plan(under_way=[old, fresh, lost])
    assert (decided.replay, decided.look) == ((lost,), (old,))
    assert decided.held == {"reply_awaited": 1}


@pytest.mark.parametrize(
    ("values", "due"),
    [
        pytest.param({}, True, id="no wait"),
        pytest.param({"not_before": NOW}, True, id="the wait is over"),
        pytest.param({"not_before": NOW + timedelta(seconds=1)}, False, id="a second too early"),
    ],
)
def test_a_queued_run_waits_until_its_time(values: dict[str, Any], due: bool) -> None:
    run = a_run(**values)
    decided = plan(queued=[run])
    assert decided.launch == ((run,) if due else ())
    assert decided.held == ({} if due else {"not_yet": 1})


def test_a_run_that_two_pages_of_the_queue_showed_is_launched_once_as_its_newest_version_says() -> None:
    stale = a_run(version=3)
    newer = a_run(version=5, active_since=ago(1), not_before=NOW + timedelta(seconds=9))
    assert plan(queued=[newer, stale]).launch == ()
    assert plan(queued=[stale, stale]).launch == (stale,)


def test_a_run_on_the_pages_of_the_queue_and_of_the_launches_is_taken_up_once() -> None:
    under_way = launching(sent_s_ago=60, version=3)
    requeued = a_run(version=4)
    decided = plan(queued=[requeued], under_way=[under_way])
    assert (decided.launch, decided.replay) == ((requeued,), ())


def test_a_run_that_runs_by_now_is_left_alone() -> None:
    decided = plan(under_way=[running(external_id=ARN)])
    assert (decided.launch, decided.replay, decided.look) == ((), (), ())
