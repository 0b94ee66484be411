"""Reads the queue, and carries out launches: intent, RunTask, record. Through ports only."""

import math
from dataclasses import dataclass, replace
from datetime import timedelta

from dagy_control.errors import Conflict
from dagy_control.kernel.about import about, learned
from dagy_control.kernel.bounded import Outcome, run_bounded
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.record_writer import RecordWriter
from dagy_control.kernel.telemetry import log
from dagy_control.kernel.ticker import Tick
from dagy_control.launching.breaker import CLOSED, Breaker, after_refusal
from dagy_control.launching.decide import LaunchPlan, LaunchPolicy, LaunchSnapshot, is_due, may_give_up, may_replay
from dagy_control.launching.holds import API_BUDGET, Holds
from dagy_control.launching.request import LaunchTarget, decoded, encoded, problem_of, provider_for, run_task_request
from dagy_control.launching.sample import QueueSample
from dagy_control.launching.waits import Waits, starts_in
from dagy_control.model.census import Census
from dagy_control.model.launch_failure import LaunchCause, LaunchFailure, LaunchFailureKind
from dagy_control.model.lifecycle import claim_launch, launch_failed, launch_not_found, record_task, renew_send
from dagy_control.model.runs import ActiveRun, FailureClass, Run, RunChange, RunStatus
from dagy_control.model.tasks import TaskIdentity
from dagy_control.ports.runs import Runs
from dagy_control.ports.tasks import Started, Tasks

BY = "launching"
SWEEP_REST = 9.0
"""After reading a long queue whole, so many times as long as it took it is not read whole again: a tenth of the time at most."""
_log = log("dagy.launching")
SPARE_PLACE_S = 0.1
"""For so long a place in the budget that a lost claim has left unused may go to another run: later it would exceed the bucket."""


GIVEN_BACK = frozenset({"waiting", *(kind.value for kind in LaunchFailureKind)})
"""Results after which a run is in the queue again, or over: it takes nobody's place."""


@dataclass(frozen=True, slots=True)
class Launched:
    """What became of one run in a tick: `result` is one of the words of `metrics.RESULTS`."""

    result: str
    run_id: str


def _may_run(outcome: Outcome[ActiveRun, Launched]) -> bool:
    """Whether a run that was taken up counts among the active ones until these are counted again: also when no reply came."""
    return outcome.value is None or outcome.value.result not in GIVEN_BACK


