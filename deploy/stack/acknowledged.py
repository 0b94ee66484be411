"""What cdk-nag says and we leave as it is, each with its reason. Anything else that it says fails the synthesis."""

from collections.abc import Iterator, Mapping
from typing import cast

from aws_cdk import Acknowledgment, CfnElement, Stack, Validations
from constructs import Construct

from dagy_control.model.tables import TABLES
from deploy.stack.config import StackConfig
from deploy.stack.iam import CODE, PREFIXES, PRIVATE_ECR
from deploy.stack.tables import construct_name
from deploy.stack.worker import PROFILES, family

PACK = "AwsSolutions::AwsSolutions-"
ARN = "arn:<AWS::Partition>:{service}:<AWS::Region>:<AWS::AccountId>:{rest}"

NO_CONTAINER_INSTANCE = "ecs:ListTasks knows no resource that Fargate has: its condition on the cluster confines it"
TOKEN = "ecr:GetAuthorizationToken knows no resource; what may be pulled is named beside it"  # noqa: S105 - a sentence
TASKS = "a task has no name before it runs; a condition on the cluster confines this besides"
REVISIONS = "every deployment makes a revision of the family; a condition on the cluster confines this besides"
OBJECTS = "objects are named after runs and flows; the prefix confines it"
PARAMETERS = "what the configuration refers to stands below the installation's own path"


def acknowledge(installation: Stack, config: StackConfig) -> None:
    """Every acknowledgement. One that nothing needs any more is harmless, and one that is missing fails the synthesis."""
    for name in ("ArtifactBucket", "TraceBucket"):
        _say(
            _child(installation, name),
            "S1",
            "who reads and writes is told by CloudTrail's data events, where that is wanted; logs need a third bucket",
        )
    _say(
        _child(installation, "Cluster"),
        "ECS4",
        "billed for each task, while runs are short and many; the daemon measures each run itself",
    )
    _say(
        _child(installation, "DaemonDefinition"),
        "ECS2",
        "one variable, DAGY_CONFIG: where the configuration stands, no secret",
    )
    if config.vpc_id is None:
        _say(
            _child(installation, "Vpc"),
            "VPC7",
            "billed by the gigabyte, and of use to who reads them: the account's own choice",
        )
    if not config.point_in_time_recovery:
        for spec in TABLES:
            _say(
                _child(installation, construct_name(spec)),
                "DDB3",
                "the installation's own configuration switches backups off",
            )
    for name, wildcards in _wildcards(installation, config):
        for pattern, reason in wildcards.items():
            _say(_child(installation, name), f"IAM5[Resource::{pattern}]", reason)


def _wildcards(stack: Stack, config: StackConfig) -> Iterator[tuple[str, Mapping[str, str]]]:
    """By role: each resource with a `*` that it names."""
    artifacts, traces = _arn_of(stack, "ArtifactBucket"), _arn_of(stack, "TraceBucket")
    tasks = {ARN.format(service="ecs", rest=f"task/{config.installation}/*"): TASKS, "*": NO_CONTAINER_INSTANCE}
    parameters = {ARN.format(service="ssm", rest=f"parameter/{config.installation}/*"): PARAMETERS}
    results = {f"{artifacts}/{PREFIXES.result_prefix}*": OBJECTS}
    kept_traces = {f"{traces}/{PREFIXES.trace_prefix}*": OBJECTS}
    code = {f"{artifacts}/{prefix}*": OBJECTS for prefix in CODE}
    families = {
        ARN.format(service="ecs", rest=f"task-definition/{family(config, name)}:*"): REVISIONS for name in PROFILES
    }
    yield "DaemonRole", {**tasks, **parameters, **results, **families}
    yield "WorkerRole", {**code, **results, **kept_traces}
    yield "OperatorPolicy", {**tasks, **parameters, **code, **results, **kept_traces}
    for name, image in (("DaemonExecutionRole", config.daemon_image), ("WorkerExecutionRole", config.worker_image)):
        if PRIVATE_ECR.match(image):
            yield name, {"*": TOKEN}


def _child(stack: Stack, name: str) -> Construct:
    return cast("Construct", stack.node.find_child(name))


def _arn_of(stack: Stack, name: str) -> str:
    """As cdk-nag writes an attribute of a resource: `<ArtifactBucket7410C9EF.Arn>`."""
    resource = cast("CfnElement", _child(stack, name).node.default_child)
    return f"<{stack.get_logical_id(resource)}.Arn>"


def _say(construct: Construct, rule: str, reason: str) -> None:
    Validations.of(construct).acknowledge(Acknowledgment(id=PACK + rule, reason=reason))
