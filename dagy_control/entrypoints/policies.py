"""From Settings to the small frozen policies that the rooms are handed. The only place where a setting becomes behaviour."""

from dataclasses import dataclass, field, replace

from dagy_control.adapters.session import ClientPolicy
from dagy_control.config import Settings
from dagy_control.events.decide import EventPolicy
from dagy_control.kernel.limiter import AWS_BUCKETS, Bucket
from dagy_control.kernel.ticker import TickPolicy
from dagy_control.launching.admission import AdmissionLimits
from dagy_control.launching.breaker import BreakerPolicy
from dagy_control.launching.decide import LaunchPolicy
from dagy_control.launching.request import LaunchTarget
from dagy_control.model.cost import PriceTable
from dagy_control.model.failures import RetryPolicy
from dagy_control.model.lifecycle import LaunchRetryPolicy
from dagy_control.model.resources import TaskSize
from dagy_control.model.runs import FailureClass
from dagy_control.orphans.criteria import Criteria, RuntimeLimit, StateTable
from dagy_control.orphans.decide import AlertPolicy, OrphanPolicy
from dagy_control.reconciling.decide import ReconcilePolicy
from dagy_control.reconciling.pacing import PacePolicy
from dagy_control.requests.executors import Executor
from dagy_control.requests.launch import RequestPolicy
from dagy_control.worker.disk import MEBIBYTE
from dagy_control.worker.installer import InstallPolicy
from dagy_control.worker.packages import PackagePolicy
from dagy_control.worker.policy import WorkerPolicy

IDLE_INTERVALS = 2
"""An empty queue is looked at half as often: a look costs sixteen queries."""
DEAD_LETTERS_INTERVAL_S = 60.0
"""Seconds between two counts of the dead letters: nobody is in a hurry about them."""
FORGOTTEN_AFTER_S = 3600.0
LOOK_AGAIN_S = 5.0
"""Seconds between the two looks of a pass by hand: DescribeTasks is eventually consistent by seconds."""
PASS_SHARE = 0.8
"""The part of its interval over which a large reconciling pass is spread; the rest is for its writes, and for being late."""
READ_SHARE = 0.75
"""The part of the account's steady read rate that a large pass may take: the rest is for the orphan scanner and launching."""
DEADLINE_INTERVALS = 20
DEADLINE_MIN_S = 300.0
DEADLINE_MAX_S = 3600.0
"""A tick is hung after 20 of its intervals, between 5 minutes and an hour: a full queue at AWS's rate takes minutes, not hours."""

SUSPICION_LIFE_MIN_S = 3600.0
SUSPICION_LIFE_INTERVALS = 3
"""A suspicion lives for three scans, and for an hour at least: people scan by hand less often than the loop."""


@dataclass(frozen=True, slots=True)
class LoopPlan:
    """What one loop is told: whether it works at all, when it ticks, and its own policy."""

    enabled: bool
    schedule: TickPolicy
    policy: object


@dataclass(frozen=True, slots=True)
class ProcessPlan:
    """What the process as a whole is told, beside its loops. `providers`: capacity providers that launching needs."""

    log_level: str
    drain_timeout_s: float
    account_share: float
    rate_scale: float
    api_token: str | None = field(repr=False)
    providers: tuple[str, ...]


def client_policy(settings: Settings) -> ClientPolicy:
    """How AWS clients are made."""
    aws = settings.aws
    return ClientPolicy(
        region=aws.region,
        connect_timeout_s=aws.connect_timeout_s,
        read_timeout_s=aws.read_timeout_s,
        max_connections=aws.max_connections,
    )


def loop_plans(settings: Settings) -> dict[str, LoopPlan]:
    """The plan of each loop, by its name. All that an edit of the configuration changes in a running loop is in here."""
    return {
        "launching": LoopPlan(
            settings.launching.enabled, _tick_policy(settings.launching.interval_s), launch_policy(settings)
        ),
        "reconciling": LoopPlan(
            settings.reconciling.enabled, _tick_policy(settings.reconciling.interval_s), reconcile_policy(settings)
        ),
        "events": LoopPlan(settings.events.enabled, _tick_policy(1.0), event_policy(settings)),
        "dead-letters": LoopPlan(
            settings.events.enabled, _tick_policy(DEAD_LETTERS_INTERVAL_S), event_policy(settings)
        ),
        "orphans": LoopPlan(
            settings.orphans.enabled, _tick_policy(settings.orphans.interval_s), orphan_policy(settings)
        ),
    }


def process_plan(settings: Settings) -> ProcessPlan:
    """The plan of the process."""
    return ProcessPlan(
        log_level=settings.log_level,
        drain_timeout_s=settings.drain_timeout_s,
        account_share=settings.aws.account_share,
        rate_scale=settings.aws.rate_scale,
        api_token=settings.api.token,
        providers=tuple(name for name, weight in settings.ecs.capacity_providers.items() if weight > 0)
        if settings.launching.enabled
        else (),
    )


