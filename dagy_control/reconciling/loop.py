"""The reconciling loop: load, decide, apply, record; chunk by chunk, several under way."""

from collections.abc import Sequence

from dagy_control.errors import Permanent
from dagy_control.kernel.bounded import consume_bounded
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.telemetry import log
from dagy_control.kernel.ticker import Tick
from dagy_control.model.runs import ActiveRun
from dagy_control.reconciling.chunks import Chunk
from dagy_control.reconciling.decide import ChunkPlan, End, ReconcilePolicy, decide, why_held
from dagy_control.reconciling.effects import ReconcilingEffects
from dagy_control.reconciling.metrics import PassSummary, ReconcilingMetrics
from dagy_control.reconciling.pacing import due_s, gap_s
from dagy_control.reconciling.rotation import Arc, Rotation

LOST_MAX = 1000
"""Lost runs that one pass ends at most, so that a pass which finds none of a whole cluster's tasks keeps its memory."""

_log = log("dagy.reconciling")


class ReconcilingLoop:
    """Keeps records true; a pass is idempotent and safe beside any other."""

    name = "reconciling"

    def __init__(
        self,
        policy: ReconcilePolicy,
        effects: ReconcilingEffects,
        metrics: ReconcilingMetrics,
        clock: Clock,
        *,
        start: float = 0.0,
    ) -> None:
        self.policy = policy
        self._effects = effects
        self._metrics = metrics
        self._clock = clock
        self._rotation = Rotation(start)
        self._calls_before = 0
        self._turn_began: float | None = None
        self._refused = False  # ECS has said nothing of some runs of this turn
        self._true_as_of = clock.monotonic()

    async def tick(self, tick: Tick) -> float | None:
        """One pass over the running runs: all of them, or the next `max_runs`."""
        await self.reconcile(tick)
        return None

    async def reconcile(self, tick: Tick, summary: PassSummary | None = None) -> PassSummary:
        """One pass; what it found and did, counted in `summary` while it goes on.

        Raises `Transient` when ECS or the table cannot be asked: what was done stands, nothing lost is ended, and a bounded
        pass is repeated from where it began. Raises the first refusal of ECS once everything that it does not touch is done.
        """
        began = self._clock.monotonic()
        if self._turn_began is None:
            self._turn_began = began
        arc = self._rotation.arc(self.policy.max_runs) if self.policy.max_runs else None
        summary = PassSummary() if summary is None else summary
        work = _Pass(self.policy, self._effects, self._clock, tick, summary, self._calls_before)
        self._effects.missing.begin_look()
        try:
            await work.look_at_all(arc)
            await work.look_again()
            await work.end_lost(all_looked_at=arc is None or arc.reach >= 1.0)
            summary.left_out = 0 if arc is None else arc.left_out
            self._refused = self._refused or work.refusal is not None
            if work.whole and (arc is None or self._rotation.advance(arc)):
                self._effects.missing.end_turn()
                if not self._refused:
                    self._true_as_of = self._turn_began
                self._turn_began, self._refused = None, False
        finally:
            self._calls_before = work.calls
            ended = self._clock.monotonic()
            work.summary.duration_seconds = ended - began
            self._metrics.record(work.summary, held=bool(work.held), lag_s=ended - self._true_as_of)
        _log.info("Reconciliation complete", event_type="RECONCILED", **work.summary.as_dict())
        if work.refusal is not None:
            raise work.refusal
        return work.summary


