"""Why an installation's configuration is refused: every reason, each with the setting's name and what to do."""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dagy_control.model.resources import validate_size
from dagy_control.model.tables import TABLES

if TYPE_CHECKING:
    from deploy.stack.config import StackConfig

X86, ARM = "X86_64", "ARM64"
SECRET_KEY = re.compile(r"token|password|passwd|secret|credential|private_key|api_?key|access_key", re.IGNORECASE)
REFERENCE = re.compile(r"^(ssm|secret):\S+$")
LOG_RETENTION_DAYS = (
    1,
    3,
    5,
    7,
    14,
    30,
    60,
    90,
    120,
    150,
    180,
    365,
    400,
    545,
    731,
    1096,
    1827,
    2192,
    2557,
    2922,
    3288,
    3653,
)
"""What CloudWatch Logs takes ("PutRetentionPolicy", CloudWatch Logs API Reference)."""

STACK_DECIDES: Mapping[str, frozenset[str]] = {
    "aws": frozenset({"region"}),
    "ecs": frozenset(
        {
            "cluster_arn",
            "execution_role_arn",
            "task_role_arn",
            "subnets",
            "security_groups",
            "task_definition",
            "container_name",
        }
    ),
    "tables": frozenset(spec.setting for spec in TABLES),
    "storage": frozenset(
        {"artifact_bucket", "trace_bucket", "result_prefix", "artifact_prefix", "dep_package_prefix", "trace_prefix"}
    ),
    "events": frozenset({"queue_url", "dead_letter_queue_url"}),
    "orphans": frozenset({"alert_topic_arn", "state_tables", "dry_run"}),
    "launching": frozenset({"max_concurrent_tasks"}),
    "telemetry": frozenset({"cloudwatch_metrics", "cloudwatch_namespace"}),
    "api": frozenset({"host", "port", "enabled"}),
}
"""Settings of the daemon by which resources, permissions, alarms and the health check go: another value would fit none of them."""


def problems_of(config: "StackConfig") -> Iterator[str]:
    """Each problem as a sentence that begins with the setting's name."""
    yield from _name_problems(config)
    yield from _network_problems(config)
    yield from _size_problems(config)
    yield from _limit_problems(config)
    yield from _settings_problems(config.settings)


def _name_problems(config: "StackConfig") -> Iterator[str]:
    for name in ("daemon_image", "worker_image"):
        image: str = getattr(config, name)
        tag = image.rpartition("/")[2].partition(":")[2]
        if "@sha256:" not in image and tag in ("", "latest"):
            yield f"{name}: {image!r} names no version; give a tag other than 'latest', or a digest (…@sha256:…)"
    if not re.fullmatch(r"[a-z][a-z0-9-]{1,19}", config.installation) or config.installation.endswith("-"):
        yield f"installation: {config.installation!r} must be 2 to 20 small letters, digits and '-', beginning with a letter"
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", config.environment):
        yield f"environment: {config.environment!r} must be at most 64 letters, digits, '_', '.' and '-'"
    if not re.fullmatch(r"([a-z0-9-]+\.)+[a-z0-9-]+", config.discovery_namespace):
        yield f"discovery_namespace: {config.discovery_namespace!r} must be a DNS name with a dot"
    if config.alarm_email is not None and not re.fullmatch(r"[^@\s]+@[^@\s]+", config.alarm_email):
        yield f"alarm_email: {config.alarm_email!r} is no mail address"
    if config.api_token_secret is not None and not re.fullmatch(r"[A-Za-z0-9/_+=.@-]{1,512}", config.api_token_secret):
        yield "api_token_secret: must be the name of a secret, not the secret"