def _tick_policy(interval_s: float) -> TickPolicy:
    return TickPolicy(
        interval_s=interval_s, deadline_s=min(max(DEADLINE_INTERVALS * interval_s, DEADLINE_MIN_S), DEADLINE_MAX_S)
    )


def _sizes(settings: Settings) -> dict[str, TaskSize]:
    return {name: TaskSize(profile.cpu, profile.memory) for name, profile in settings.ecs.profiles.items()}


def retry_policy(settings: Settings) -> RetryPolicy:
    """The bounds of automatic retries."""
    reconciling = settings.reconciling
    return RetryPolicy(
        max_infra_failures=reconciling.max_infra_failures,
        retry_delay_s=reconciling.infra_retry_delay_s,
        retry_delay_max_s=reconciling.infra_retry_delay_max_s,
        infra_classes=frozenset(map(FailureClass, reconciling.infra_retry_classes)),
        profiles=_sizes(settings) if reconciling.out_of_memory_next_profile else None,
    )


def price_table(settings: Settings) -> PriceTable:
    """By which costs are estimated."""
    return PriceTable(**settings.prices.model_dump())


def launch_target(settings: Settings) -> LaunchTarget:
    """Where and as what attempts are launched. What `missing_for_launch()` names is empty in it."""
    ecs = settings.ecs
    return LaunchTarget(
        installation=settings.installation,
        cluster=ecs.cluster_arn or "",
        task_definition=ecs.task_definition,
        container_name=ecs.container_name,
        subnets=ecs.subnets,
        security_groups=ecs.security_groups,
        assign_public_ip=ecs.assign_public_ip,
        provider_weights=ecs.capacity_providers,
        default_size=_sizes(settings)[ecs.default_profile],
        execution_role_arn=ecs.execution_role_arn,
        task_role_arn=ecs.task_role_arn,
        spot_fallback_after_tries=settings.launching.spot_fallback_after_tries,
        worker_environment=worker_environment(settings),
    )


def admission_limits(settings: Settings) -> AdmissionLimits:
    """How many runs may be active at once."""
    launching = settings.launching
    return AdmissionLimits(
        max_concurrent_tasks=launching.max_concurrent_tasks,
        max_per_org=launching.max_per_org,
        max_per_flow=launching.max_per_flow,
        max_admitted=launching.max_claims_per_tick,
    )


def launch_policy(settings: Settings) -> LaunchPolicy:
    """All that launching is told. `missing_for_launch()` must be empty."""
    launching = settings.launching
    return LaunchPolicy(
        target=launch_target(settings),
        limits=admission_limits(settings),
        retry=LaunchRetryPolicy(
            max_launch_tries=launching.max_launch_tries,
            retry_delay_s=launching.retry_delay_s,
            retry_delay_max_s=launching.retry_delay_max_s,
        ),
        breaker=BreakerPolicy(
            refusals=launching.breaker_refusals,
            probe_delay_s=launching.breaker_probe_delay_s,
            probe_delay_max_s=launching.breaker_probe_delay_max_s,
        ),
        reply_timeout_s=launching.reply_timeout_s,
        token_replay_max_age_s=launching.token_replay_max_age_s,
        not_found_grace_s=launching.not_found_grace_s,
        census_interval_s=launching.census_interval_s,
        max_in_flight=launching.max_in_flight,
        idle_interval_s=IDLE_INTERVALS * launching.interval_s,
        labelled_orgs=launching.labelled_orgs,
        labelled_flows=tuple(
            (org, flow) for org, _, flow in (each.partition("/") for each in launching.labelled_flows)
        ),
    )


def worker_environment(settings: Settings) -> dict[str, str]:
    """What a worker must be told of this configuration: names of tables and buckets, and its own section, where not the default."""
    default = Settings()
    environment: dict[str, str] = {}
    for section in ("tables", "storage", "worker", "telemetry"):
        mine, usual = getattr(settings, section), getattr(default, section)
        for name in type(mine).model_fields:
            value = getattr(mine, name)
            if value != getattr(usual, name):
                text = ",".join(value) if isinstance(value, tuple) else str(value)
                environment[f"DAGY_{section}__{name}".upper()] = text
    named = (
        ("installation", "environment") if settings.telemetry.cloudwatch_metrics else ()
    )  # the dimensions of its figures
    for name in ("log_level", *named):
        if getattr(settings, name) != getattr(default, name):
            environment[f"DAGY_{name}".upper()] = getattr(settings, name)
    return environment


