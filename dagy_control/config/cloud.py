"""The sections that say where things are: AWS itself, the ECS cluster, the tables and the buckets."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

from pydantic import AfterValidator, Field, PlainSerializer, model_validator
from pydantic_core import PydanticCustomError

from dagy_control.config.fields import RESTART, Count, DynamoDBTable, Flag, Number, Section
from dagy_control.model.resources import CapacityProvider, validate_size

Weight = Annotated[Count, Field(ge=0, le=1000)]
ProviderName = Annotated[str, Field(pattern=rf"^({'|'.join(CapacityProvider)})$")]
ProfileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
RoleArn = Annotated[str, Field(pattern=r"^arn:[a-z-]+:iam::[0-9]+:role/.+$")]
Subnet = Annotated[str, Field(pattern=r"^subnet-[A-Za-z0-9-]+$")]
SecurityGroup = Annotated[str, Field(pattern=r"^sg-[A-Za-z0-9-]+$")]
Prefix = Annotated[str, Field(pattern=r"^[^/].*/$")]
Bucket = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]


class AwsSettings(Section):
    """How to talk to AWS. Endpoints come from `AWS_ENDPOINT_URL` and `AWS_ENDPOINT_URL_<SERVICE>`, credentials from AWS's own chain."""

    region: str | None = Field(None, min_length=1, examples=["us-east-1"], json_schema_extra=RESTART)
    """AWS region of the cluster, tables and buckets. Unset: AWS_REGION, then AWS_DEFAULT_REGION."""
    connect_timeout_s: Number = Field(3, gt=0, le=60, json_schema_extra=RESTART)
    """Seconds to wait for a connection. Short, because a retry to another address helps more than waiting."""
    read_timeout_s: Number = Field(20, gt=0, le=300, json_schema_extra=RESTART)
    """Seconds to wait for a reply. Must be above events.wait_s and below launching.reply_timeout_s, which build on it."""
    max_connections: Count = Field(50, ge=1, le=1000, json_schema_extra=RESTART)
    """Open connections per AWS service. At least launching.max_in_flight, or launches wait for a connection."""
    account_share: Number = Field(1.0, gt=0, le=1)
    """This process's share of the account's API rates, less what other programs need.

    With leases all replicas may have 1: one of them launches at a time. Without: 1 divided by their number."""
    rate_scale: Number = Field(1.0, gt=0, le=100)
    """Multiplies the API rates that AWS documents. Raise it after AWS has raised the account's quotas, by the same factor."""


class Profile(Section):
    """A named task size."""

    cpu: Count
    """CPU units, 1024 a vCPU. One of Fargate's sizes."""
    memory: Count
    """Memory in MiB. Fargate allows certain values for each CPU size."""

    @model_validator(mode="after")
    def _is_a_fargate_size(self) -> "Profile":
        problem = validate_size(self.cpu, self.memory)
        if problem is not None:
            raise PydanticCustomError("fargate_size", "{problem}", {"problem": problem})
        return self


def _some_weight(weights: Mapping[str, int]) -> Mapping[str, int]:
    if sum(weights.values()) <= 0:
        raise PydanticCustomError("no_weight", "the weights must sum to more than 0, or no task can be placed")
    return MappingProxyType(dict(weights))


