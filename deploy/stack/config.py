"""What can be chosen about an installation: one frozen record, read from a TOML file, refused whole with every problem said.

Pure, and without the CDK: docs/deploy.md's table is made from it.
"""

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args, get_origin, get_type_hints

from deploy.stack.problems import X86, problems_of

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
        problems = list(problems_of(self))
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