def _network_problems(config: "StackConfig") -> Iterator[str]:
    existing = {
        "availability_zones": config.availability_zones,
        "private_subnet_ids": config.private_subnet_ids,
        "private_route_table_ids": config.private_route_table_ids,
    }
    if config.vpc_id is None:
        yield from (
            f"{name}: is for an existing VPC; set vpc_id, or leave it out" for name, given in existing.items() if given
        )
        if not 0 <= config.nat_gateways <= 2:
            yield f"nat_gateways: {config.nat_gateways} must be 0, 1 or 2"
        elif config.nat_gateways == 0 and not config.interface_endpoints:
            yield "nat_gateways: 0 leaves no way to ECR and ECS; set interface_endpoints = true, or give at least one"
        try:
            prefix = ipaddress.ip_network(config.vpc_cidr).prefixlen
        except ValueError as error:
            yield f"vpc_cidr: {error}"
        else:
            if not 16 <= prefix <= 24:
                yield f"vpc_cidr: a VPC here is a /16 to a /24, not a /{prefix}; every task takes an address"
        return
    if not config.private_subnet_ids:
        yield "private_subnet_ids: an existing VPC needs them, with their availability_zones"
    if len(config.availability_zones) != len(config.private_subnet_ids):
        yield "availability_zones: there must be one for each of private_subnet_ids, in the same order"
    if len(config.private_route_table_ids) not in (0, len(config.private_subnet_ids)):
        yield "private_route_table_ids: there must be one for each of private_subnet_ids, in the same order, or none"


def _size_problems(config: "StackConfig") -> Iterator[str]:
    for name in ("daemon_architecture", "worker_architecture"):
        if getattr(config, name) not in (X86, ARM):
            yield f"{name}: {getattr(config, name)!r} must be {X86} or {ARM}"
    if problem := validate_size(config.daemon_cpu, config.daemon_memory):
        yield f"daemon_cpu: {problem}"
    if config.daemon_replicas not in (1, 2):
        yield f"daemon_replicas: {config.daemon_replicas} must be 1 or 2; more help nobody, as one works at a time"
    if not 10 <= config.daemon_stop_timeout_s <= 120:
        yield f"daemon_stop_timeout_s: {config.daemon_stop_timeout_s} must be 10 to 120, which ECS takes at most"
    if not 30 <= config.worker_stop_timeout_s <= 120:
        yield f"worker_stop_timeout_s: {config.worker_stop_timeout_s} must be 30 to 120; a worker drains for 15 s and then commits"
    if config.spot_weight < 0 or config.on_demand_weight < 0 or config.spot_weight + config.on_demand_weight == 0:
        yield "spot_weight: the two weights must not be negative, and not both 0"
    if max(config.spot_weight, config.on_demand_weight) > 1000:
        yield "spot_weight: a weight is 1000 at most"


def _limit_problems(config: "StackConfig") -> Iterator[str]:
    for name in (
        "max_concurrent_tasks",
        "artifact_noncurrent_days",
        "trace_days",
        "alarm_reconcile_lag_s",
        "alarm_queue_age_s",
    ):
        if getattr(config, name) < 1:
            yield f"{name}: {getattr(config, name)} must be 1 at least"
    if config.log_retention_days not in LOG_RETENTION_DAYS:
        yield f"log_retention_days: {config.log_retention_days} must be one of {', '.join(map(str, LOG_RETENTION_DAYS))}"
    if not 0 < config.alarm_failed_share <= 1:
        yield f"alarm_failed_share: {config.alarm_failed_share} must be above 0, and 1 at most"


def _settings_problems(settings: Mapping[str, Any], at: str = "settings") -> Iterator[str]:
    """A template is kept, shown and logged: a value that looks like a secret must be a reference to where it stands."""
    for name, value in settings.items():
        here = f"{at}.{name}"
        if name in STACK_DECIDES.get(at.removeprefix("settings."), ()):
            yield f"{here}: is what the stack decides; leave it out, or use a setting of the stack"
        if isinstance(value, Mapping):
            yield from _settings_problems(value, here)
        elif at == "settings" and name not in ("log_level", "log_format"):
            yield f"{here}: is no table; settings of the daemon stand in sections, as [settings.launching]"
        elif SECRET_KEY.search(name) and isinstance(value, str) and not REFERENCE.match(value):
            yield f"{here}: is a secret by its name, and would stand in the template; give secret:name or ssm:/name instead"