class LaunchingEffects:
    """The reads and writes of launching. Remembers what refusals in a row have told of the target (`breaker`)."""

    def __init__(self, runs: Runs, tasks: Tasks, writer: RecordWriter, clock: Clock) -> None:
        self._runs = runs
        self._tasks = tasks
        self._writer = writer
        self._clock = clock
        self._census = Census()
        self._census_at: float | None = None
        self._sample = QueueSample(0)
        self._sweep_at = -math.inf
        self._target: LaunchTarget | None = None
        self._probing = False
        self._spare: list[tuple[str, float]] = []
        self.breaker: Breaker = CLOSED
        self.waits = Waits()
        self._holds = Holds()

    async def load(self, policy: LaunchPolicy) -> LaunchSnapshot:
        """The queue each time; launches under way, and the count of active runs, once per `census_interval_s`."""
        if policy.target != self._target:  # what another target was refused for says nothing of this one
            self._target, self.breaker = policy.target, CLOSED
        launching: list[ActiveRun] = []
        at = self._clock.monotonic()
        if self._census_at is None or at - self._census_at >= policy.census_interval_s:
            counts = {RunStatus.LAUNCHING: Census(), RunStatus.RUNNING: Census()}
            async for page in self._runs.active(RunStatus.LAUNCHING):
                launching.extend(page)
            counts[RunStatus.LAUNCHING].add(launching)
            running: dict[tuple[str, int], float | None] = {}
            async for page in self._runs.active(RunStatus.RUNNING):
                counts[RunStatus.RUNNING].add(page)
                running |= starts_in(page)
            self._census, self._census_at = counts[RunStatus.LAUNCHING] + counts[RunStatus.RUNNING], at
            self.waits.counted(counts, running)
        queued = await self._load_queue(policy)
        return LaunchSnapshot(queued, launching, self._census, self.breaker)

    async def _load_queue(self, policy: LaunchPolicy) -> list[ActiveRun]:
        """The oldest of each shard; of a longer queue also the first of each flow, found by reading all of it now and then."""
        queued: list[ActiveRun] = []
        async for page in self._runs.active(RunStatus.QUEUED, limit=policy.queue_page_limit):
            queued.extend(page)
        began = self._clock.monotonic()
        seen, before = Census(), self.waits.counts.get(RunStatus.QUEUED, Census())
        seen.add(queued)
        if len(queued) < policy.queue_page_limit:
            self._sample = QueueSample(policy.limits.max_admitted)  # no shard can have more
        elif began >= self._sweep_at and self._census.total < policy.limits.max_concurrent_tasks:
            sample = QueueSample(policy.limits.max_admitted)
            due_by = self._clock.now() + timedelta(seconds=policy.census_interval_s)
            seen = Census()
            async for page in self._runs.active(RunStatus.QUEUED):
                sample.add(page, due_by=due_by)
                seen.add(page)
            ended = self._clock.monotonic()
            self._sample = sample
            self._sweep_at = ended + max(policy.census_interval_s, SWEEP_REST * (ended - began))
        elif before.total > seen.total:
            seen = before  # these are the oldest only
        self.waits.counts[RunStatus.QUEUED] = seen
        return [*queued, *self._sample.runs()]

    async def apply(self, plan: LaunchPlan, policy: LaunchPolicy, tick: Tick) -> list[Outcome[ActiveRun, Launched]]:
        """Carry the plan out, `max_in_flight` runs at a time; claims and sends nothing new once the tick must stop."""
        work = [(run, self._launch) for run in plan.launch]
        work += [(run, self._replay) for run in plan.replay]
        work += [(run, self._look) for run in plan.look]
        acts = {run.run_id: act for run, act in work}
        self._probing = plan.probing
        self._holds.seen({**plan.waiting, **{run.run_id: API_BUDGET for run in plan.launch}}, tick.now)

        async def carry_out(run: ActiveRun) -> Launched:
            with about(run):
                try:
                    result = await acts[run.run_id](run.run_id, policy, tick)
                except Exception as error:
                    _log.warning("launch undecided", event_type="RUN_LAUNCH_UNDECIDED", error=str(error))
                    raise
            return Launched(result, run.run_id)

        outcomes = await run_bounded(
            [run for run, _ in work],
            carry_out,
            limit=policy.max_in_flight,
            name="launching",
            stop=lambda: tick.stopping,
        )
        taken_up = frozenset(run.run_id for run in plan.launch)
        self._sample.discard(taken_up)
        self._census.add(each.item for each in outcomes if each.item.run_id in taken_up and _may_run(each))
        return outcomes

    async def _launch(self, run_id: str, policy: LaunchPolicy, tick: Tick) -> str:
        """QUEUED: wait for the budget, write the intent, send."""
        if self._holds_back():
            return "waiting"
        queued = await self._runs.get(run_id)
        if queued is None or queued.status is not RunStatus.QUEUED or not is_due(queued, self._clock.now()):
            return "stale"  # the index showed the past: it may even be queued again, and have to wait
        learned(queued)
        provider = provider_for(queued, policy.target)
        request = run_task_request(queued, provider, policy.target)
        await tick.drain.interrupt(self._reserve(provider))
        if tick.stopping or self._holds_back():
            return "waiting"
        now = self._clock.now()
        held, cluster = self._holds.ended(run_id, now), policy.target.cluster
        claim = claim_launch(
            queued, request=encoded(request), provider=provider, cluster=cluster, now=now, by=BY, held=held
        )
        try:
            run = await self._writer.write(claim)
        except Conflict:
            self._spare.append((provider, self._clock.monotonic()))
            return "lost_claim"
        self.waits.launched(queued, now)
        problem = problem_of(request)
        if problem is not None:
            failure = LaunchFailure(
                kind=LaunchFailureKind.PERMANENT,
                failure_class=FailureClass.LAUNCH_CONFIGURATION,
                message=problem,
                cause=LaunchCause.RUN,
            )
            return await self._record_failure(run, failure, policy)
        return await self._send(run, policy)

    async def _reserve(self, provider: str) -> None:
        """A place in the account's budget: one that a lost claim has left unused, so that replicas do not halve each other's rate."""
        since = self._clock.monotonic() - SPARE_PLACE_S
        self._spare = [(whose, at) for whose, at in self._spare if at >= since]
        spare = next((each for each in self._spare if each[0] == provider), None)
        if spare is not None:
            self._spare.remove(spare)
        else:
            await self._tasks.reserve_run_task(provider)

    async def _replay(self, run_id: str, policy: LaunchPolicy, tick: Tick) -> str:
        """LAUNCHING, token alive: send the very same request again; ECS answers with the task that it made, or makes it now."""
        run = await self._runs.get(run_id)
        if run is None or run.status is not RunStatus.LAUNCHING or run.launch_request is None:
            return "stale"
        learned(run)
        await tick.drain.interrupt(self._tasks.reserve_run_task(run.capacity_provider or ""))
        now = self._clock.now()
        if tick.stopping or run.cancel_requested_at is not None or not may_replay(run, policy, now):
            return "waiting"
        try:
            run = await self._writer.write(renew_send(run, now=now, by=BY))
        except Conflict:
            return "lost_claim"
        return await self._send(run, policy)

    async def _look(self, run_id: str, policy: LaunchPolicy, tick: Tick) -> str:
        """LAUNCHING, token expired or cancelled: a task that ECS shows is adopted; none, and grace passed, is none."""
        run = await self._runs.get(run_id)
        if run is None or run.status is not RunStatus.LAUNCHING:
            return "stale"
        learned(run)
        cluster = run.cluster or policy.target.cluster
        started_by = TaskIdentity(policy.target.installation, run.run_id, run.attempt).started_by()
        async for arns in self._tasks.list_running(cluster, started_by=started_by):
            if arns:
                return await self._record_task(run, arns[0], f"found by startedBy: {arns[0]}")
        now = self._clock.now()
        if tick.stopping or not may_give_up(run, policy, now):
            return "waiting"
        try:
            await self._writer.write(launch_not_found(run, policy.retry, now=now, by=BY))
        except Conflict:
            return "lost_claim"
        return "not_found"

    async def _send(self, run: Run, policy: LaunchPolicy) -> str:
        """RunTask with the stored request. An unknown outcome raises and leaves the run LAUNCHING, to be settled by a replay."""
        reply = await self._tasks.run_task(decoded(run.launch_request or "{}"))
        if isinstance(reply, Started):
            if run.launch_sends == 1:  # a replay may answer with a task of before
                self._target_accepts()
            how = "RunTask answered" if not reply.replayed else "the token's earlier call had made the task"
            return await self._record_task(run, reply.task_arn, how)
        if reply.settles_token:  # whoever hears that there is no capacity has passed every check
            self._target_accepts()
        return await self._record_failure(run, self._judge_target(run, reply, policy), policy)

    def _holds_back(self) -> bool:
        """Whether the breaker has opened since the plan was made."""
        return self.breaker.is_open and not self._probing

    def _target_accepts(self) -> None:
        if self.breaker.is_open:
            _log.info("Launch breaker closed", event_type="LAUNCH_BREAKER_CLOSED", cause=self.breaker.cause)
        self.breaker = CLOSED

    def _judge_target(self, run: Run, failure: LaunchFailure, policy: LaunchPolicy) -> LaunchFailure:
        """What the refusal tells of the target; while the breaker is open such a refusal is not the run's: it goes back to the queue."""
        before = self.breaker
        self.breaker = after_refusal(before, run, failure, policy.breaker, self._clock.now())
        if self.breaker.is_open and (not before.is_open or self.breaker.cause is not before.cause):
            _log.error(
                "Launch breaker open: runs stay queued until a probe succeeds",
                event_type="LAUNCH_BREAKER_OPEN",
                cause=failure.cause,
                error=failure.message,
                remedy=failure.remedy,
                next_probe_at=str(self.breaker.probe_at),
            )
        if before.is_open and failure.is_of_the_target:
            return replace(failure, kind=LaunchFailureKind.HELD, retry_after_s=policy.breaker.probe_delay_s)
        return failure

    async def _record_task(self, run: Run, task_arn: str, why: str) -> str:
        def decide_again(current: ActiveRun) -> RunChange | str:
            if current.external_id == task_arn:
                return "launched"  # the worker's claim was faster than our record
            if current.status is not RunStatus.LAUNCHING or current.attempt != run.attempt:
                return "surplus"
            return record_task(current, task_arn=task_arn, why=why, now=self._clock.now(), by=BY)

        _, result = await self._writer.settle(run, decide_again)
        if result == "surplus":
            remedy = "none: its claim will be refused"
            _log.warning("surplus task", event_type="RUN_SURPLUS_TASK", task_arn=task_arn, remedy=remedy)
        else:
            _log.info("launched", event_type="RUN_LAUNCHED", task_arn=task_arn, why=why)
        return result or "launched"

    async def _record_failure(self, run: Run, failure: LaunchFailure, policy: LaunchPolicy) -> str:
        _log.warning(
            "launch failed",
            event_type="RUN_LAUNCH_FAILED",
            launch_try=run.launch_try,
            kind=failure.kind,
            failure_class=failure.failure_class,
            error=failure.message,
        )

        def decide_again(current: ActiveRun) -> RunChange | str:
            sent = (current.attempt, current.launch_try, current.launch_sent_at)
            if current.status is not RunStatus.LAUNCHING or sent != (run.attempt, run.launch_try, run.launch_sent_at):
                return "lost_claim"  # the failure is not that of the send on record
            return launch_failed(current, failure, policy.retry, now=self._clock.now(), by=BY) or "unresolved"

        _, result = await self._writer.settle(run, decide_again)
        return result or failure.kind.value
