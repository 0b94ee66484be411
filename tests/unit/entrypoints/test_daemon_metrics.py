"""Every metric of a daemon as it is put together for real: named, typed and explained by Prometheus's conventions, its labels bounded."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Info
from prometheus_client.metrics_core import Metric

from dagy_control.config import Settings, load_settings
from dagy_control.entrypoints.control import _lease_keeper, _start_loops
from dagy_control.entrypoints.reloading import ConfigMetrics
from dagy_control.entrypoints.wiring import Ports, open_ports
from dagy_control.kernel.health import Health
from dagy_control.kernel.lag import LoopLag
from dagy_control.kernel.supervisor import Supervisor
from dagy_control.kernel.telemetry import new_registry

METRICS = Path(__file__).parents[3] / "docs" / "metrics.md"
RULES = METRICS.parents[1] / "deploy" / "monitoring" / "rules" / "dagy.yml"

QUEUE = "https://sqs.eu-west-1.amazonaws.com/123456789012/"
ENVIRONMENT = {
    "DAGY_ECS__CLUSTER_ARN": "arn:aws:ecs:eu-west-1:123456789012:cluster/main",
    "DAGY_EVENTS__QUEUE_URL": f"{QUEUE}tasks",
    "DAGY_EVENTS__DEAD_LETTER_QUEUE_URL": f"{QUEUE}dead",
    "DAGY_LAUNCHING__ENABLED": "false",  # it needs subnets and more, and is there all the same
    "DAGY_AWS__REGION": "eu-west-1",
}

BOUNDED = {
    "result": "words of the code",
    "reason": "words of the code",
    "cause": "words of the code",
    "verdict": "words of the code",
    "outcome": "words of the code",
    "from": "words of the code",
    "bucket": "words of the code",
    "status": "words of the code",
    "failure_class": "words of the code",
    "service": "those that the code calls",
    "operation": "those that the code calls",
    "loop": "one for each loop and receiver of this process",
    "lease": "one for each loop with a lease",
    "version": "one",
    "org": "those that the configuration names, 50 at most",
    "flow": "those that the configuration names, 100 at most",
}
"""Every label there may be, and what bounds its values. No run, task or user."""

NOT_OF_TIME_OR_BYTES = re.compile(r"(?:_ms|_millis|_minutes|_hours|_days|_kb|_mb|_mib|_percent)(?:_|$)")


@pytest.fixture
async def registry() -> CollectorRegistry:
    settings = load_settings(None, ENVIRONMENT)
    registry = new_registry()
    async with open_ports(settings, registry=registry) as ports:
        put_together(settings, registry, ports)
    return registry


def put_together(settings: Settings, registry: CollectorRegistry, ports: Ports) -> None:
    """As `control._serve` does."""
    supervisor = Supervisor(ports.clock, drain_timeout_s=1)
    keeper = _lease_keeper(settings, ports, registry, Health(ports.clock), supervisor)
    assert len(_start_loops(settings, ports, registry, keeper, None)) == 4 + settings.events.receivers
    LoopLag(registry, ports.clock)
    ConfigMetrics(registry)
    Info("dagy_build", "Version of this program.", registry=registry).info({"version": "1"})


def ours(registry: CollectorRegistry) -> Mapping[str, Metric]:
    """By the name that docs/metrics.md tells."""
    suffixes = {"counter": "_total", "info": "_info"}
    return {
        family.name + suffixes.get(family.type, ""): family
        for family in registry.collect()
        if family.name.startswith("dagy_")
    }


async def test_the_page_tells_of_every_metric_of_the_registry_and_no_other(registry: CollectorRegistry) -> None:
    told = re.findall(r"^\| `(dagy_\w+)` \| (\w+) \|", METRICS.read_text(), re.MULTILINE)
    assert dict(told) == {name: family.type for name, family in ours(registry).items()}


async def test_names_have_base_units_and_say_totals(registry: CollectorRegistry) -> None:
    for name, family in ours(registry).items():
        assert re.fullmatch(r"dagy_[a-z]+(?:_[a-z]+)*", name), name
        assert not NOT_OF_TIME_OR_BYTES.search(name), name
        assert ("_total" in name) == (family.type == "counter"), name
        assert family.type != "histogram" or name.endswith("_seconds"), name
        assert "timestamp" not in name or name.endswith("_timestamp_seconds"), name
        assert "Unix time" not in family.documentation or name.endswith("_timestamp_seconds"), name


async def test_every_help_text_is_a_sentence(registry: CollectorRegistry) -> None:
    for name, family in ours(registry).items():
        assert re.fullmatch(r"[A-Z0-9].{10,}\.", family.documentation), name


async def test_every_label_has_few_values(registry: CollectorRegistry) -> None:
    told = re.findall(r"^\| `dagy_\w+` \| \w+ \| ([^|]*)\|", METRICS.read_text(), re.MULTILINE)
    labels = {label for cell in told for label in re.findall(r"`(\w+)`", cell)}
    seen = {label for family in ours(registry).values() for each in family.samples for label in each.labels} - {"le"}
    assert labels | seen == set(BOUNDED)


async def test_every_counter_that_an_alert_asks_for_begins_at_0(registry: CollectorRegistry) -> None:
    """Prometheus sees no increase in the first sample of a series. Calls to AWS have a series once there was one."""
    asked_for = set(re.findall(r"(?:increase|rate)\((dagy_\w+_total)", RULES.read_text())) - {"dagy_aws_calls_total"}
    assert asked_for
    for name in asked_for:
        values = [each.value for each in ours(registry)[name].samples if each.name == name]
        assert values, f"{name} has no series yet"
        assert set(values) == {0.0}, name
