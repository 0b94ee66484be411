"""What must hold after every step, whatever goes wrong.

Numbers 1 to 9 are the architecture's. Added: 10 failure classes are true, 11 nothing is launched again blindly, 12 no loop fails
by a bug, 13 under a lease only its holder begins a tick, 14 no writer is told that it had lost to itself, 15 what is tried again
waits first.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from dagy_control.model.failures import RetryPolicy
from dagy_control.model.leases import Lease
from dagy_control.model.lifecycle import LaunchRetryPolicy
from dagy_control.model.runs import TERMINAL, FailureClass, ResultStatus, Run, RunChange, RunStatus, launch_token
from dagy_control.model.tasks import TaskIdentity


class Violation(AssertionError):
    """An invariant does not hold. The message names it; `trace` is all that had happened, a line an event."""

    trace: Sequence[str] = ()


class Truth(Protocol):
    """What really is, whatever anybody has written or read."""

    def now(self) -> datetime:
        """The true time."""
        ...

    def container_alive(self, arn: str) -> bool:
        """Whether the task's container runs."""
        ...

    def is_known(self, arn: str) -> bool:
        """Whether ECS still shows the task."""
        ...

    def was_told_of(self, arn: str) -> bool:
        """Whether an event has told of the task's end."""
        ...

    def was_reclaimed(self, arn: str) -> bool:
        """Whether Spot took the task away."""
        ...

    def has_ended(self, arn: str) -> bool:
        """Whether the task has stopped, whoever knows it."""
        ...

    def identity_of(self, arn: str) -> TaskIdentity | None:
        """For which run and attempt the task was started."""
        ...

    def left_success(self, run: Run) -> bool:
        """Whether the worker of this attempt has left a success in S3."""
        ...

    def left_result(self, run: Run) -> bool:
        """Whether the worker of this attempt has left any result in S3."""
        ...

    def end_of(self, arn: str) -> str | None:
        """The failure class that ECS's own words and codes about the task mean; None where they leave it open."""
        ...

    def is_rightful(self, arn: str) -> bool:
        """Whether the task is the current one of another system that keeps its records in a state table."""
        ...

    def strangers_found(self, arn: str, older_than_s: float) -> int:
        """How many tasks of another control plane that has our name are suspected since so long; 0 if this is none of them."""
        ...


USERS_OWN = frozenset({FailureClass.USER_ERROR, FailureClass.NO_RESULT, FailureClass.SHUTDOWN})
"""Failures that need a worker past its claim: before it, nothing of the user's has run."""

USERS_FAILURES = frozenset({FailureClass.USER_ERROR, FailureClass.NO_RESULT, FailureClass.TIMED_OUT})
"""Failures of which the user's budget, `max_attempts`, always pays for another attempt."""

RETRIED = frozenset({FailureClass.INFRASTRUCTURE, FailureClass.SPOT_INTERRUPTED, FailureClass.IMAGE_PULL})
"""Failures of which the infrastructure's budget always pays for another attempt, once there was a task."""

NO_TASK = frozenset({FailureClass.LAUNCH_PERMISSION, FailureClass.LAUNCH_CONFIGURATION})
"""Failures that say that ECS has made no task."""

CAP_COUNTS_AFTER_S = 600.0
"""A suspicion that has been on record for so long counts for every scan, whenever that began."""

CLOCKS_DIFFER_S = 10.0
"""By so much two daemons' clocks may differ."""

EXIT_GRACE = timedelta(seconds=60)
"""A worker whose run has just ended is given so long to exit."""


EVIDENCE_FIELDS = frozenset({"evidence", "stop_code", "stopped_reason", "exit_code", "estimated_cost_usd"})
"""What ECS says of a task may come after its worker has ended the run: it is kept, and changes nothing else."""


