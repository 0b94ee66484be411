"""What the daemon and people read: `config.toml` and `deployment.env`, as SSM parameters, made from the resources themselves."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_ssm as ssm

from dagy_control.config.settings import Settings
from dagy_control.model.tables import TABLES
from deploy.stack.config import StackConfig
from deploy.stack.messaging import Messaging
from deploy.stack.network import Network
from deploy.stack.storage import Storage
from deploy.stack.tables import table_name
from deploy.stack.worker import default_family

CONFIG, ENVIRONMENT = "config.toml", "deployment.env"
SHARED = """\
# Settings of the daemon, written by the stack: `dagy-control config check` explains each. Change them in the stack's own
# configuration, under [settings]; a change here is followed at once, and lost with the next deployment that touches it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the stack has made, as far as the daemon must be told."""

    cluster_arn: str
    network: Network
    storage: Storage
    messaging: Messaging
    worker: iam.IRole
    worker_execution: iam.IRole


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """The two documents."""

    config: ssm.StringParameter
    environment: ssm.StringParameter


def parameter_name(config: StackConfig, document: str) -> str:
    """`/dagy/config.toml`, for the installation `dagy`."""
    return f"/{config.installation}/{document}"


def parameter_arn(stack: Stack, config: StackConfig, document: str) -> str:
    """Its ARN; `*` for all below the installation's path."""
    return stack.format_arn(
        service="ssm", resource="parameter", resource_name=parameter_name(config, document).removeprefix("/")
    )


def make_parameters(stack: Stack, config: StackConfig, facts: Facts) -> Parameters:
    """Both. Neither holds a secret: a reference to one at most."""
    values = merged(settings_of(stack, config, facts), config.settings)
    environment = {
        "AWS_REGION": stack.region,
        "DAGY_CONFIG": f"ssm:{parameter_name(config, CONFIG)}",
        "DAGY_ECS_CLUSTER_ARN": facts.cluster_arn,
        "DAGY_ECS_EXECUTION_ROLE_ARN": facts.worker_execution.role_arn,
        "DAGY_ECS_TASK_ROLE_ARN": facts.worker.role_arn,
        "DAGY_ECS_SUBNETS": ",".join(facts.network.subnet_ids),
        "DAGY_ECS_SECURITY_GROUPS": facts.network.worker_group.security_group_id,
        "DAGY_ECS_WORKER_IMAGE": config.worker_image,
    }
    lines = "".join(f"{name}={value}\n" for name, value in environment.items())
    return Parameters(
        config=_parameter(stack, config, "ConfigParameter", CONFIG, SHARED + toml(values)),
        environment=_parameter(stack, config, "EnvironmentParameter", ENVIRONMENT, lines),
    )


def settings_of(stack: Stack, config: StackConfig, facts: Facts) -> dict[str, Any]:
    """The daemon's settings that this stack decides; the rest keep their defaults."""
    default = Settings()
    topic = facts.messaging.topic.topic_arn
    tables = {spec.setting: table_name(config, spec.setting) for spec in TABLES}
    states = {"retraining": config.retraining_state_table, "trading": config.trading_state_table}
    return {
        "environment": config.environment,
        "installation": config.installation,
        "drain_timeout_s": config.drain_timeout_s,
        "aws": {"region": stack.region},
        "ecs": {
            "cluster_arn": facts.cluster_arn,
            "execution_role_arn": facts.worker_execution.role_arn,
            "task_role_arn": facts.worker.role_arn,
            "subnets": list(facts.network.subnet_ids),
            "security_groups": [facts.network.worker_group.security_group_id],
            "worker_image": config.worker_image,
            "task_definition": default_family(config),
            "capacity_providers": {"FARGATE_SPOT": config.spot_weight, "FARGATE": config.on_demand_weight},
        },
        "tables": {name: value for name, value in tables.items() if value != getattr(default.tables, name)},
        "storage": {
            "artifact_bucket": facts.storage.artifacts.bucket_name,
            "trace_bucket": facts.storage.traces.bucket_name,
        },
        "launching": {"max_concurrent_tasks": config.max_concurrent_tasks},
        "events": {
            "queue_url": facts.messaging.task_state.queue_url,
            "dead_letter_queue_url": facts.messaging.dead_letters.queue_url,
        },
        "orphans": {
            "dry_run": config.orphans_dry_run,
            "alert_publisher": True,
            "alert_topic_arn": topic,
            "state_tables": [
                {
                    **each.model_dump(exclude_none=True),
                    **({"table": table} if (table := states[each.name]) is not None else {}),
                }
                for each in default.orphans.state_tables
            ],
        },
        "telemetry": {"cloudwatch_metrics": True},
        **({"api": {"token": f"secret:{config.api_token_secret}"}} if config.api_token_secret is not None else {}),
    }


def merged(values: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with `over` laid upon them, table by table."""
    result = dict(values)
    for name, value in over.items():
        below = result.get(name)
        result[name] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result


def toml(values: Mapping[str, Any], at: str = "") -> str:
    """A TOML document: plain values first, then tables, then lists of tables. JSON's texts and numbers are TOML's too."""
    plain = {name: value for name, value in values.items() if not _is_table(value) and not _is_tables(value)}
    lines = [f"{name} = {_inline(value)}\n" for name, value in plain.items()]
    for name, value in values.items():
        path = f"{at}.{name}" if at else name
        if _is_table(value) and value:
            lines.append(f"\n[{path}]\n{toml(value, path)}")
        elif _is_tables(value):
            lines += [f"\n[[{path}]]\n{toml(each, path)}" for each in value]
    return "".join(lines)


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_tables(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(each, Mapping) for each in value)


def _inline(value: object) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_inline(each) for each in value) + "]"
    return json.dumps(value)


def _parameter(stack: Stack, config: StackConfig, name: str, document: str, text: str) -> ssm.StringParameter:
    return ssm.StringParameter(
        stack,
        name,
        parameter_name=parameter_name(config, document),
        string_value=text,
        description=f"{document} of the dagy_control installation {config.installation}",
        tier=ssm.ParameterTier.STANDARD,
    )