class _Pass:
    """One pass under way. `whole`: nothing cut it short; `held`: why no lost run was ended."""

    def __init__(
        self,
        policy: ReconcilePolicy,
        effects: ReconcilingEffects,
        clock: Clock,
        tick: Tick,
        summary: PassSummary,
        expected_calls: int,
    ) -> None:
        self.summary = summary
        self.calls = 0
        self.whole = True
        self.held = ""
        self.refusal: Permanent | None = None
        self._policy = policy
        self._effects = effects
        self._clock = clock
        self._tick = tick
        self._began = clock.monotonic()
        self._gap_s = gap_s(expected_calls, policy.pace)
        self._lost: list[End] = []
        self._unsure: list[ActiveRun] = []
        self._lost_count = 0
        self._looked_at = 0

    async def look_at_all(self, arc: Arc | None) -> None:
        """Every due run, or those of the arc; ends and stops are carried out at once, lost ones kept for later."""
        await consume_bounded(
            self._effects.chunks(self._policy, self._tick.now, arc, self._count_young),
            self._look_at,
            limit=self._policy.describe_concurrency,
            name="reconcile",
            stop=self._cut_short,
        )

    async def look_again(self) -> None:
        """At the tasks that were missing, for a pass that no other follows: one look is not proof."""
        if not self._unsure or self._cut_short():
            return
        await self._tick.drain.interrupt(self._clock.sleep(self._policy.look_again_s))
        self._effects.missing.begin_look()
        for chunk in self._effects.chunks_of(self._unsure, self._policy):
            snapshot = None if self._cut_short() else await self._tick.drain.interrupt(self._effects.look(chunk))
            if snapshot is None:
                self.whole = False
                return
            plan = decide(snapshot, self._policy, self._clock.now())
            self.summary.errors += plan.unreadable
            self._keep_lost(plan.lost)
            await self._carry_out(plan)

    async def end_lost(self, *, all_looked_at: bool) -> None:
        """End the runs of whose tasks there is no trace, unless that is too unlikely to be true or the pass was cut short."""
        if self._cut_short():
            return
        self.held = why_held(self._lost_count, self._looked_at, self._policy, all_looked_at=all_looked_at)
        if self.held:
            self.summary.held = self.held
            _log.error(
                "too many tasks are missing to be true; none is ended",
                event_type="RECONCILE_HELD",
                missing=self._lost_count,
                checked=self.summary.checked,
                why=self.held,
                remedy="check ecs.cluster_arn and the region; then raise reconciling.max_missing_share for one pass if it is true",
            )
        elif self._lost:
            snapshot = await self._effects.look_for_results(self._lost)
            plan = decide(snapshot, self._policy, self._tick.now)
            self.summary.errors += plan.unreadable
            await self._carry_out(ChunkPlan(ends=plan.lost))

    async def _look_at(self, chunk: Chunk) -> None:
        self.calls += chunk.cluster is not None
        wait_s = self._began + due_s(self.calls, self._gap_s, self._policy.pace) - self._clock.monotonic()
        if wait_s > 0:
            await self._tick.drain.interrupt(self._clock.sleep(wait_s))
        if self._cut_short():
            return
        snapshot = await self._tick.drain.interrupt(self._effects.look(chunk))
        if snapshot is None:
            self.whole = False
            return
        self.refusal = self.refusal or snapshot.refusal
        plan = decide(snapshot, self._policy, self._tick.now)
        self.summary.checked += len(chunk.runs)
        self.summary.errors += plan.unreadable
        self.summary.missing += plan.missing
        self._looked_at += len(chunk.runs) - plan.unreadable
        self._keep_lost(plan.lost)
        self._unsure.extend(plan.unsure[: LOST_MAX - len(self._unsure)])
        if plan.ends or plan.stops:
            await self._carry_out(plan)

    def _keep_lost(self, lost: Sequence[End]) -> None:
        self._lost_count += len(lost)
        self._lost.extend(lost[: LOST_MAX - len(self._lost)])

    async def _carry_out(self, plan: ChunkPlan) -> None:
        ends, stops, errors = await self._effects.apply(plan, self._policy, self._cut_short)
        self.summary.count_ends(ends, self._clock.now())
        self.summary.stopped += len(stops)
        self.summary.errors += errors

    def _cut_short(self) -> bool:
        """Whether nothing more may be started. For good: a lease that comes back must not end runs by a share of half a pass."""
        if self._tick.stopping:
            self.whole = False
        return not self.whole

    def _count_young(self, runs: int) -> None:
        self.summary.skipped_young += runs
