"""A cluster, its records and a scanner of it, over stateful fakes."""

from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry

from dagy_control.kernel.drain import Drain
from dagy_control.kernel.handover import Handover
from dagy_control.model.runs import Run, RunStatus
from dagy_control.model.tasks import SeenTask
from dagy_control.orphans.criteria import Criteria, StateTable
from dagy_control.orphans.decide import AlertPolicy, OrphanPolicy
from dagy_control.orphans.effects import OrphanEffects
from dagy_control.orphans.loop import OrphanLoop
from dagy_control.orphans.metrics import OrphanMetrics
from tests.builders import ARN, CLUSTER, INSTALLATION, a_run, ago, tick_at, writer_of
from tests.fakes.alerts import FakeAlerts
from tests.fakes.clock import VirtualClock
from tests.fakes.orphans import FakeStateTables, FakeSuspicions
from tests.fakes.runs import FakeRuns
from tests.fakes.tasks import FakeTasks

TOPIC = "arn:aws:sns:us-east-1:123456789012:alerts"

RETRAINING = StateTable(
    name="retraining", table="RETRAINING", key_attribute="model_name", task_tag="model_name", status_attribute="status",
    terminal_statuses=frozenset({"completed", "failed"}), arn_attribute="task_arn", check_arn=True,
)  # fmt: skip
TRADING = StateTable(
    name="trading", table="TRADING", key_attribute="strategy_id", task_tag="strategy_id", status_attribute="status",
    terminal_statuses=frozenset({"stopped", "failed", "terminated"}), arn_attribute="task_arn", check_arn=False,
)  # fmt: skip


class World:
    """One scanner of one cluster; `restarted` is another process: the suspicions are all that it knows."""

    def __init__(
        self,
        *runs: Run,
        tasks: Sequence[SeenTask] = (),
        page_size: int = 100,
        to_reconciling: Handover | None = None,
        **policy: Any,
    ) -> None:
        self.to_reconciling = to_reconciling
        self.clock = VirtualClock()
        self.runs = FakeRuns(*runs)
        self.tasks = FakeTasks(*tasks, page_size=page_size)
        self.suspicions = FakeSuspicions()
        self.alerts = FakeAlerts()
        self.tables = FakeStateTables({"RETRAINING": [], "TRADING": []})
        criteria = Criteria(installation=INSTALLATION, state_tables=(RETRAINING, TRADING))
        defaults: dict[str, Any] = {"cluster": CLUSTER, "environment": "dev", "criteria": criteria, "dry_run": False}
        defaults["alerts"] = AlertPolicy(topic_arn=TOPIC)
        self.policy = OrphanPolicy(**{**defaults, **policy})
        self.report: dict[str, Any] = {}
        self.loop = self.restarted()

    def restarted(self) -> OrphanLoop:
        writer = writer_of(self.runs, self.clock)
        effects = OrphanEffects(self.runs, self.tasks, self.tables, self.suspicions, writer, self.clock)
        self.registry = CollectorRegistry()
        self.loop = OrphanLoop(
            self.policy,
            effects,
            OrphanMetrics(self.registry),
            self.clock,
            alerts=self.alerts,
            to_reconciling=self.to_reconciling,
        )
        return self.loop

    async def scan(self, drain: Drain | None = None, *, alert: bool | None = None) -> Mapping[str, Any]:
        self.report = await self.clock.run(self.loop.scan(tick_at(self.clock, drain), alert=alert))
        data: Mapping[str, Any] = self.report["data"]
        return data

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    @property
    def stopped(self) -> list[str]:
        return [arn for arn, _ in self.tasks.stops]


def over(run_id: str = "r1") -> Run:
    return a_run(RunStatus.SUCCEEDED, run_id=run_id, completed_at=ago(900), external_id=f"{ARN}-{run_id}")
