"""What a person needs after `cdk deploy`. Texts of more than 1,024 characters cannot be outputs: those are parameters."""

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_iam as iam

from deploy.stack.config import StackConfig
from deploy.stack.daemon import Daemon
from deploy.stack.parameters import CONFIG, ENVIRONMENT, Facts, parameter_name


def make_outputs(stack: Stack, config: StackConfig, facts: Facts, daemon: Daemon, operator: iam.ManagedPolicy) -> None:
    """Names and ARNs, and the two commands that write the ready files."""
    outputs = {
        "ConfigToml": ("Writes config.toml, ready for use.", _written(stack, config, CONFIG)),
        "DeploymentEnv": ("Writes deployment.env: `set -a; . ./deployment.env`.", _written(stack, config, ENVIRONMENT)),
        "ClusterArn": ("The cluster.", facts.cluster_arn),
        "ServiceName": ("The daemon's service.", daemon.service.service_name),
        "DaemonAddress": (
            "Where Prometheus finds every daemon, port 9464.",
            f"{config.installation}-control.{config.discovery_namespace}",
        ),
        "OperatorPolicyArn": ("To attach to the role of people who use dagy-control.", operator.managed_policy_arn),
        "ArtifactBucketName": ("Artifacts, packages, fallback results.", facts.storage.artifacts.bucket_name),
        "TraceBucketName": ("Exception traces.", facts.storage.traces.bucket_name),
        "AlertTopicArn": ("Alarms and orphan alerts.", facts.messaging.topic.topic_arn),
    }
    for name, (about, value) in outputs.items():
        CfnOutput(stack, name, description=about, value=value)


def _written(stack: Stack, config: StackConfig, document: str) -> str:
    return (
        f"aws ssm get-parameter --region {stack.region} --name {parameter_name(config, document)} "
        f"--query Parameter.Value --output text > {document}"
    )
