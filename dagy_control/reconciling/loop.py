"""The reconciling loop: load, decide, apply, record; page by page."""

from collections import Counter
from contextlib import aclosing

from dagy_control.errors import Permanent
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.telemetry import log
from dagy_control.kernel.ticker import Tick
from dagy_control.reconciling.decide import End, PagePlan, ReconcilePolicy, decide, too_many_lost
from dagy_control.reconciling.effects import ReconcilingEffects
from dagy_control.reconciling.metrics import PassSummary, ReconcilingMetrics

_log = log("dagy.reconciling")


class ReconcilingLoop:
    """Keeps records true; a pass is idempotent and safe beside any other."""

    name = "reconciling"

    def __init__(
        self, policy: ReconcilePolicy, effects: ReconcilingEffects, metrics: ReconcilingMetrics, clock: Clock
    ) -> None:
        self.policy = policy
        self._effects = effects
        self._metrics = metrics
        self._clock = clock

    async def tick(self, tick: Tick) -> float | None:
        """One pass over all running runs."""
        await self.reconcile(tick)
        return None

    async def reconcile(self, tick: Tick) -> PassSummary:
        """One pass; what it found and did. Raises the first refusal of ECS, once everything that it does not touch is done."""
        policy = self.policy
        summary = PassSummary()
        lost: list[End] = []
        refusal: Permanent | None = None
        whole = True
        began = self._clock.monotonic()
        async with aclosing(self._effects.pages(policy, tick.now)) as pages:
            async for runs in pages:
                if tick.stopping:
                    whole = False  # for good: a lease that comes back must not end runs by a share of half a pass
                    break
                snapshot = await tick.drain.interrupt(self._effects.load(runs, policy))
                if snapshot is None:
                    whole = False
                    break
                refusal = refusal or snapshot.refusal
                plan = decide(snapshot, policy, tick.now)
                lost.extend(plan.lost)
                summary.checked += len(runs)
                summary.skipped_young += plan.kept["missing_young"]
                summary.errors += plan.kept["unreadable"]
                summary.missing += len(plan.lost) + plan.kept["missing_young"]
                await self._carry_out(plan, policy, tick, summary)
        held = too_many_lost(len(lost), summary.checked, policy)
        if held:
            _log.error(
                "too many tasks are missing to be true; none is ended",
                missing=len(lost),
                checked=summary.checked,
                remedy="check ecs.cluster_arn and the region; then raise reconciling.max_missing_share for one pass if it is true",
            )
        elif whole and not tick.stopping:
            await self._carry_out(PagePlan(lost, (), (), Counter()), policy, tick, summary)
        summary.duration_seconds = self._clock.monotonic() - began
        self._metrics.record(summary, held=held)
        _log.info("Reconciliation complete", **summary.as_dict())
        if refusal is not None:
            raise refusal
        return summary

    async def _carry_out(self, plan: PagePlan, policy: ReconcilePolicy, tick: Tick, summary: PassSummary) -> None:
        ends, stops, errors = await self._effects.apply(plan, policy, lambda: tick.stopping)
        summary.count_ends(ends)
        summary.stopped += len(stops)
        summary.errors += errors
