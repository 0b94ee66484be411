"""The orphan scanner's loop: load, decide, apply, record."""

from typing import Any

from dagy_control.errors import Transient
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.tasks import within
from dagy_control.kernel.telemetry import log
from dagy_control.kernel.ticker import Tick
from dagy_control.orphans.decide import OrphanPolicy, ScanSnapshot, decide
from dagy_control.orphans.effects import OrphanEffects
from dagy_control.orphans.metrics import OrphanMetrics
from dagy_control.orphans.report import scan_report

_log = log("dagy.orphans")


class OrphanLoop:
    """Scans for orphans; `scan` serves the command too."""

    name = "orphans"

    def __init__(self, policy: OrphanPolicy, effects: OrphanEffects, metrics: OrphanMetrics, clock: Clock) -> None:
        self.policy = policy
        self._effects = effects
        self._metrics = metrics
        self._clock = clock

    async def tick(self, tick: Tick) -> float | None:
        """One scan."""
        await self.scan(tick)
        return None

    async def scan(self, tick: Tick) -> dict[str, Any]:
        """One scan, and its documented report.

        Raises `Transient` when the reads do not finish within `scan_timeout_s`, or when the drain begins meanwhile.
        """
        policy = self.policy
        try:
            snapshot = await tick.drain.interrupt(self._load(policy))
        except TimeoutError as error:
            raise Transient(f"{error}; nothing was judged and nothing stopped") from error
        if snapshot is None:
            raise Transient("the process stops: nothing was judged and nothing stopped")
        plan = decide(snapshot, policy, tick.now)
        stopped = await self._effects.apply(plan, policy, lambda: tick.stopping)
        self._metrics.record(plan, stopped)
        if plan.refusal:
            _log.error(
                "orphan scan refused to stop",
                why=plan.refusal,
                remedy="look at the orphans; raise the cap if they are real",
            )
        _log.info(
            "Orphan scan complete",
            total_running=plan.total_running,
            orphans_found=len(plan.orphans),
            tasks_stopped=stopped,
            dry_run=policy.dry_run,
            verdicts=dict(plan.verdicts),
        )
        return scan_report(plan, policy, stopped)

    async def _load(self, policy: OrphanPolicy) -> ScanSnapshot:
        return await within(self._clock, policy.scan_timeout_s, self._effects.load(policy), name="orphan scan")