def reconcile_policy(settings: Settings) -> ReconcilePolicy:
    """All that reconciling is told."""
    reconciling = settings.reconciling
    budget = AWS_BUCKETS[Bucket.ECS_READ].rate_per_s * settings.aws.account_share * settings.aws.rate_scale
    return ReconcilePolicy(
        container_name=settings.ecs.container_name,
        default_cluster=settings.ecs.cluster_arn or "",
        retry=retry_policy(settings),
        prices=price_table(settings),
        max_runs=reconciling.max_runs,
        stale_threshold_s=reconciling.stale_threshold_s,
        missing_grace_s=reconciling.missing_grace_s,
        start_timeout_s=reconciling.start_timeout_s,
        result_linger_s=reconciling.result_linger_s,
        describe_concurrency=reconciling.describe_concurrency,
        pace=PacePolicy(spread_s=PASS_SHARE * reconciling.interval_s, calls_per_s=READ_SHARE * budget),
        max_missing_share=reconciling.max_missing_share,
        missing_share_min_tasks=reconciling.missing_share_min_tasks,
    )


def reconcile_policy_by_hand(
    settings: Settings, *, max_runs: int, stale_threshold_s: float | None = None
) -> ReconcilePolicy:
    """All that a single pass by hand is told: it is not spread over a period, and looks twice at missing tasks itself.

    Two looks seconds apart are less than two passes, so only a task whose launch is an hour old can be lost: by then ECS itself
    forgets stopped tasks ("ECS API Reference, DescribeTasks": they are returned for at least an hour).
    """
    policy = reconcile_policy(settings)
    grace_s = policy.missing_grace_s if settings.embedded_cloud else max(policy.missing_grace_s, FORGOTTEN_AFTER_S)
    return replace(
        policy,
        max_runs=max_runs,
        stale_threshold_s=policy.stale_threshold_s if stale_threshold_s is None else stale_threshold_s,
        missing_grace_s=grace_s,
        look_again_s=LOOK_AGAIN_S,
        pace=PacePolicy(),
    )


def event_policy(settings: Settings) -> EventPolicy:
    """All that the event consumer is told."""
    return EventPolicy(
        installation=settings.installation,
        container_name=settings.ecs.container_name,
        retry=retry_policy(settings),
        prices=price_table(settings),
        wait_s=settings.events.wait_s,
    )


def orphan_policy(settings: Settings) -> OrphanPolicy:
    """All that the orphan scanner is told."""
    orphans = settings.orphans
    tables = tuple(
        StateTable(
            name=each.name,
            table=each.table,
            key_attribute=each.key_attribute,
            task_tag=each.task_tag,
            status_attribute=each.status_attribute,
            terminal_statuses=frozenset(each.terminal_statuses),
            arn_attribute=each.arn_attribute,
            check_arn=each.check_arn,
        )
        for each in orphans.state_tables
        if each.table
    )
    return OrphanPolicy(
        cluster=settings.ecs.cluster_arn or "",
        environment=settings.environment,
        criteria=Criteria(
            installation=settings.installation,
            state_tables=tables,
            max_runtime_hours=orphans.max_runtime_hours,
            grace_s=orphans.grace_s,
            families=frozenset(orphans.families),
            runtime_limits=tuple(
                RuntimeLimit(hours=each.hours, flow=each.flow, tag=each.tag or "", value=each.value or "")
                for each in orphans.runtime_limits
            ),
            keep_tag=orphans.keep_tag,
        ),
        dry_run=orphans.dry_run,
        max_stops_per_scan=orphans.max_stops_per_scan,
        max_stop_share=orphans.max_stop_share,
        min_running_for_share=orphans.min_running_for_share,
        scan_timeout_s=orphans.scan_timeout_s,
        suspicion_life_s=max(SUSPICION_LIFE_MIN_S, SUSPICION_LIFE_INTERVALS * orphans.interval_s),
        switched_off=tuple(each.name for each in orphans.state_tables if not each.table),
        alerts=AlertPolicy(
            topic_arn=orphans.alert_topic_arn if orphans.alert_publisher else None, repeat_s=orphans.alert_repeat_s
        ),
    )


def request_policy(settings: Settings) -> RequestPolicy:
    """What requests are checked against."""
    return RequestPolicy(
        executors={"ecs": Executor("ecs", settings.ecs.missing_for_launch())},
        profiles=_sizes(settings),
        default_profile=settings.ecs.default_profile,
        frame=launch_target(settings),
        max_queued_runs=settings.launching.max_queued_runs,
    )


def worker_policy(settings: Settings) -> WorkerPolicy:
    """All that a worker is told."""
    worker = settings.worker
    return WorkerPolicy(
        drain_s=worker.drain_s,
        max_concurrency=worker.default_max_concurrency,
        max_tasks_per_process=worker.max_tasks_per_process,
        result_write_timeout_s=worker.result_write_timeout_s,
        artifact_max_bytes=worker.artifact_max_mib * MEBIBYTE,
        packages=PackagePolicy(
            packed_bytes_max=worker.dep_package_max_mib * MEBIBYTE,
            unpacked_bytes_max=worker.dep_unpacked_max_mib * MEBIBYTE,
            install=InstallPolicy(allow_network=worker.allow_network_installs, timeout_s=worker.install_timeout_s),
        ),
        trace_prefix=settings.storage.trace_prefix,
        work_dir=worker.work_dir,
    )