class EcsSettings(Section):
    """The cluster and how worker tasks are started in it."""

    cluster_arn: str | None = Field(
        None,
        pattern=r"^(arn:[a-z-]+:ecs:[a-z0-9-]*:[0-9]+:cluster/)?[A-Za-z0-9_-]{1,255}$",
        examples=["dagy"],
        json_schema_extra=RESTART,
    )
    """Name or ARN of the ECS cluster. Unset: the executor 'ecs' is not available, and launching says so."""
    execution_role_arn: RoleArn | None = Field(None, examples=["arn:aws:iam::123456789012:role/dagy-execution"])
    """ARN of the role by which ECS pulls the image and writes logs."""
    task_role_arn: RoleArn | None = Field(None, examples=["arn:aws:iam::123456789012:role/dagy-task"])
    """ARN of the role that the worker has. User code can read its credentials: keep it minimal."""
    subnets: tuple[Subnet, ...] = Field((), max_length=16)
    """Subnet ids for the tasks' network interfaces, 16 at most. They need a way to S3, DynamoDB and CloudWatch Logs."""
    security_groups: tuple[SecurityGroup, ...] = Field((), max_length=5)
    """Security group ids of the tasks, 5 at most. They must allow outbound HTTPS."""
    assign_public_ip: Flag = False
    """Whether tasks get a public address: needed in a public subnet without a NAT gateway, where images could not be pulled otherwise."""
    worker_image: str | None = Field(
        None, min_length=1, examples=["123456789012.dkr.ecr.us-east-1.amazonaws.com/dagy-worker:v1.0.0"]
    )
    """The worker's image. Accepted because runbooks set it, and without effect: only the task definition names an image, not RunTask."""
    task_definition: str = Field("dagy-worker", pattern=r"^[A-Za-z0-9_-]{1,255}(:[1-9][0-9]*)?$")
    """Task definition of the worker: a family (its latest active revision) or family:revision."""
    container_name: str = Field("dagy-worker", pattern=r"^[A-Za-z0-9_-]{1,255}$")
    """The worker's container in that task definition: sidecars are told apart by it."""
    default_profile: str = "medium"
    """Name of the profile for a run that asks for no size. Must be one of ecs.profiles."""
    capacity_providers: Annotated[
        Mapping[ProviderName, Weight],
        AfterValidator(_some_weight),
        PlainSerializer(dict),
    ] = Field({"FARGATE_SPOT": 70, "FARGATE": 30})
    """Capacity providers and their weights, 0 to 1000. A run's attempt picks one by its ids, so that shares hold over all runs.

    Naming any replaces all."""
    profiles: Annotated[
        Mapping[ProfileName, Profile],
        AfterValidator(lambda profiles: MappingProxyType(dict(profiles))),
        PlainSerializer(lambda profiles: {name: profile.model_dump() for name, profile in profiles.items()}),
    ] = Field(
        {
            "small": Profile(cpu=256, memory=512),
            "medium": Profile(cpu=1024, memory=2048),
            "large": Profile(cpu=2048, memory=4096),
            "xlarge": Profile(cpu=4096, memory=12288),
        },
        min_length=1,
    )
    """Workload profiles by name: what a run's workload_profile means. Naming any replaces all."""

    def missing_for_launch(self) -> tuple[str, ...]:
        """The environment variables of the settings that the executor 'ecs' needs and that are unset; empty when it is available."""
        needed = {
            "DAGY_ECS_CLUSTER_ARN": self.cluster_arn,
            "DAGY_ECS_EXECUTION_ROLE_ARN": self.execution_role_arn,
            "DAGY_ECS_TASK_ROLE_ARN": self.task_role_arn,
            "DAGY_ECS_SUBNETS": self.subnets,
            "DAGY_ECS_SECURITY_GROUPS": self.security_groups,
        }
        return tuple(name for name, value in needed.items() if not value)


class TablesSettings(Section):
    """Names of the DynamoDB tables. No two may be the same."""

    runs: DynamoDBTable = Field("DAGY_RUNS", json_schema_extra=RESTART)
    """Table of the runs."""
    task_runs: DynamoDBTable = Field("DAGY_TASK_RUNS", json_schema_extra=RESTART)
    """Table of the tasks of each run."""
    flows: DynamoDBTable = Field("DAGY_FLOWS", json_schema_extra=RESTART)
    """Table of the registered flows and their artifacts."""
    deployments: DynamoDBTable = Field("DAGY_DEPLOYMENTS", json_schema_extra=RESTART)
    """Table of the deployments."""
    dep_packages: DynamoDBTable = Field("DAGY_DEP_PACKAGES", json_schema_extra=RESTART)
    """Table of the dependency packages."""
    leases: DynamoDBTable = Field("DAGY_LEASES", json_schema_extra=RESTART)
    """Table of the leases that divide the loops among replicas."""
    orphans: DynamoDBTable = Field("DAGY_ORPHANS", json_schema_extra=RESTART)
    """Table of the suspicions of the orphan scanner."""


class StorageSettings(Section):
    """The S3 bucket and its prefixes."""

    artifact_bucket: Bucket = Field("dagy-artifacts", json_schema_extra=RESTART)
    """Bucket of flow artifacts, dependency packages and fallback results."""
    trace_bucket: Bucket | None = Field(None, examples=["dagy-traces"], json_schema_extra=RESTART)
    """Bucket of the exception traces, so that they may expire sooner. Unset: artifact_bucket."""
    result_prefix: Prefix = Field("results/", json_schema_extra=RESTART)
    """Key prefix of the results that a worker leaves when it cannot write the table. Ends with a slash."""
    artifact_prefix: Prefix = Field("artifacts/", json_schema_extra=RESTART)
    """Key prefix of the flow artifacts. Ends with a slash."""
    dep_package_prefix: Prefix = Field("dep-packages/", json_schema_extra=RESTART)
    """Key prefix of the dependency packages. Ends with a slash."""
    trace_prefix: Prefix = Field("traces/", json_schema_extra=RESTART)
    """Key prefix of the exception traces of failed tasks. Ends with a slash."""
