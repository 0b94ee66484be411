"""What must hold after every step, whatever goes wrong.

Numbers 1 to 9 are the architecture's. Added: 10 failure classes are true, 11 nothing is launched again blindly, 12 no loop fails
by a bug, 13 under a lease only its holder begins a tick, 14 no writer is told that it had lost to itself, 15 what is tried again
waits first, 16 what was acknowledged is on record.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from dagy_control.model.leases import Lease
from dagy_control.model.runs import TERMINAL, ResultStatus, Run, RunChange, RunStatus, launch_token
from dagy_control.model.tasks import TaskIdentity
from tests.simulation.budgets import Budgets
from tests.simulation.causes import Limits, check_class, check_end, check_stop_cause
from tests.simulation.truth import Truth
from tests.simulation.violation import check

CAP_COUNTS_AFTER_S = 480.0
"""A suspicion that has been on record for so long counts for every scan that stops now: the grace, a scan's time, a call that came late."""

EXIT_GRACE = timedelta(seconds=60)
"""A worker whose run has just ended is given so long to exit."""

EVIDENCE_FIELDS = frozenset({"evidence", "stop_code", "stopped_reason", "exit_code", "estimated_cost_usd"})
"""What ECS says of a task may come after its worker has ended the run: it is kept, and changes nothing else."""


