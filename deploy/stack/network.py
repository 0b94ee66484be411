"""The VPC, new or existing; who may talk to whom in it; and the ways to AWS's services that do not leave it."""

from dataclasses import dataclass

from aws_cdk import Stack
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from deploy.stack.config import StackConfig

HTTPS = ec2.Port.tcp(443)
METRICS_PORT = 9464
"""`api.port`'s default."""

INTERFACES = {
    "EcrApi": ec2.InterfaceVpcEndpointAwsService.ECR,
    "EcrDocker": ec2.InterfaceVpcEndpointAwsService.ECR_DOCKER,
    "Ecs": ec2.InterfaceVpcEndpointAwsService.ECS,
    "Sqs": ec2.InterfaceVpcEndpointAwsService.SQS,
    "Sns": ec2.InterfaceVpcEndpointAwsService.SNS,
    "Ssm": ec2.InterfaceVpcEndpointAwsService.SSM,
    "SecretsManager": ec2.InterfaceVpcEndpointAwsService.SECRETS_MANAGER,
    "Logs": ec2.InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS,
}
"""What daemon, workers and Fargate itself call, beside S3 and DynamoDB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Where tasks run. `subnets`: private ones, of the daemon and the workers alike."""

    vpc: ec2.IVpc
    subnets: ec2.SubnetSelection
    subnet_ids: tuple[str, ...]
    daemon_group: ec2.SecurityGroup
    worker_group: ec2.SecurityGroup


def make_network(stack: Stack, config: StackConfig) -> Network:
    """The network of an installation."""
    vpc = _new_vpc(stack, config) if config.vpc_id is None else _existing_vpc(stack, config)
    subnets = ec2.SubnetSelection(subnets=vpc.private_subnets or vpc.isolated_subnets)
    worker_group = _group(stack, vpc, "WorkerGroup", "Dagy workers: HTTPS out, nothing in")
    daemon_group = _group(stack, vpc, "DaemonGroup", "dagy-control: HTTPS out, its metrics in from Prometheus only")
    if config.prometheus_security_group_id is not None:
        prometheus = ec2.SecurityGroup.from_security_group_id(
            stack, "Prometheus", config.prometheus_security_group_id, mutable=False
        )
        daemon_group.add_ingress_rule(prometheus, ec2.Port.tcp(METRICS_PORT), "metrics and health, to Prometheus")
    _add_endpoints(stack, config, vpc, subnets, (daemon_group, worker_group))
    ids = tuple(subnet.subnet_id for subnet in vpc.private_subnets or vpc.isolated_subnets)
    return Network(vpc=vpc, subnets=subnets, subnet_ids=ids, daemon_group=daemon_group, worker_group=worker_group)


def _new_vpc(stack: Stack, config: StackConfig) -> ec2.Vpc:
    """Two zones. Without a NAT gateway there is no public subnet, and nothing in the VPC reaches the internet."""
    private = ec2.SubnetType.PRIVATE_WITH_EGRESS if config.nat_gateways else ec2.SubnetType.PRIVATE_ISOLATED
    tiers = [ec2.SubnetConfiguration(name="private", subnet_type=private)]
    if config.nat_gateways:
        tiers.append(
            ec2.SubnetConfiguration(
                name="public", subnet_type=ec2.SubnetType.PUBLIC, cidr_mask=28, map_public_ip_on_launch=False
            )
        )
    return ec2.Vpc(
        stack,
        "Vpc",
        ip_addresses=ec2.IpAddresses.cidr(config.vpc_cidr),
        max_azs=2,
        nat_gateways=config.nat_gateways,
        subnet_configuration=tiers,
        restrict_default_security_group=False,  # needs a Lambda function of its own; nothing uses that group
    )


def _existing_vpc(stack: Stack, config: StackConfig) -> ec2.IVpc:
    """From what the configuration says of it: nothing is looked up, so that the template is the same on every machine."""
    return ec2.Vpc.from_vpc_attributes(
        stack,
        "Vpc",
        vpc_id=config.vpc_id or "",
        availability_zones=list(config.availability_zones),
        private_subnet_ids=list(config.private_subnet_ids),
        private_subnet_route_table_ids=list(config.private_route_table_ids) or None,
    )


def _group(stack: Construct, vpc: ec2.IVpc, name: str, description: str) -> ec2.SecurityGroup:
    group = ec2.SecurityGroup(stack, name, vpc=vpc, description=description, allow_all_outbound=False)
    group.add_egress_rule(ec2.Peer.any_ipv4(), HTTPS, "AWS's services, and what flows call")
    return group


def _add_endpoints(
    stack: Stack,
    config: StackConfig,
    vpc: ec2.IVpc,
    subnets: ec2.SubnetSelection,
    callers: tuple[ec2.SecurityGroup, ...],
) -> None:
    """S3 and DynamoDB by gateways, which cost nothing; the others by interfaces, which do, when asked for."""
    if config.vpc_id is None or config.private_route_table_ids:
        for name, service in (
            ("S3", ec2.GatewayVpcEndpointAwsService.S3),
            ("DynamoDb", ec2.GatewayVpcEndpointAwsService.DYNAMODB),
        ):
            vpc.add_gateway_endpoint(f"{name}Endpoint", service=service, subnets=[subnets])
    if not config.interface_endpoints:
        return
    group = ec2.SecurityGroup(
        stack,
        "EndpointGroup",
        vpc=vpc,
        description="Endpoints of AWS services: HTTPS in from the daemon and the workers",
        allow_all_outbound=False,
    )
    for peer in callers:
        group.add_ingress_rule(peer, HTTPS, "from the daemon and the workers")
    for name, interface in INTERFACES.items():
        vpc.add_interface_endpoint(
            f"{name}Endpoint", service=interface, subnets=subnets, security_groups=[group], open=False
        )
