"""What can be chosen about an installation: one frozen record, read from a TOML file, refused whole with every problem said.

Pure, and without the CDK: docs/deploy.md's table is made from it.
"""

import dataclasses
import ipaddress
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args, get_origin, get_type_hints

from dagy_control.model.resources import validate_size

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

STOP_MARGIN_S = 5
"""Between the daemon's drain and the SIGKILL that follows the stop timeout."""

Settings = Mapping[str, Any]


class StackConfigError(ValueError):
    """The configuration is refused; the message has a line for each problem."""


def _about(text: str, default: Any = dataclasses.MISSING) -> Any:  # noqa: ANN401 - as dataclasses.field
    return field(default=default, metadata={"about": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class StackConfig:
    """One installation. Raises `StackConfigError` when it is made of values that do not fit."""

    daemon_image: str = _about("The daemon's image, with a tag other than `latest`, or a digest.")
    worker_image: str = _about("The worker's image, likewise.")
    installation: str = _about(
        "Name of the installation; roles, tables, queues and the cluster are named after it.", "dagy"
    )
    environment: str = _about("Name of the environment, as alerts and metrics show it.", "prod")

    vpc_id: str | None = _about("An existing VPC. Unset: a new one, with public and private subnets.", None)
    availability_zones: tuple[str, ...] = _about(
        "Zones of `private_subnet_ids`, in their order. Existing VPC only.", ()
    )
    private_subnet_ids: tuple[str, ...] = _about("Subnets of the daemon and of the workers. Existing VPC only.", ())
    private_route_table_ids: tuple[str, ...] = _about(
        "Route tables of those subnets, in their order: where the gateway endpoints go. Empty: none are made. Existing VPC only.",
        (),
    )
    vpc_cidr: str = _about("Address range of a new VPC.", "10.60.0.0/16")
    nat_gateways: int = _about("NAT gateways of a new VPC, 0 to 2. With 0, `interface_endpoints` are needed.", 1)
    interface_endpoints: bool = _about(
        "Endpoints in the VPC for ECR, ECS, SQS, SNS, SSM, Secrets Manager and CloudWatch Logs.", default=False
    )

    spot_weight: int = _about(
        "Weight of FARGATE_SPOT, for the cluster's default strategy and for the daemon's launches.", 70
    )
    on_demand_weight: int = _about("Weight of FARGATE.", 30)
    worker_architecture: str = _about("`X86_64` or `ARM64`: what the worker's image was built for.", X86)
    worker_stop_timeout_s: int = _about("Seconds from SIGTERM to SIGKILL of a worker, 30 to 120.", 30)
    max_concurrent_tasks: int = _about("Tasks of this installation at the same time.", 100)

    daemon_architecture: str = _about("`X86_64` or `ARM64`.", X86)
    daemon_cpu: int = _about("CPU units of the daemon, 1024 a vCPU.", 256)
    daemon_memory: int = _about("Memory of the daemon in MiB.", 512)
    daemon_replicas: int = _about("Daemons, 1 or 2. A second one takes over within a lease.", 1)
    daemon_stop_timeout_s: int = _about("Seconds from SIGTERM to SIGKILL of the daemon, 10 to 120.", 30)
    discovery_namespace: str = _about("Private DNS zone in which Prometheus finds every daemon.", "dagy.internal")
    prometheus_security_group_id: str | None = _about("Whom port 9464 of the daemon is open to. Unset: nobody.", None)

    point_in_time_recovery: bool = _about("Continuous backups of the tables.", default=True)
    deletion_protection: bool = _about(
        "Tables refuse to be deleted; tables and buckets outlive the stack.", default=True
    )
    customer_key: bool = _about(
        "A KMS key of your own for tables and buckets, instead of those that AWS owns.", default=False
    )
    artifact_noncurrent_days: int = _about("Days that an overwritten or deleted artifact is kept.", 90)
    trace_days: int = _about("Days that exception traces are kept.", 30)
    log_retention_days: int = _about("Days that logs are kept.", 30)

    alarm_email: str | None = _about("Who is mailed by alarms and orphan alerts. Must be confirmed by a click.", None)
    alarm_failed_share: float = _about("Share of runs that fail in 15 minutes, above which an alarm is raised.", 0.2)
    alarm_reconcile_lag_s: int = _about("Seconds that reconciling may be late.", 300)
    alarm_queue_age_s: int = _about("Seconds that a task-state event may wait.", 300)

    orphans_dry_run: bool = _about("The orphan scanner reports only, and stops nothing.", default=True)
    retraining_state_table: str | None = _about(
        "State table for tasks tagged `model_name`. Unset: that tag is off.", None
    )
    trading_state_table: str | None = _about(
        "State table for tasks tagged `strategy_id`. Unset: that tag is off.", None
    )
    api_token_secret: str | None = _about(
        "Name of a Secrets Manager secret: the bearer token of HTTP requests with effects.", None
    )
    settings: Settings = field(
        default_factory=lambda: MappingProxyType({}),
        metadata={
            "about": "A table of tables: further settings of the daemon, as in `config.example.toml`. Secrets as references only."
        },
    )

    def __post_init__(self) -> None:
        problems = list(_problems(self))
        if problems:
            raise StackConfigError("\n".join(problems))

    @property
    def table_prefix(self) -> str:
        """What table names begin with: `DAGY_` for the installation `dagy`, as everywhere in the documentation."""
        return self.installation.upper().replace("-", "_") + "_"

    @property
    def drain_timeout_s(self) -> int:
        """The daemon's drain, which must end before it is killed."""
        return self.daemon_stop_timeout_s - STOP_MARGIN_S


def load(path: Path) -> StackConfig:
    """The configuration in a TOML file. Raises `StackConfigError` with the file's name."""
    try:
        values = tomllib.loads(path.read_text())
    except OSError as error:
        raise StackConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise StackConfigError(f"{path}: is no TOML: {error}") from error
    try:
        return of_mapping(values)
    except StackConfigError as error:
        raise StackConfigError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from error


def of_mapping(values: Mapping[str, Any]) -> StackConfig:
    """The configuration of plain values. Raises `StackConfigError` for unknown names, absent ones and wrong types."""
    fields = {each.name: each for each in dataclasses.fields(StackConfig)}
    hints = get_type_hints(StackConfig)
    problems = [
        f"{name}: is no setting of the stack; there are: {', '.join(fields)}" for name in values if name not in fields
    ]
    needed = [name for name, each in fields.items() if _is_required(each)]
    problems += [f"{name}: must be given" for name in needed if name not in values]
    given: dict[str, Any] = {}
    for name, value in values.items():
        if name not in fields:
            continue
        taken = tuple(value) if isinstance(value, list) else value
        if _fits(taken, hints[name]):
            given[name] = taken
        else:
            problems.append(f"{name}: {value!r} is not {_words(hints[name])}")
    if problems:
        raise StackConfigError("\n".join(problems))
    return StackConfig(**given)


def table() -> str:
    """Every setting as a Markdown table."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    rows += [
        f"| `{each.name}` | {_shown_default(each)} | {each.metadata['about']} |"
        for each in dataclasses.fields(StackConfig)
    ]
    return "\n".join(rows)


def _is_required(each: "dataclasses.Field[Any]") -> bool:
    return each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING


def _shown_default(each: "dataclasses.Field[Any]") -> str:
    if _is_required(each):
        return "(must be given)"
    if each.default is dataclasses.MISSING or each.default in (None, ()):
        return "unset"
    return f"`{str(each.default).lower() if isinstance(each.default, bool) else each.default}`"


def _fits(value: object, hint: Any) -> bool:  # noqa: ANN401 - any annotation of ours
    if hint is Settings or get_origin(hint) is get_origin(Settings):
        return isinstance(value, Mapping)
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(isinstance(each, str) for each in value)
    kinds = get_args(hint) or (hint,)
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds) or (float in kinds and isinstance(value, int))


def _words(hint: Any) -> str:  # noqa: ANN401 - any annotation of ours
    if get_origin(hint) is tuple:
        return "a list of texts"
    kinds = [kind for kind in get_args(hint) or (hint,) if kind is not type(None)]
    names = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    return " or ".join(names.get(kind, "a table") for kind in kinds[:1])


def _problems(config: StackConfig) -> Iterator[str]:
    yield from _name_problems(config)
    yield from _network_problems(config)
    yield from _size_problems(config)
    yield from _limit_problems(config)
    yield from _settings_problems(config.settings)


def _name_problems(config: StackConfig) -> Iterator[str]:
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


def _network_problems(config: StackConfig) -> Iterator[str]:
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


def _size_problems(config: StackConfig) -> Iterator[str]:
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


def _limit_problems(config: StackConfig) -> Iterator[str]:
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


def _settings_problems(settings: Settings, at: str = "settings") -> Iterator[str]:
    """A template is kept, shown and logged: a value that looks like a secret must be a reference to where it stands."""
    for name, value in settings.items():
        here = f"{at}.{name}"
        if isinstance(value, Mapping):
            yield from _settings_problems(value, here)
        elif at == "settings" and name not in ("log_level", "log_format"):
            yield f"{here}: is no table; settings of the daemon stand in sections, as [settings.launching]"
        elif SECRET_KEY.search(name) and isinstance(value, str) and not REFERENCE.match(value):
            yield f"{here}: is a secret by its name, and would stand in the template; give secret:name or ssm:/name instead"
