"""What an installation costs a month, by its configuration and its runs. `python -m deploy.costs` prints docs/deploy.md's tables.

Prices are those of us-east-1, Linux. Fargate's are the program's own (`[prices]`: as quoted in March 2026); the others are AWS's public
list prices as we know them, to be compared with the price pages before they are relied on. No tax, no data transfer to the internet, no
free tier, no savings plan.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

from dagy_control.config.cloud import EcsSettings
from dagy_control.config.settings import Settings
from dagy_control.model.cost import PriceTable
from dagy_control.model.runs import ACTIVE_SHARDS
from deploy.stack.config import StackConfig
from deploy.stack.problems import ARM

HOURS = 730
"""Of a month, as AWS counts."""

ZONES = 2
INTERFACES = 8
"""Endpoints with `interface_endpoints`: `deploy.stack.network.INTERFACES`, which tests/deploy compares."""

METRICS, ALARM_METRICS = 7, 6
"""Four figures and three of the orphan scans (docs/metrics.md); five alarms, one of which looks at two metrics."""

LOOPS_WITH_LEASES = 3
RENEWALS_PER_LEASE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """USD, us-east-1. Per hour, per GB, per million or per month, as the names say."""

    nat_hour: float = 0.045
    nat_gb: float = 0.045
    endpoint_zone_hour: float = 0.01
    endpoint_gb: float = 0.01
    write_million: float = 0.625
    read_million: float = 0.125
    sqs_million: float = 0.40
    metric_month: float = 0.30
    alarm_metric_month: float = 0.10
    hosted_zone_month: float = 0.50
    key_month: float = 1.00
    log_gb: float = 0.50


PRICES, FARGATE = Prices(), PriceTable()


@dataclass(frozen=True, slots=True)
class Item:
    """A line of the bill."""

    what: str
    how: str
    usd: float


def fixed(config: StackConfig) -> Iterator[Item]:
    """What is paid though no run is made."""
    hour = _task_hour(config.daemon_architecture, config.daemon_cpu, config.daemon_memory)
    size = f"{config.daemon_cpu / 1024:g} vCPU, {config.daemon_memory} MB, {config.daemon_architecture}"
    yield Item("the daemon", f"{config.daemon_replicas} x {size}, on demand", config.daemon_replicas * hour * HOURS)
    if config.vpc_id is None and config.nat_gateways:
        yield Item(
            "NAT gateway",
            f"{config.nat_gateways}, without its ${PRICES.nat_gb} a GB",
            config.nat_gateways * PRICES.nat_hour * HOURS,
        )
    if config.interface_endpoints:
        usd = INTERFACES * ZONES * PRICES.endpoint_zone_hour * HOURS
        yield Item(
            "interface endpoints", f"{INTERFACES} in {ZONES} zones, without their ${PRICES.endpoint_gb} a GB", usd
        )
    writes, reads, receives = _idle_calls()
    usd = writes / 1e6 * PRICES.write_million + reads / 1e6 * PRICES.read_million
    yield Item(
        "DynamoDB at rest",
        f"{writes / 1e6:.1f} million writes of leases, {reads / 1e6:.1f} million units of index reads",
        usd,
    )
    yield Item("SQS at rest", f"{receives / 1e6:.2f} million long polls", receives / 1e6 * PRICES.sqs_million)
    yield Item(
        "CloudWatch",
        f"{METRICS} custom metrics, {ALARM_METRICS} metrics of alarms",
        METRICS * PRICES.metric_month + ALARM_METRICS * PRICES.alarm_metric_month,
    )
    yield Item("Cloud Map", "one private zone", PRICES.hosted_zone_month)
    if config.customer_key:
        yield Item("KMS", "one key, without its requests", PRICES.key_month)


def per_run(config: StackConfig, profile: str, minutes: float) -> float:
    """Of one run of a profile and length, at the configured share of Spot: Fargate alone, which is nearly all of it."""
    size = EcsSettings().profiles[profile]
    spot = config.spot_weight / (config.spot_weight + config.on_demand_weight)
    share = 1 - spot * FARGATE.spot_discount
    return _task_hour(config.worker_architecture, size.cpu, size.memory) * share * minutes / 60


def tables() -> str:
    """Both tables, in Markdown."""
    plain = StackConfig(daemon_image="r/c:v1", worker_image="r/w:v1")
    variants = {
        "the example": plain,
        "on ARM, 2 daemons": replace(plain, daemon_architecture=ARM, daemon_replicas=2),
        "no NAT, interface endpoints": replace(plain, nat_gateways=0, interface_endpoints=True),
        "in a VPC of yours": replace(plain, vpc_id="vpc-1", private_subnet_ids=("s",), availability_zones=("z",)),
    }
    rows = ["| of the example | how | USD a month |", "|---|---|---|"]
    rows += [f"| {item.what} | {item.how} | {item.usd:,.2f} |" for item in fixed(plain)]
    rows += ["", "| installation | USD a month at rest |", "|---|---|"]
    rows += [f"| {name} | {sum(item.usd for item in fixed(config)):,.2f} |" for name, config in variants.items()]
    rows += [
        "",
        "| 1,000 runs of 10 minutes | x86, all on demand | x86, 70 % Spot | ARM, 70 % Spot |",
        "|---|---|---|---|",
    ]
    on_demand, arm = replace(plain, spot_weight=0, on_demand_weight=100), replace(plain, worker_architecture=ARM)
    for profile in EcsSettings().profiles:
        cells = [f"{1000 * per_run(each, profile, 10):,.2f}" for each in (on_demand, plain, arm)]
        rows.append(f"| {profile} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _task_hour(architecture: str, cpu: int, memory: int) -> float:
    if architecture == ARM:
        return cpu / 1024 * FARGATE.arm_vcpu_hour_usd + memory / 1024 * FARGATE.arm_memory_gb_hour_usd
    return cpu / 1024 * FARGATE.x86_vcpu_hour_usd + memory / 1024 * FARGATE.x86_memory_gb_hour_usd


def _idle_calls() -> tuple[float, float, float]:
    """Writes, read units and receives of a month at rest, by the default intervals. An empty page of an index costs half a unit.

    Launching reads the queue each second and the two other states each ten; reconciling and the orphan scanner read the running ones.
    """
    seconds = HOURS * 3600
    settings = Settings()
    leases = LOOPS_WITH_LEASES * RENEWALS_PER_LEASE * seconds / settings.leases.lease_s
    launching = seconds / settings.launching.interval_s + 2 * seconds / settings.launching.census_interval_s
    passes = launching + seconds / settings.reconciling.interval_s + seconds / settings.orphans.interval_s
    receives = (
        2 * seconds / settings.events.wait_s
    )  # beside the queue itself, a look at the depths of both now and then
    return leases, passes * ACTIVE_SHARDS * 0.5, receives


if __name__ == "__main__":
    sys.stdout.write(tables() + "\n")
