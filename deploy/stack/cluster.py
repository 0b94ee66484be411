"""The ECS cluster with Fargate and Fargate Spot, and the log groups."""

from dataclasses import dataclass
from typing import cast

from aws_cdk import RemovalPolicy, Size, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_logs as logs

from deploy.stack.config import StackConfig

LOG_BUFFER_MIB = 10
"""Lines that wait while CloudWatch Logs does not answer; what comes then is lost. Of the container's memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogGroups:
    """Where containers log."""

    worker: logs.LogGroup
    daemon: logs.LogGroup


def make_cluster(stack: Stack, config: StackConfig, vpc: ec2.IVpc) -> ecs.Cluster:
    """Both capacity providers, without which RunTask would be refused; the strategy is for tasks that name none."""
    cluster = ecs.Cluster(
        stack,
        "Cluster",
        cluster_name=config.installation,
        vpc=vpc,
        enable_fargate_capacity_providers=True,
        container_insights_v2=ecs.ContainerInsights.DISABLED,
    )
    cluster.add_default_capacity_provider_strategy(
        [
            ecs.CapacityProviderStrategy(capacity_provider="FARGATE", weight=config.on_demand_weight),
            ecs.CapacityProviderStrategy(capacity_provider="FARGATE_SPOT", weight=config.spot_weight),
        ]
    )
    return cluster


def make_log_groups(stack: Stack, config: StackConfig) -> LogGroups:
    """`/ecs/dagy-worker` and `/ecs/dagy-control`, for the installation `dagy`."""
    return LogGroups(worker=_group(stack, config, "worker"), daemon=_group(stack, config, "control"))


def log_driver(group: logs.ILogGroup, stream_prefix: str) -> ecs.LogDriver:
    """The container's output into the group. Without blocking: a program that cannot write its log would stand still."""
    return ecs.LogDrivers.aws_logs(
        stream_prefix=stream_prefix,
        log_group=group,
        mode=ecs.AwsLogDriverMode.NON_BLOCKING,
        max_buffer_size=Size.mebibytes(LOG_BUFFER_MIB),
    )


def _group(stack: Stack, config: StackConfig, of: str) -> logs.LogGroup:
    group = logs.LogGroup(
        stack,
        f"{of.capitalize()}Logs",
        log_group_name=f"/ecs/{config.installation}-{of}",
        removal_policy=RemovalPolicy.RETAIN if config.deletion_protection else RemovalPolicy.DESTROY,
    )
    resource = cast("logs.CfnLogGroup", group.node.default_child)
    resource.retention_in_days = config.log_retention_days  # the construct itself takes names for numbers
    return group
