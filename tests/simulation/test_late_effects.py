"""Effects that come long after they were sent are judged by what was so then (seeds 1803 and 786 of 918751f)."""

from datetime import timedelta
from typing import Any, cast

import pytest

from dagy_control.model.failures import RetryPolicy
from dagy_control.model.lifecycle import commit_result, end_attempt
from dagy_control.model.outcomes import Sighting, judge
from dagy_control.model.runs import FailureClass, ResultStatus, Run, RunChange, applied
from tests.builders import ARN, NOW, WORKER, result, running, stopped
from tests.simulation.causes import check_end
from tests.simulation.network import EPOCH, Network, SimClock
from tests.simulation.scenario import mixed
from tests.simulation.sim_loop import SimLoop
from tests.simulation.truth import Truth
from tests.simulation.violation import Violation


class SpotTook:
    """The truth about a task that Spot has reclaimed, and that has left nothing in S3."""

    def left(self, run: Run) -> None:
        """Nothing."""

    def end_of(self, arn: str) -> FailureClass:
        """What ECS says."""
        return FailureClass.SPOT_INTERRUPTED


def judged_by_exit_code(run: Run) -> object:
    """What a daemon would write that saw the exit code only."""
    seen = Sighting(run=run, task=stopped(run, 1), now=NOW, container_name=WORKER, missing_grace_s=600)
    return end_attempt(
        run, judge(seen), RetryPolicy(), task=seen.task, container_name=WORKER, now=NOW, by="reconciling"
    )


def told_by_the_worker(run: Run) -> object:
    word = result(ResultStatus.FAILED, failure_class=FailureClass.USER_ERROR)
    return commit_result(run, word, RetryPolicy(), task_arn=ARN, now=NOW)


def check(change: object) -> None:
    run = running()
    assert isinstance(change, RunChange)
    check_end(cast("Truth", SpotTook()), run, applied(run, change, "op"), change)


def test_a_workers_own_word_stands_though_spot_took_its_task_before_it_took_effect() -> None:
    check(told_by_the_worker(running()))


def test_a_daemon_must_say_that_spot_took_the_task() -> None:
    with pytest.raises(Violation, match="10: r1 has ended by SPOT_INTERRUPTED, not by USER_ERROR"):
        check(judged_by_exit_code(running()))


def test_what_takes_effect_late_was_sent_when_it_was_sent() -> None:
    loop = SimLoop(0, shuffled=False)
    nobody: Any = None
    net = Network(loop, mixed(0).fault_plan(), nobody, nobody)
    seen = []
    loop.call_later(5.0, lambda: net._later("UpdateItem end", 40.0, lambda: seen.append(net.sent_at())))
    loop.run_until_complete(SimClock(loop).sleep(50.0))
    assert seen == [EPOCH + timedelta(seconds=5)]
    assert net.sent_at() == EPOCH + timedelta(seconds=50), "of everything else: now"
    loop.close()
