"""The orphan scanner's loop: load, decide, apply, record, tell."""

import asyncio
from typing import Any

from dagy_control.errors import DagyError, Transient
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.handover import Handover
from dagy_control.kernel.tasks import within
from dagy_control.kernel.telemetry import log
from dagy_control.kernel.ticker import Tick
from dagy_control.orphans.alerting import Told, about, alert_of, is_due
from dagy_control.orphans.criteria import Verdict
from dagy_control.orphans.decide import OrphanPolicy, ScanPlan, ScanSnapshot, Stops, decide
from dagy_control.orphans.effects import OrphanEffects
from dagy_control.orphans.metrics import OrphanMetrics
from dagy_control.orphans.report import scan_report
from dagy_control.ports.alerts import Alerts

_log = log("dagy.orphans")


class OrphanLoop:
    """Scans for orphans; `scan` serves the command and the HTTP face too. Without `alerts` nobody is told.

    `to_reconciling`: who is handed the runs that have no task. They are no concern of a scan by another process.

    What it has alerted of is kept in this process only: a restart, or another replica, may say it once more.
    """

    name = "orphans"

    def __init__(
        self,
        policy: OrphanPolicy,
        effects: OrphanEffects,
        metrics: OrphanMetrics,
        clock: Clock,
        *,
        alerts: Alerts | None = None,
        to_reconciling: Handover | None = None,
    ) -> None:
        self.policy = policy
        self._effects = effects
        self._metrics = metrics
        self._clock = clock
        self._alerts = alerts
        self._to_reconciling = to_reconciling
        self.last_report: dict[str, Any] | None = None
        self._told: Told | None = None
        self._scanning = asyncio.Lock()
        self._warned: tuple[str, ...] = ()

    @property
    def busy(self) -> bool:
        """Whether a scan is under way in this process; another one would wait for it."""
        return self._scanning.locked()

    async def tick(self, tick: Tick) -> float | None:
        """One scan; `last_report` has its report from then on, or None if it failed."""
        try:
            self.last_report = await self.scan(tick)
        except DagyError:
            self.last_report = None
            raise
        return None

    async def scan(
        self, tick: Tick, *, policy: OrphanPolicy | None = None, alert: bool | None = None
    ) -> dict[str, Any]:
        """One scan, and its documented report. `policy`: another one than the loop's.

        `alert`: whether to alert of orphans; None, as the loop does: when they are others than last time, and once in a while.

        Raises `Transient` when records are not read within `scan_timeout_s`, or when the drain begins meanwhile, and whatever the
        listing raises: then nothing was judged and nothing stopped.
        """
        async with self._scanning:
            return await self._scan(tick, policy or self.policy, alert=alert)

    async def _scan(self, tick: Tick, policy: OrphanPolicy, *, alert: bool | None) -> dict[str, Any]:
        self._warn_of_switched_off(policy)
        try:
            snapshot = await tick.drain.interrupt(self._load(policy, tick))
        except TimeoutError as error:
            raise Transient(f"{error}; nothing was judged and nothing stopped") from error
        if snapshot is None:
            raise Transient("the process stops: nothing was judged and nothing stopped")
        plan = decide(snapshot, policy, tick.now)
        stops = await self._effects.apply(plan, policy, lambda: tick.stopping)
        self._metrics.record(plan, stopped=stops.stopped, failed=len(stops.failures))
        _say(plan, policy, stops)
        await self._tell(plan, policy, stops, alert=alert)
        await self._hand_over(plan, policy, tick)
        return scan_report(plan, policy, stops.stopped)

    async def _load(self, policy: OrphanPolicy, tick: Tick) -> ScanSnapshot:
        return await within(
            self._clock, policy.scan_timeout_s, self._effects.load(policy, tick.now), name="orphan scan"
        )

    async def _tell(self, plan: ScanPlan, policy: OrphanPolicy, stops: Stops, *, alert: bool | None) -> None:
        """Alert, where there is somebody to alert. A topic that cannot be reached is tried again by the next scan."""
        topic_arn, now = policy.alerts.topic_arn, self._clock.now()
        if alert is None and not plan.orphans and not plan.unread and not plan.cut:
            self._told = None
        due = is_due(plan, policy, stops, self._told, now) if alert is None else alert and bool(plan.orphans)
        if self._alerts is None or topic_arn is None or not due:
            return
        try:
            await self._alerts.publish(topic_arn, alert_of(plan, policy, stops))
        except DagyError as error:
            self._metrics.alerted(sent=False)
            _log.error("orphan alert not sent", event_type="ORPHAN_ALERT_FAILED", topic_arn=topic_arn, error=str(error))
            return
        self._metrics.alerted(sent=True)
        if alert is None:
            self._told = Told(about(plan, policy, stops), now)

    async def _hand_over(self, plan: ScanPlan, policy: OrphanPolicy, tick: Tick) -> None:
        """The runs without a task to reconciling, which would find them by itself at its own time: nothing rests on it."""
        if self._to_reconciling is None or plan.cut or tick.stopping:
            return
        work = self._effects.runs_without_task(plan, policy, tick.now)
        try:
            runs = await tick.drain.interrupt(
                within(self._clock, policy.scan_timeout_s, work, name="the runs without a task")
            )
        except (DagyError, TimeoutError) as error:
            told = {"event_type": "RUNS_WITHOUT_TASK_UNKNOWN", "error": str(error)}
            _log.warning("runs without a task not looked for", **told)
            return
        if runs is None:
            return
        self._metrics.handed_over(len(runs))
        if runs:
            _log.info(
                "runs without a task handed to reconciling",
                event_type="RUNS_WITHOUT_TASK",
                runs=len(runs),
                some=runs[:10],
            )
            self._to_reconciling.give(runs)

    def _warn_of_switched_off(self, policy: OrphanPolicy) -> None:
        if policy.switched_off and policy.switched_off != self._warned:
            _log.warning(
                "state tables without a name: tasks with their tags are counted, not judged",
                event_type="STATE_TABLES_UNSET",
                state_tables=list(policy.switched_off),
                setting="orphans.state_tables",
            )
        self._warned = policy.switched_off


def _say(plan: ScanPlan, policy: OrphanPolicy, stops: Stops) -> None:
    if plan.refusal:
        _log.error(
            "orphan scan refused to stop",
            event_type="ORPHAN_STOPS_REFUSED",
            why=plan.refusal,
            remedy="look at the orphans; raise the cap if they are real",
        )
    if plan.cut:
        _log.error(
            "orphan scan did not see all tasks",
            event_type="ORPHAN_SCAN_CUT",
            why=plan.cut,
            remedy="raise orphans.scan_timeout_s",
        )
    if plan.problems:
        _log.warning(
            "orphan scan could not judge all tasks",
            event_type="ORPHAN_SCAN_PARTIAL",
            tasks=plan.unread,
            why=list(plan.problems),
        )
    if plan.unclear:
        _log.warning(
            "keep tags that are no date; their tasks are kept",
            event_type="ORPHAN_KEEP_UNCLEAR",
            tasks=plan.verdicts[Verdict.KEEP_UNCLEAR],
            some=list(plan.unclear),
            remedy=f"write {policy.criteria.keep_tag} as 2026-12-31",
        )
    _log.info(
        "Orphan scan complete",
        event_type="ORPHAN_SCAN",
        total_running=plan.total_running,
        orphans_found=len(plan.orphans),
        tasks_stopped=stops.stopped,
        stops_failed=len(stops.failures),
        dry_run=policy.dry_run,
        verdicts=dict(plan.verdicts),
    )
