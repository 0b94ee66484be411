"""The daemon as an ECS service: replaced by rolling, rolled back when the new one does not come up, found by Prometheus through DNS."""

from dataclasses import dataclass

from aws_cdk import Duration, Stack
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_logs as logs
from aws_cdk import aws_servicediscovery as servicediscovery

from deploy.stack.cluster import log_driver
from deploy.stack.config import StackConfig
from deploy.stack.iam import Roles
from deploy.stack.network import METRICS_PORT, Network
from deploy.stack.parameters import CONFIG, Parameters, parameter_name
from deploy.stack.worker import runtime_platform

CONTAINER = "dagy-control"
RECORD_TTL_S = 15
"""A replica that has gone is scraped no longer than this."""

HEALTH_COMMAND = ["CMD", "python3", "-m", "dagy_control.entrypoints.healthcheck"]
"""As the image's own HEALTHCHECK, which ECS does not read (ECS API Reference, "HealthCheck")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """The service."""

    service: ecs.FargateService
    definition: ecs.FargateTaskDefinition


def make_daemon(
    stack: Stack,
    config: StackConfig,
    *,
    cluster: ecs.Cluster,
    network: Network,
    roles: Roles,
    log_group: logs.ILogGroup,
    parameters: Parameters,
) -> Daemon:
    """The service and its task definition."""
    definition = ecs.FargateTaskDefinition(
        stack,
        "DaemonDefinition",
        family=f"{config.installation}-control",
        cpu=config.daemon_cpu,
        memory_limit_mib=config.daemon_memory,
        task_role=roles.daemon.without_policy_updates(),
        execution_role=roles.daemon_execution.without_policy_updates(),
        runtime_platform=runtime_platform(config.daemon_architecture),
    )
    definition.add_container(
        "Daemon",
        container_name=CONTAINER,
        image=ecs.ContainerImage.from_registry(config.daemon_image),
        essential=True,
        environment={"DAGY_CONFIG": f"ssm:{parameter_name(config, CONFIG)}"},
        port_mappings=[ecs.PortMapping(container_port=METRICS_PORT, name="metrics")],
        readonly_root_filesystem=True,
        stop_timeout=Duration.seconds(config.daemon_stop_timeout_s),
        health_check=ecs.HealthCheck(
            command=HEALTH_COMMAND,
            interval=Duration.seconds(30),
            timeout=Duration.seconds(5),
            retries=3,
            start_period=Duration.seconds(60),
        ),
        logging=log_driver(log_group, "daemon"),
    )
    namespace = servicediscovery.PrivateDnsNamespace(
        stack, "Namespace", name=config.discovery_namespace, vpc=network.vpc
    )
    service = ecs.FargateService(
        stack,
        "DaemonService",
        service_name=f"{config.installation}-control",
        cluster=cluster,
        task_definition=definition,
        desired_count=config.daemon_replicas,
        # A new one first, then the old one ends: two at the same moment are safe, none for a while is idle.
        min_healthy_percent=100,
        max_healthy_percent=200,
        circuit_breaker=ecs.DeploymentCircuitBreaker(enable=True, rollback=True),
        # On demand: a control plane that Spot takes away cannot bring back what Spot took away.
        capacity_provider_strategies=[ecs.CapacityProviderStrategy(capacity_provider="FARGATE", weight=1)],
        assign_public_ip=False,
        vpc_subnets=network.subnets,
        security_groups=[network.daemon_group],
        enable_execute_command=False,
        propagate_tags=ecs.PropagatedTagSource.SERVICE,
        cloud_map_options=ecs.CloudMapOptions(
            cloud_map_namespace=namespace,
            name=f"{config.installation}-control",
            dns_record_type=servicediscovery.DnsRecordType.A,
            dns_ttl=Duration.seconds(RECORD_TTL_S),
        ),
    )
    service.node.add_dependency(parameters.config)  # the daemon reads it at its start
    return Daemon(service=service, definition=definition)
