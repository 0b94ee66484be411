"""What is played: the policies, the scenario of a seed, and its report."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from dagy_control.events.decide import EventPolicy
from dagy_control.launching.decide import LaunchPolicy
from dagy_control.launching.request import LaunchTarget
from dagy_control.model.failures import RetryPolicy
from dagy_control.model.hashing import hashed_fraction
from dagy_control.model.resources import TaskSize
from dagy_control.model.runs import Run, RunStatus, Transition
from dagy_control.orphans.criteria import Criteria, RuntimeLimit, StateTable
from dagy_control.orphans.decide import OrphanPolicy
from dagy_control.reconciling.decide import ReconcilePolicy
from tests.simulation.causes import Limits
from tests.simulation.conduct import CONDUCTS, Conduct, Conducts
from tests.simulation.faults import Cell, Fate, FaultPlan, Outage, Phase, Slow, Weather
from tests.simulation.matrix import AIMS, aim_first_at, aims
from tests.simulation.network import SimClock

CLUSTER = "dagy-sim"
CONTAINER = "dagy-worker"
INSTALLATION = "dagy"
HOUR_S = 3600.0
NEVER_HOURS = 1000.0
FLOW = "flow"

TARGET = LaunchTarget(
    installation=INSTALLATION,
    cluster=CLUSTER,
    task_definition="dagy-worker",
    container_name=CONTAINER,
    subnets=("subnet-1",),
    security_groups=("sg-1",),
    assign_public_ip=False,
    provider_weights={"FARGATE_SPOT": 70, "FARGATE": 30},
    default_size=TaskSize(1024, 2048),
)
LAUNCHING = LaunchPolicy(target=TARGET)
RETRY = RetryPolicy(
    retry_delay_s=30.0,
    profiles={"small": TaskSize(1024, 2048), "medium": TaskSize(1024, 4096), "large": TaskSize(2048, 8192)},
)
START_TIMEOUT_S = 900.0
RESULT_LINGER_S = 120.0
RECONCILING = ReconcilePolicy(
    container_name=CONTAINER,
    default_cluster=CLUSTER,
    retry=RETRY,
    start_timeout_s=START_TIMEOUT_S,
    result_linger_s=RESULT_LINGER_S,
)
EVENTS = EventPolicy(installation=INSTALLATION, container_name=CONTAINER, wait_s=20, retry=RETRY)
TRAINING = StateTable(
    name="retraining",
    table="RETRAINING",
    key_attribute="model_name",
    task_tag="model_name",
    status_attribute="status",
    terminal_statuses=frozenset({"completed", "failed"}),
    arn_attribute="task_arn",
    check_arn=True,
)
QUIET_WITHIN_S = 1.5 * HOUR_S
"""A run that was just sent when faults cease may take the token's life and the grace, 65 minutes, to be given up and tried again."""

ORPHAN_LIFE_S = 2400.0
"""Of a task that has become an orphan while nothing goes wrong: two scans and one that saw the past, the grace, the stop."""

DRIFTING = (0.82, 1.2, 1.0)
"""Rates of the replicas' clocks: as far apart as leases allow for (one 1.5 times as fast as another)."""

MAX_STOPS_PER_SCAN = 25
MAX_STOP_SHARE = 0.5
ORPHANS = OrphanPolicy(
    cluster=CLUSTER,
    environment="simulation",
    criteria=Criteria(installation=INSTALLATION, state_tables=(TRAINING,)),
    dry_run=False,
    max_stops_per_scan=MAX_STOPS_PER_SCAN,
    max_stop_share=MAX_STOP_SHARE,
    min_running_for_share=MAX_STOPS_PER_SCAN,
)
"""Where ten tasks run that have all hung after an outage (seed 445), the scanner refuses to stop so large a share, alerts, and waits
for a person. There is none here, so the share counts only from as many tasks on as one scan may stop anyway.
"""
TABLE_CALLS = ("GetItem", "PutItem", "UpdateItem", "Query", "Batch")
OUTAGE_S = 4200.0
"""Longer than ECS remembers a stopped task, or keeps its token."""

SKEW_S = 10.0
"""Two daemons' wall clocks differ by less."""

FAR_APART_S = 240.0
"""As far apart as clocks may be: less than the smallest grace, five minutes, by which one daemon judges what another has written."""

