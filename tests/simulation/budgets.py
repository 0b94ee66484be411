"""Invariants about what is tried again: budgets are neither passed nor left unused, and what waits waits."""

from dataclasses import dataclass

from dagy_control.model.failures import RetryPolicy
from dagy_control.model.lifecycle import LaunchRetryPolicy
from dagy_control.model.runs import FailureClass, Run, RunChange, RunStatus
from tests.simulation.causes import NO_TASK
from tests.simulation.truth import Truth
from tests.simulation.violation import check

USERS_FAILURES = frozenset({FailureClass.USER_ERROR, FailureClass.NO_RESULT, FailureClass.TIMED_OUT})
"""Failures of which the user's budget, `max_attempts`, always pays for another attempt."""

RETRIED = frozenset({FailureClass.INFRASTRUCTURE, FailureClass.SPOT_INTERRUPTED, FailureClass.IMAGE_PULL})
"""Failures of which the infrastructure's budget always pays for another attempt, once there was a task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """What may be tried again, and when.

    `claims_wait`: every version that runs looks at `not_before` on the record; the earlier one looks at the index only.
    `clocks_differ_s`: by so much two daemons' wall clocks may differ.
    """

    retry: RetryPolicy
    launch_retry: LaunchRetryPolicy
    clocks_differ_s: float
    claims_wait: bool = True

    def check_used(self, before: Run, run: Run) -> None:
        """5: nothing fails for what should have been tried again."""
        if run.cancel_requested_at is not None:
            return
        if run.failure_class in USERS_FAILURES:
            left = run.max_attempts - run.user_failures - 1
            check(left <= 0, f"5: {run.run_id} is {run.failure_class} with {left} attempts left")
        if before.status is RunStatus.LAUNCHING and run.failure_class not in NO_TASK:
            left = self.launch_retry.max_launch_tries - run.launch_try
            check(left <= 0, f"5: {run.run_id} is {run.failure_class} with {left} launch tries left")
        if run.failure_class in RETRIED and before.status is RunStatus.RUNNING:
            left = self.retry.max_infra_failures - run.infra_failures
            check(left <= 0, f"5: {run.run_id} is {run.failure_class} with {left} infrastructure failures left")

    def check_counted(self, before: Run, after: Run, change: RunChange) -> None:
        """5: an attempt's end is counted in the budget of its class, and in no other."""
        check(
            after.attempt == before.attempt + 1,
            f"5: {after.run_id} goes from attempt {before.attempt} to {after.attempt}",
        )
        check(after.launch_try == 1, f"5: the launch tries of an earlier attempt of {after.run_id} count for this one")
        ended_by = change.transition.failure_class if change.transition is not None else None
        if ended_by is None or ended_by is FailureClass.OUT_OF_MEMORY:
            return  # which may be tried again with more memory, by the infrastructure's budget, or be the user's failure
        counted = after.infra_failures - before.infra_failures
        own = ended_by not in USERS_FAILURES
        check(counted == own, f"5: {ended_by} of {after.run_id} is counted as {counted} infrastructure failures")

    def check_waits(self, truth: Truth, before: Run, after: Run, change: RunChange) -> None:
        """15: what is to be tried again waits as long as it should, by clocks that differ."""
        now = truth.now()
        if after.status is RunStatus.LAUNCHING and before.not_before is not None and self.claims_wait:
            early_s = (before.not_before - now).total_seconds()
            check(early_s <= self.clocks_differ_s, f"15: {after.run_id} is launched {early_s:.0f} s before its time")
        told = change.transition
        if after.status is not RunStatus.QUEUED or told is None or told.failure_class is None:
            return
        least_s = self.retry.retry_delay_s
        if after.attempt == before.attempt:
            doubled_s = self.launch_retry.retry_delay_s * 2 ** (before.launch_try - 1)
            least_s = min(doubled_s, self.launch_retry.retry_delay_max_s)
        wait_s = (after.not_before - told.at).total_seconds() if after.not_before is not None else 0.0
        check(
            wait_s >= least_s,
            f"15: {after.run_id} is to wait {wait_s:.0f} s after {told.failure_class}, not {least_s:g} s",
        )

    def check_kept(self, run: Run) -> None:
        """5: no budget is passed."""
        check(
            run.user_failures < run.max_attempts, f"5: {run.run_id} had {run.user_failures} user failures and goes on"
        )
        check(
            run.infra_failures <= self.retry.max_infra_failures,
            f"5: {run.run_id} had {run.infra_failures} infra failures",
        )
        check(
            run.launch_try <= self.launch_retry.max_launch_tries, f"5: {run.run_id} is at launch try {run.launch_try}"
        )