@dataclass(eq=False)
class Invariants:
    """Sees every write, every RunTask and every StopTask as it is applied. `truth` tells what really is with a task.

    `claims_wait`: every version that runs looks at `not_before` on the record; the earlier one looks at the index only.
    """

    truth: "Truth"
    retry: RetryPolicy
    launch_retry: LaunchRetryPolicy
    max_stops: int
    installation: str
    claims_wait: bool = True
    claimed: defaultdict[tuple[str, int], set[str]] = field(default_factory=lambda: defaultdict(set))
    past_claim: defaultdict[tuple[str, int], set[str]] = field(default_factory=lambda: defaultdict(set))
    made: defaultdict[tuple[str, int, int], set[str]] = field(default_factory=lambda: defaultdict(set))
    succeeded_for_real: set[tuple[str, int]] = field(default_factory=set)
    cancelled_before_result: set[str] = field(default_factory=set)

    def on_write(self, before: Run | None, after: Run, change: RunChange | None) -> None:
        """A write to a run has taken effect."""
        if before is None or change is None:
            return
        keeps = set(change.fields) <= EVIDENCE_FIELDS and change.transition is None
        _check(keeps or before.status not in TERMINAL, f"4: {after.run_id} changed after it was {before.status}")
        _check(before.org_id == after.org_id, f"8: {after.run_id} was moved to another organisation")
        if after.external_id is not None and after.external_id != before.external_id:
            of = self.truth.identity_of(after.external_id)
            _check(
                of is not None and of.run_id == after.run_id, f"8: {after.run_id} was given a task that is not its own"
            )
        if "started_at" in change.fields and change.fields["started_at"] is not None:
            self._on_claim(before, after)
        if change.fields.get("launch_sent_at") is not None:
            _check(before.cancel_requested_at is None, f"7: {after.run_id} is sent to ECS after an acknowledged cancel")
        if change.fields.get("result_status") is ResultStatus.SUCCEEDED:
            self.succeeded_for_real.add((after.run_id, after.attempt))
        if change.fields.get("cancel_requested_at") and before.committed_result is None:
            self.cancelled_before_result.add(after.run_id)
        if after.status is RunStatus.SUCCEEDED:
            by_record = after.result_status is ResultStatus.SUCCEEDED and after.result_attempt == after.attempt
            held = by_record or self.truth.left_success(before)
            _check(held, f"6: {after.run_id} SUCCEEDED without a result of attempt {after.attempt}")
            _check(
                after.run_id not in self.cancelled_before_result,
                f"7: {after.run_id} SUCCEEDED after an acknowledged cancel",
            )
        if after.status is RunStatus.FAILED or after.attempt != before.attempt:
            won = before.committed_result is not None and before.result_status is ResultStatus.SUCCEEDED
            _check(not won, f"6: the committed success of {after.run_id} was lost")
        if after.status is RunStatus.FAILED:
            self._check_class(after)
            self._check_budget_is_used(before, after)
            asked = after.run_id in self.cancelled_before_result
            _check(not asked, f"7: {after.run_id} is FAILED, though a cancel was acknowledged before its result")
        if after.attempt != before.attempt or after.status is RunStatus.FAILED:
            self._check_cause(before, after, change)
        if after.attempt != before.attempt:
            self._check_counted(before, after, change)
        if after.status is not before.status:
            self._check_waits(before, after, change)
        if after.attempt != before.attempt and before.cancel_requested_at is None:
            _check(
                not self.truth.left_success(before),
                f"6: {after.run_id} runs again, but its worker left a success in S3",
            )
        if before.external_id is not None and (after.attempt != before.attempt or after.status in TERMINAL):
            self._check_task_is_over(before, after, by_worker="result_status" in change.fields)
        self._check_budgets(after)

    def on_task(self, run: Run | None, request: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """A daemon's RunTask was applied, for a run that is as given."""
        if run is None:
            return
        tags = {tag["key"]: tag["value"] for tag in request["tags"]}
        _check(
            (tags["org_id"], tags["run_id"]) == (run.org_id, run.run_id),
            f"8: the task of {run.run_id} is tagged for {tags['org_id']}, {tags['run_id']}",
        )
        of = TaskIdentity.parse(request["startedBy"])
        attempt = of.attempt if of is not None else run.attempt
        launch_try = self._try_of(run, attempt, request["clientToken"])
        for task in answer["tasks"]:
            tasks = self.made[run.run_id, attempt, launch_try]
            tasks.add(task["taskArn"])
            _check(len(tasks) == 1, f"2: one launch try of {run.run_id} made {len(tasks)} tasks")
        earlier = [arn for number in range(1, launch_try) for arn in self.made[run.run_id, attempt, number]]
        alive = [arn for arn in earlier if not self.truth.has_ended(arn)]
        _check(not alive, f"2: {run.run_id} is launched once more, while the task of an earlier try lives")

    def _try_of(self, run: Run, attempt: int, token: str) -> int:
        """Which try a token is of; a call that takes effect late may be of an earlier one than the record's."""
        tries = range(1, self.launch_retry.max_launch_tries + 1)
        return next((each for each in tries if launch_token(run.run_id, attempt, each) == token), run.launch_try)

    def on_past_claim(self, arn: str, run_id: str, attempt: int) -> None:
        """A worker goes to work."""
        tasks = self.past_claim[run_id, attempt]
        tasks.add(arn)
        _check(len(tasks) == 1, f"1: {len(tasks)} workers are at work on attempt {attempt} of {run_id}")
        own = self.claimed[run_id, attempt]
        _check(arn in own, f"1: a worker is at work on attempt {attempt} of {run_id}, and no claim is on record")

    def on_worker_access(self, arn: str, run_id: str) -> None:
        """The worker of this task reads or writes a run."""
        of = self.truth.identity_of(arn)
        _check(of is not None and of.run_id == run_id, f"8: the worker of {arn} touches {run_id}")

    def on_throttle(self, host: str, call: str) -> None:
        """A service throttles a daemon's call by itself."""
        _check(False, f"9: {host} calls {call} faster than the account allows")

    def on_bug(self, loop: str, error: str) -> None:
        """A tick ended by an error that is none of the four kinds."""
        _check(False, f"12: {loop} failed by a bug: {error}")

    def on_self_conflict(self, change: RunChange) -> None:
        """A writer is told that it was too late for a change that is its own."""
        _check(False, f"14: a writer of {change.run_id} was told that it had lost, to itself")

    def on_tick(self, loop: str, host: str, lease: Lease | None, *, just_stalled: bool) -> None:
        """A loop under a lease begins a tick. A host that has just woken from a stall may believe for that instant that it holds."""
        holds = lease is not None and lease.holder == host
        _check(holds or just_stalled, f"13: {host} begins a tick of {loop} under the lease of {lease}")

    def on_stop(self, arn: str, run: Run | None, identity: TaskIdentity | None) -> None:
        """StopTask is applied to a task whose run is as given."""
        _check(not self.truth.is_rightful(arn), f"3: StopTask on {arn}, the rightful task of another system")
        of = self.truth.identity_of(arn)
        _check(of is None or of.installation == self.installation, f"3: StopTask on {arn}, of another installation")
        strangers = self.truth.strangers_found(arn, CAP_COUNTS_AFTER_S)
        _check(strangers <= self.max_stops, f"3: StopTask on one of {strangers} that were found to be orphans at once")
        if run is not None and run.status is RunStatus.SUCCEEDED and run.external_id == arn and run.completed_at:
            leaving = self.truth.container_alive(arn) and self.truth.now() - run.completed_at < EXIT_GRACE
            _check(not leaving, f"3: StopTask on the task of {run.run_id}, which has just succeeded and is leaving")
        if run is None or identity is None or run.attempt != identity.attempt:
            return
        needed = run.status is RunStatus.LAUNCHING and run.external_id is None and run.cancel_requested_at is None
        _check(
            not needed, f"3: StopTask on a task of {run.run_id}, which is LAUNCHING: it may be the task of this launch"
        )
        if run.external_id != arn:
            return
        healthy = run.status is RunStatus.RUNNING and self.truth.container_alive(arn)
        asked = run.cancel_requested_at is not None or run.stop_cause is not None
        _check(not healthy or asked, f"3: StopTask on the healthy task of {run.run_id} without a cause on record")

    def _on_claim(self, before: Run, run: Run) -> None:
        fit = before.status in (RunStatus.LAUNCHING, RunStatus.RUNNING) and before.cancel_requested_at is None
        _check(fit, f"1: a worker claimed {run.run_id}, which was {before.status} or cancelled")
        of = self.truth.identity_of(run.external_id or "")
        own = of is not None and of.attempt == run.attempt
        _check(own, f"1: a task of another attempt claimed attempt {run.attempt} of {run.run_id}")
        arns = self.claimed[run.run_id, run.attempt]
        arns.add(run.external_id or "")
        _check(len(arns) == 1, f"1: {len(arns)} tasks are past the claim of {run.run_id}/{run.attempt}")
        others = [
            (attempt, arn)
            for (run_id, attempt), claimed in self.claimed.items()
            for arn in claimed
            if run_id == run.run_id and attempt != run.attempt and self.truth.container_alive(arn)
        ]
        _check(not others, f"1: attempts {others} and {run.attempt} of {run.run_id} are past their claim at once")

    def _check_task_is_over(self, before: Run, after: Run, *, by_worker: bool) -> None:
        arn = before.external_id or ""
        runs_on = self.truth.container_alive(arn) and not by_worker
        now = f"{after.status}, attempt {after.attempt}"
        _check(not runs_on, f"1: {after.run_id} is {now}, while the task of attempt {before.attempt} runs")
        told = self.truth.is_known(arn) or self.truth.was_told_of(arn) or self.truth.left_result(before)
        told = told or before.committed_result is not None
        blindly = not told and after.status is RunStatus.QUEUED
        _check(not blindly, f"11: {after.run_id} is launched again, though nobody knows what its last task has done")

    def _check_class(self, run: Run) -> None:
        """10: the failure class is true."""
        claimed = bool(self.claimed[run.run_id, run.attempt])
        _check(
            claimed or run.failure_class not in USERS_OWN,
            f"10: {run.run_id} is {run.failure_class}, but nothing has run",
        )
        if run.failure_class in NO_TASK:
            made = self.made[run.run_id, run.attempt, run.launch_try]
            _check(not made, f"10: {run.run_id} is {run.failure_class}, but RunTask had made a task")
        if run.external_id is None:
            return
        if run.failure_class is FailureClass.LOST:
            known = self.truth.is_known(run.external_id)
            _check(not known, f"10: {run.run_id} is LOST, but ECS knows its task")
        if run.failure_class is FailureClass.SHUTDOWN:
            reclaimed = self.truth.was_reclaimed(run.external_id)
            _check(not reclaimed, f"10: {run.run_id} is SHUTDOWN, but Spot reclaimed its task")

    def _check_budget_is_used(self, before: Run, run: Run) -> None:
        """5: nothing fails for what should have been tried again."""
        if run.cancel_requested_at is not None:
            return
        if run.failure_class in USERS_FAILURES:
            left = run.max_attempts - run.user_failures - 1
            _check(left <= 0, f"5: {run.run_id} is {run.failure_class} with {left} attempts left")
        if before.status is RunStatus.LAUNCHING and run.failure_class not in NO_TASK:
            left = self.launch_retry.max_launch_tries - run.launch_try
            _check(left <= 0, f"5: {run.run_id} is {run.failure_class} with {left} launch tries left")
        if run.failure_class in RETRIED and before.status is RunStatus.RUNNING:
            left = self.retry.max_infra_failures - run.infra_failures
            _check(left <= 0, f"5: {run.run_id} is {run.failure_class} with {left} infrastructure failures left")

    def _check_counted(self, before: Run, after: Run, change: RunChange) -> None:
        """5: an attempt's end is counted in the budget of its class, and in no other."""
        _check(
            after.attempt == before.attempt + 1,
            f"5: {after.run_id} goes from attempt {before.attempt} to {after.attempt}",
        )
        _check(after.launch_try == 1, f"5: the launch tries of an earlier attempt of {after.run_id} count for this one")
        ended_by = change.transition.failure_class if change.transition is not None else None
        if ended_by is None or ended_by is FailureClass.OUT_OF_MEMORY:
            return  # which may be tried again with more memory, by the infrastructure's budget, or be the user's failure
        counted = after.infra_failures - before.infra_failures
        own = ended_by not in USERS_FAILURES
        _check(counted == own, f"5: {ended_by} of {after.run_id} is counted as {counted} infrastructure failures")

    def _check_waits(self, before: Run, after: Run, change: RunChange) -> None:
        """15: what is to be tried again waits as long as it should, by clocks that differ."""
        now = self.truth.now()
        if after.status is RunStatus.LAUNCHING and before.not_before is not None and self.claims_wait:
            early_s = (before.not_before - now).total_seconds()
            _check(early_s <= CLOCKS_DIFFER_S, f"15: {after.run_id} is launched {early_s:.0f} s before its time")
        told = change.transition
        if after.status is not RunStatus.QUEUED or told is None or told.failure_class is None:
            return
        least_s = self.retry.retry_delay_s
        if after.attempt == before.attempt:
            doubled_s = self.launch_retry.retry_delay_s * 2 ** (before.launch_try - 1)
            least_s = min(doubled_s, self.launch_retry.retry_delay_max_s)
        wait_s = (after.not_before - told.at).total_seconds() if after.not_before is not None else 0.0
        _check(
            wait_s >= least_s,
            f"15: {after.run_id} is to wait {wait_s:.0f} s after {told.failure_class}, not {least_s:g} s",
        )

    def _check_cause(self, before: Run, after: Run, change: RunChange) -> None:
        """10: what an attempt is said to have ended by is what it has ended by, where nothing else is on record."""
        arn = before.external_id
        decided = before.committed_result is not None or before.stop_cause is not None or before.cancel_requested_at
        if arn is None or decided or change.transition is None or self.truth.left_result(before):
            return
        said = change.transition.why.partition(":")[0]
        truth = self.truth.end_of(arn)
        _check(
            truth is None or said in (truth, FailureClass.LOST),
            f"10: {after.run_id} has ended by {truth}, not by {said}",
        )

    def at_the_end(self, run: Run) -> None:
        """Nothing goes on any more."""
        if run.status is RunStatus.FAILED and run.cancel_requested_at is None:
            _check(not self.truth.left_success(run), f"6: {run.run_id} FAILED, but its worker left a success in S3")

    def _check_budgets(self, run: Run) -> None:
        _check(
            run.user_failures < run.max_attempts, f"5: {run.run_id} had {run.user_failures} user failures and goes on"
        )
        _check(
            run.infra_failures <= self.retry.max_infra_failures,
            f"5: {run.run_id} had {run.infra_failures} infra failures",
        )
        _check(
            run.launch_try <= self.launch_retry.max_launch_tries, f"5: {run.run_id} is at launch try {run.launch_try}"
        )


def _check(holds: bool, problem: str) -> None:
    if not holds:
        raise Violation(f"invariant {problem}")