@dataclass(eq=False)
class Invariants:
    """Sees every write, every RunTask and every StopTask as it is applied. `truth` tells what really is."""

    truth: Truth
    budgets: Budgets
    limits: Limits
    claimed: defaultdict[tuple[str, int], set[str]] = field(default_factory=lambda: defaultdict(set))
    past_claim: defaultdict[tuple[str, int], set[str]] = field(default_factory=lambda: defaultdict(set))
    made: defaultdict[tuple[str, int, int], set[str]] = field(default_factory=lambda: defaultdict(set))
    succeeded_for_real: set[tuple[str, int]] = field(default_factory=set)
    cancelled_before_result: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)

    def on_write(self, before: Run | None, after: Run, change: RunChange | None) -> None:
        """A write to a run has taken effect."""
        if before is None or change is None:
            return
        keeps = set(change.fields) <= EVIDENCE_FIELDS and change.transition is None
        check(keeps or before.status not in TERMINAL, f"4: {after.run_id} changed after it was {before.status}")
        check(before.org_id == after.org_id, f"8: {after.run_id} was moved to another organisation")
        if after.external_id is not None and after.external_id != before.external_id:
            of = self.truth.identity_of(after.external_id)
            check(
                of is not None and of.run_id == after.run_id, f"8: {after.run_id} was given a task that is not its own"
            )
        if "started_at" in change.fields and change.fields["started_at"] is not None:
            self._on_claim(before, after)
        if change.fields.get("launch_sent_at") is not None:
            check(before.cancel_requested_at is None, f"7: {after.run_id} is sent to ECS after an acknowledged cancel")
        if change.fields.get("result_status") is ResultStatus.SUCCEEDED:
            self.succeeded_for_real.add((after.run_id, after.attempt))
        kept = before.cancel_requested_at is None or after.cancel_requested_at is not None
        check(kept, f"7: the cancel of {after.run_id} is forgotten")
        if change.fields.get("cancel_requested_at") and before.committed_result is None:
            self.cancelled_before_result.add(after.run_id)
        if (cause := change.fields.get("stop_cause")) is not None:
            check_stop_cause(self.truth, self.limits, before, cause)
        if after.attempt != before.attempt or after.status is not before.status:
            self._on_end(before, after, change)
        self.budgets.check_kept(after)

    def _on_end(self, before: Run, after: Run, change: RunChange) -> None:
        """Another attempt, or another status, which may be the end."""
        if after.status is RunStatus.SUCCEEDED:
            by_record = after.result_status is ResultStatus.SUCCEEDED and after.result_attempt == after.attempt
            held = by_record or self.truth.left_success(before)
            check(held, f"6: {after.run_id} SUCCEEDED without a result of attempt {after.attempt}")
            check(
                after.run_id not in self.cancelled_before_result,
                f"7: {after.run_id} SUCCEEDED after an acknowledged cancel",
            )
        if after.status is RunStatus.FAILED or after.attempt != before.attempt:
            won = before.committed_result is not None and before.result_status is ResultStatus.SUCCEEDED
            check(not won, f"6: the committed success of {after.run_id} was lost")
        if after.status is RunStatus.FAILED:
            attempt = after.run_id, after.attempt
            claimed, made = self.claimed[attempt], self.made[*attempt, after.launch_try]
            check_class(self.truth, after, claimed=claimed, made=made)
            self.budgets.check_used(before, after)
            asked = after.run_id in self.cancelled_before_result
            check(not asked, f"7: {after.run_id} is FAILED, though a cancel was acknowledged before its result")
        if after.attempt != before.attempt or after.status is RunStatus.FAILED:
            check_end(self.truth, before, after, change)
        if after.attempt != before.attempt:
            self.budgets.check_counted(before, after, change)
        self.budgets.check_waits(self.truth, before, after, change)
        if after.attempt != before.attempt and before.cancel_requested_at is None:
            check(
                not self.truth.left_success(before),
                f"6: {after.run_id} runs again, but its worker left a success in S3",
            )
        if before.external_id is not None and (after.attempt != before.attempt or after.status in TERMINAL):
            self._check_task_is_over(before, after, by_worker="result_status" in change.fields)

    def on_task(self, run: Run | None, request: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """A daemon's RunTask was applied, for a run that is as given."""
        if run is None:
            return
        tags = {tag["key"]: tag["value"] for tag in request["tags"]}
        check(
            (tags["org_id"], tags["run_id"]) == (run.org_id, run.run_id),
            f"8: the task of {run.run_id} is tagged for {tags['org_id']}, {tags['run_id']}",
        )
        of = TaskIdentity.parse(request["startedBy"])
        attempt = of.attempt if of is not None else run.attempt
        launch_try = self._try_of(run, attempt, request["clientToken"])
        for task in answer["tasks"]:
            tasks = self.made[run.run_id, attempt, launch_try]
            tasks.add(task["taskArn"])
            check(len(tasks) == 1, f"2: one launch try of {run.run_id} made {len(tasks)} tasks")
        earlier = [arn for number in range(1, launch_try) for arn in self.made[run.run_id, attempt, number]]
        alive = [arn for arn in earlier if not self.truth.has_ended(arn)]
        check(not alive, f"2: {run.run_id} is launched once more, while the task of an earlier try lives")

    def _try_of(self, run: Run, attempt: int, token: str) -> int:
        """Which try a token is of; a call that takes effect late may be of an earlier one than the record's."""
        tries = range(1, self.budgets.launch_retry.max_launch_tries + 1)
        return next((each for each in tries if launch_token(run.run_id, attempt, each) == token), run.launch_try)

    def on_past_claim(self, arn: str, run_id: str, attempt: int) -> None:
        """A worker goes to work."""
        tasks = self.past_claim[run_id, attempt]
        tasks.add(arn)
        check(len(tasks) == 1, f"1: {len(tasks)} workers are at work on attempt {attempt} of {run_id}")
        own = self.claimed[run_id, attempt]
        check(arn in own, f"1: a worker is at work on attempt {attempt} of {run_id}, and no claim is on record")

    def on_worker_access(self, arn: str, run_id: str) -> None:
        """The worker of this task reads or writes a run."""
        of = self.truth.identity_of(arn)
        check(of is not None and of.run_id == run_id, f"8: the worker of {arn} touches {run_id}")

    def on_throttle(self, host: str, call: str) -> None:
        """A service throttles a daemon's call by itself."""
        check(False, f"9: {host} calls {call} faster than the account allows")

    def on_bug(self, loop: str, error: str) -> None:
        """A tick ended by an error that is none of the four kinds."""
        check(False, f"12: {loop} failed by a bug: {error}")

    def on_self_conflict(self, change: RunChange) -> None:
        """A writer is told that it was too late for a change that is its own."""
        check(False, f"14: a writer of {change.run_id} was told that it had lost, to itself")

    def on_tick(self, loop: str, host: str, lease: Lease | None, *, just_stalled: bool) -> None:
        """A loop under a lease begins a tick. A host that has just woken from a stall may believe for that instant that it holds."""
        holds = lease is not None and lease.holder == host
        check(holds or just_stalled, f"13: {host} begins a tick of {loop} under the lease of {lease}")

    def on_effect(self, effect: str, host: str, *, may_act: bool, why: str) -> None:
        """A loop begins to work on a run."""
        check(may_act, f"13: {host} goes on with {effect} though it drains, or under the lease of {why}")

    def on_hand_over(self, left: Sequence[str], host: str) -> None:
        """Two leases have passed since a host died, and nothing was in the way of the others."""
        check(not left, f"13: nobody has taken {left} within two leases of the death of {host}")

    def on_stop(self, arn: str, run: Run | None, identity: TaskIdentity | None) -> None:
        """StopTask is applied to a task whose run is as given."""
        check(not self.truth.is_rightful(arn), f"3: StopTask on {arn}, the rightful task of another system")
        of = self.truth.identity_of(arn)
        check(
            of is None or of.installation == self.limits.installation, f"3: StopTask on {arn}, of another installation"
        )
        strangers = self.truth.strangers_found(arn, CAP_COUNTS_AFTER_S + self.limits.clocks_differ_s)
        share = self.limits.max_stop_share * self.truth.containers_alive() if strangers else 0.0
        too_many = strangers > share and strangers >= self.limits.min_running_for_share
        check(not too_many, f"3: StopTask on one of {strangers} that were found to be orphans, more than {share:.0f}")
        check(
            strangers <= self.limits.max_stops,
            f"3: StopTask on one of {strangers} that were found to be orphans at once",
        )
        if run is not None and run.status is RunStatus.SUCCEEDED and run.external_id == arn and run.completed_at:
            leaving = self.truth.container_alive(arn) and self.truth.now() - run.completed_at < EXIT_GRACE
            check(not leaving, f"3: StopTask on the task of {run.run_id}, which has just succeeded and is leaving")
        if run is None or identity is None or run.attempt != identity.attempt:
            return
        needed = run.status is RunStatus.LAUNCHING and run.external_id is None and run.cancel_requested_at is None
        check(
            not needed, f"3: StopTask on a task of {run.run_id}, which is LAUNCHING: it may be the task of this launch"
        )
        if run.external_id != arn:
            return
        healthy = run.status is RunStatus.RUNNING and self.truth.container_alive(arn)
        asked = run.cancel_requested_at is not None or run.stop_cause is not None
        check(not healthy or asked, f"3: StopTask on the healthy task of {run.run_id} without a cause on record")

    def _on_claim(self, before: Run, run: Run) -> None:
        fit = before.status in (RunStatus.LAUNCHING, RunStatus.RUNNING) and before.cancel_requested_at is None
        check(fit, f"1: a worker claimed {run.run_id}, which was {before.status} or cancelled")
        of = self.truth.identity_of(run.external_id or "")
        own = of is not None and of.attempt == run.attempt
        check(own, f"1: a task of another attempt claimed attempt {run.attempt} of {run.run_id}")
        arns = self.claimed[run.run_id, run.attempt]
        arns.add(run.external_id or "")
        check(len(arns) == 1, f"1: {len(arns)} tasks are past the claim of {run.run_id}/{run.attempt}")
        others = [
            (attempt, arn)
            for (run_id, attempt), claimed in self.claimed.items()
            for arn in claimed
            if run_id == run.run_id and attempt != run.attempt and self.truth.container_alive(arn)
        ]
        check(not others, f"1: attempts {others} and {run.attempt} of {run.run_id} are past their claim at once")

    def _check_task_is_over(self, before: Run, after: Run, *, by_worker: bool) -> None:
        arn = before.external_id or ""
        runs_on = self.truth.container_alive(arn) and not by_worker
        now = f"{after.status}, attempt {after.attempt}"
        check(not runs_on, f"1: {after.run_id} is {now}, while the task of attempt {before.attempt} runs")
        told = self.truth.is_known(arn) or self.truth.was_told_of(arn) or self.truth.left(before) is not None
        told = told or before.committed_result is not None
        blindly = not told and after.status is RunStatus.QUEUED
        check(not blindly, f"11: {after.run_id} is launched again, though nobody knows what its last task has done")

    def on_launch_acknowledged(self, run_id: str, record: Run | None) -> None:
        """A client was told that its run is queued."""
        self.acknowledged.add(run_id)
        check(record is not None, f"16: the client was told of {run_id}, which is not in the table")

    def on_cancel_acknowledged(self, run_id: str, record: Run | None) -> None:
        """A client was told that the run will end, or has."""
        on_record = record is not None and (record.cancel_requested_at is not None or record.status in TERMINAL)
        check(on_record, f"16: the cancel of {run_id} was acknowledged, and is not on record")

    def at_the_end(self, records: Mapping[str, Run], asked_for: int) -> None:
        """Nothing goes on any more. The client has asked for so many runs, until each was acknowledged."""
        check(len(self.acknowledged) == asked_for, f"16: {len(self.acknowledged)} of {asked_for} were acknowledged")
        gone = self.acknowledged - set(records)
        check(not gone, f"16: {sorted(gone)} were acknowledged, and are not in the table")
        for run in records.values():
            if run.status is RunStatus.FAILED and run.cancel_requested_at is None:
                check(not self.truth.left_success(run), f"6: {run.run_id} FAILED, but its worker left a success in S3")