LEASE_S = 120.0
INTERVALS_S = {"launching": 30.0, "reconciling": 90.0, "events": 20.0, "orphans": 600.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is tried. Times in simulated seconds; faults and chaos end at `calm_from_s`.

    `acts`: acts of chaos at given times, by name. `without`: loops that nobody runs. `burst`: all runs are there from the start.
    `outages`: beside those of the seed.
    `with_trainer`: another system works on the cluster. `strange_s`: how long tasks run that are not ours.
    `shuffled`: the seed turns the ready queue of the event loop.
    `with_long_outage`: more than an hour without the control plane. `give_up_s`: when what has not ended never will;
    `QUIET_WITHIN_S` after the calm unless said. `replay`: the command that plays it again.
    `with_earlier_version`: half of the replicas begin as an earlier version of the product.
    `events_kept`: no event is lost or late. `rest_s`: for how long, at the end, nothing may be written: a pass of every loop.
    `max_runtime_hours`: what the orphan scanner takes for too long. `orphans_gone_from_s`: from when on no orphan may live for
    longer than `ORPHAN_LIFE_S`; from the calm on unless said. `clock_rates`: how fast the clocks of the replicas run.
    `slow_share`: of the legs of calls, those that take seconds. Many calls that were let go in time then arrive together.
    `endless`: tasks of ours and of the other system never end by themselves, and only our runs have a limit of runtime.
    `strangers`: how many tasks another control plane starts that was given our name. `min_running_for_share`: the scanner's.
    `skew_s`: by so much the wall clocks of two daemons differ at most. `slow`: calls that take long.
    `at_most`: how many runs, at the end, may have this status or failure class. `hunted`: cells to aim at before all others.
    """

    seed: int
    replicas: int = 2
    runs: int = 24
    calm_from_s: float = 2 * HOUR_S
    give_up_s: float | None = None
    rest_s: float = 700.0
    fault_rate: float = 0.02
    slow_share: float = 0.03
    chaos: bool = True
    acts: tuple[tuple[float, str], ...] = ()
    cancels: float = 0.4
    conducts: Conducts = CONDUCTS
    burst: bool = False
    with_events: bool = True
    events_kept: bool = False
    with_leases: bool = False
    without: frozenset[str] = frozenset()
    aims: int = AIMS
    hunted: tuple[Cell, ...] = ()
    shuffled: bool = False
    with_long_outage: bool = False
    with_earlier_version: bool = False
    with_trainer: bool = True
    max_runtime_hours: float = 0.6
    orphans_gone_from_s: float | None = None
    clock_rates: tuple[float, ...] = (1.0,)
    at_most: tuple[tuple[str, int], ...] = ()
    strange_s: float = 2000.0
    outages: tuple[Outage, ...] = ()
    slow: tuple[Slow, ...] = ()
    endless: bool = False
    strangers: int = 40
    min_running_for_share: int = MAX_STOPS_PER_SCAN
    skew_s: float = SKEW_S
    plan: FaultPlan | None = None
    replay: str = ""

    def orphan_policy(self) -> OrphanPolicy:
        """The scanner's policy, with this scenario's limit of a task's runtime."""
        criteria = replace(ORPHANS.criteria, max_runtime_hours=self.max_runtime_hours)
        if self.endless:
            ours = RuntimeLimit(hours=self.max_runtime_hours, flow=FLOW)
            criteria = replace(criteria, max_runtime_hours=NEVER_HOURS, runtime_limits=(ours,))
        return replace(ORPHANS, criteria=criteria, min_running_for_share=self.min_running_for_share)

    @property
    def records_within_s(self) -> float:
        """In what time another system may write down its task: two graces of the scanner, less what a clock is ahead."""
        return 2 * ORPHANS.criteria.grace_s - (self.skew_s - SKEW_S)

    def limits(self) -> Limits:
        """What the daemons' policies allow in this scenario."""
        return Limits(
            installation=INSTALLATION,
            max_stops=MAX_STOPS_PER_SCAN,
            max_stop_share=MAX_STOP_SHARE,
            min_running_for_share=self.min_running_for_share,
            max_runtime_s=self.max_runtime_hours * HOUR_S,
            start_timeout_s=START_TIMEOUT_S,
            result_linger_s=RESULT_LINGER_S,
            clocks_differ_s=self.skew_s,
        )

    def fault_plan(self) -> FaultPlan:
        """The faults of the seed, unless given."""
        if self.plan is not None:
            return self.plan
        plan = FaultPlan(seed=self.seed, rate=self.fault_rate, calm_from_s=self.calm_from_s, slow_share=self.slow_share)
        if self.fault_rate > 0:
            plan.weather = tuple(Weather)[int(plan.draw("weather") * len(Weather))]
        plan.slow = self.slow
        plan.outages = (*self.outages, *(self._outages(plan) if self.chaos else ()))
        if self.aims > 0:
            plan.aims = aims(plan, count=self.aims, with_events=self.with_events, with_leases=self.with_leases)
            aim_first_at(self.hunted, plan.aims)
        return plan

    def _outages(self, plan: FaultPlan) -> Iterator[Outage]:
        """Minutes without tables, for all or for workers only, or without the permission to launch; sometimes an hour without any."""
        begin_s = 0.9 * self.calm_from_s * plan.draw("tables")
        yield Outage(begin_s, begin_s + 400, calls=TABLE_CALLS)
        begin_s = 0.9 * self.calm_from_s * plan.draw("workers' table")
        yield Outage(begin_s, begin_s + 600, calls=("UpdateItem",), daemons=False)
        begin_s = 0.9 * self.calm_from_s * plan.draw("permission")
        yield Outage(begin_s, begin_s + (900 if plan.weather is Weather.LAUNCHES else 200), Fate.DENIED, ("RunTask",))
        if self.with_long_outage:
            begin_s = 600 + 0.3 * self.calm_from_s * plan.draw("outage")
            yield Outage(begin_s, begin_s + 90, Fate.TIMEOUT_APPLIED, ("RunTask",))
            yield Outage(begin_s, begin_s + OUTAGE_S, daemons=False, workers=plan.draw("everybody") < 0.7)
            yield Outage(begin_s + 90, begin_s + OUTAGE_S, workers=False)


SLOW_LISTING: tuple[tuple[str, ...], float, float] = (("ListTasks",), 25.0, 25.0)
"""Longer than a scan listens; it stops nothing then."""

STRANGERS = ((1000.0, "strangers"),)
HAND_OVERS = (
    *((at_s, "drain_holder") for at_s in (500.0, 1300.0, 2100.0, 2900.0, 3700.0, 4500.0, 5700.0, 6400.0, 7000.0)),
    (2700.0, "crash_holder"),
    (5300.0, "stall_holder"),
)
HANGING: Conducts = ((0.3, Conduct.HANG), *((0.3 + 0.7 * bound, conduct) for bound, conduct in CONDUCTS))


def mixed(seed: int) -> Scenario:
    """The scenario of a seed: one to three replicas; each of its other traits drawn apart, so that all of them meet."""

    def is_so(trait: str, share: float) -> bool:
        return hashed_fraction(seed, trait) < share

    with_leases, with_earlier_version = is_so("leases", 0.3), is_so("earlier version", 0.2)
    slow_from_s = 5000 * hashed_fraction(seed, "slow listings from")
    return Scenario(
        seed=seed,
        replicas=1 + seed % 3,
        with_events=not is_so("without events", 0.3),
        conducts=HANGING if is_so("hanging", 0.3) else CONDUCTS,
        with_leases=with_leases,
        clock_rates=DRIFTING if with_leases else (1.0,),
        shuffled=is_so("shuffled", 0.5),
        with_earlier_version=with_earlier_version,
        with_long_outage=is_so("long outage", 0.2),
        endless=not with_earlier_version and is_so("endless", 0.5),
        skew_s=FAR_APART_S if is_so("clocks far apart", 0.25) else SKEW_S,
        slow=(Slow(slow_from_s, slow_from_s + 1500, *SLOW_LISTING),) if is_so("slow listings", 0.1) else (),
        acts=(*(STRANGERS if is_so("strangers", 0.12) else ()), *(HAND_OVERS if with_leases else ())),
        replay=f"python -m tests.simulation --seed {seed} --trace",
    )


@dataclass(slots=True)
class Report:
    """One finished story. `calls_when_quiet`: how many calls had been made when every run had ended.

    `moments`: which calls have come to which phase; not all, where a host crashes.
    """

    seed: int
    replicas: int
    simulated_s: float
    calls: int
    calls_when_quiet: int
    moments: set[tuple[int, Phase]]
    injected: Counter[str]
    cells: Counter[Cell]
    statuses: Counter[str]
    organisations: int
    sometimes: Counter[str]
    trace: list[str] = field(default_factory=list)


def a_run(number: int, plan: FaultPlan, clock: SimClock) -> Run:
    now = clock.now()
    run_id = f"00000000-0000-4000-8000-{plan.seed % 10**8:08d}{number:04d}"
    return Run(
        run_id=run_id,
        org_id=("acme", "globex")[int(plan.draw("org", number) * 2)],
        flow_name=FLOW,
        flow_version="1",
        executor="ecs",
        status=RunStatus.QUEUED,
        attempt=1,
        launch_try=1,
        max_attempts=1 + int(3 * plan.draw("attempts", number)),
        infra_failures=0,
        version=1,
        active_since=now,
        created_at=now,
        queued_at=now,
        correlation_id=run_id,
        cpu=1024,
        memory=2048,
        transitions=(Transition(at=now, from_status="", to_status="QUEUED", attempt=1, by="request", why="launched"),),
    )


def worker_definition() -> dict[str, Any]:
    return {
        "family": "dagy-worker",
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "cpu": "1024",
        "memory": "2048",
        "containerDefinitions": [{"name": CONTAINER, "image": "dagy-worker:1", "entryPoint": ["dagy-worker"]}],
    }
