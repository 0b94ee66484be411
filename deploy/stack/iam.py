"""Who may do what: the daemon, the worker, ECS on behalf of each, and people. Least privilege, with conditions.

tests/deploy records every call of a real run and holds it against these statements, both ways: what is called is allowed, what is
dangerous is not. Which resources and condition keys an action has: AWS Service Authorization Reference.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs

from dagy_control.config.cloud import StorageSettings
from dagy_control.model.tables import ACTIVE_INDEX, TABLES
from deploy.stack.config import StackConfig
from deploy.stack.messaging import Messaging
from deploy.stack.parameters import parameter_arn
from deploy.stack.storage import Storage
from deploy.stack.worker import PROFILES, family

ECS_TASKS = "ecs-tasks.amazonaws.com"
PRIVATE_ECR = re.compile(
    r"^(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/(?P<name>[^:@]+)"
)
PREFIXES = StorageSettings()
CODE = (PREFIXES.artifact_prefix, PREFIXES.dep_package_prefix)
COLON = ArnFormat.COLON_RESOURCE_NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What permissions are about."""

    cluster: ecs.ICluster
    tables: Mapping[str, dynamodb.Table]
    storage: Storage
    messaging: Messaging
    key: kms.IKey | None
    worker_logs: logs.ILogGroup
    daemon_logs: logs.ILogGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """The roles of containers, and those by which ECS pulls their images and writes their logs."""

    daemon: iam.Role
    daemon_execution: iam.Role
    worker: iam.Role
    worker_execution: iam.Role


def make_roles(stack: Stack, config: StackConfig, resources: Resources) -> Roles:
    """Every role, and the policy for people."""
    permissions = Permissions(stack, config, resources)
    worker_execution = _execution_role(stack, "WorkerExecutionRole", config.worker_image, resources.worker_logs)
    worker = _role(
        stack, "WorkerRole", "What a flow's worker may; user code can read its credentials.", permissions.worker()
    )
    return Roles(
        worker=worker,
        worker_execution=worker_execution,
        daemon=_role(stack, "DaemonRole", "What dagy-control may.", permissions.daemon(worker, worker_execution)),
        daemon_execution=_execution_role(stack, "DaemonExecutionRole", config.daemon_image, resources.daemon_logs),
    )


def make_operator_policy(stack: Stack, config: StackConfig, resources: Resources) -> iam.ManagedPolicy:
    """For people and programs that register flows, launch and cancel runs, and look: attach it to their role."""
    return iam.ManagedPolicy(
        stack,
        "OperatorPolicy",
        description=f"dagy-control's commands on the installation {config.installation}",
        statements=Permissions(stack, config, resources).operator(),
    )


class Permissions:
    """The statements, by who has them."""

    def __init__(self, stack: Stack, config: StackConfig, resources: Resources) -> None:
        self._stack = stack
        self._config = config
        self._resources = resources
        self._in_cluster = {"ArnEquals": {"ecs:cluster": resources.cluster.cluster_arn}}

    def daemon(self, worker: iam.IRole, worker_execution: iam.IRole) -> list[iam.PolicyStatement]:
        """Launch, watch and stop workers; keep the records; nothing that makes or deletes what the stack made."""
        resources = self._resources
        return [
            *self._tasks(),
            _allow(
                "RunWorkers",
                ["ecs:RunTask"],
                [self._arn("ecs", "task-definition", f"{family(self._config, name)}:*") for name in PROFILES],
                self._in_cluster,
            ),
            _allow(
                "TagWorkersAtTheirStart",
                ["ecs:TagResource"],
                [self._tasks_arn()],
                {"StringEquals": {"ecs:CreateAction": "RunTask"}},
            ),
            _allow(
                "HandWorkersTheirRoles",
                ["iam:PassRole"],
                [worker.role_arn, worker_execution.role_arn],
                {"StringEquals": {"iam:PassedToService": ECS_TASKS}},
            ),
            _allow("Runs", ["dynamodb:GetItem", "dynamodb:UpdateItem"], self._tables("runs")),
            _allow("ActiveRuns", ["dynamodb:Query"], self._indexes("runs", ACTIVE_INDEX.name)),
            _allow("Leases", ["dynamodb:GetItem", "dynamodb:PutItem"], self._tables("leases")),
            _allow("Suspicions", ["dynamodb:BatchGetItem", "dynamodb:BatchWriteItem"], self._tables("orphans")),
            _allow("StatesOfTasks", ["dynamodb:BatchGetItem"], [*self._tables("runs"), *self._state_tables()]),
            self._objects(
                "ResultsRead", ["s3:GetObject"], resources.storage.artifacts.bucket_arn, PREFIXES.result_prefix
            ),
            self._absence(resources.storage.artifacts.bucket_arn),
            _allow(
                "Events",
                ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes"],
                [resources.messaging.task_state.queue_arn],
            ),
            _allow(
                "DeadLetters",
                ["sqs:SendMessage", "sqs:GetQueueAttributes"],
                [resources.messaging.dead_letters.queue_arn],
            ),
            _allow("Alerts", ["sns:Publish"], [resources.messaging.topic.topic_arn]),
            _allow("Configuration", ["ssm:GetParameter"], [parameter_arn(self._stack, self._config, "*")]),
            *self._secrets(),
            *self._encryption(),
        ]

    def worker(self) -> list[iam.PolicyStatement]:
        """Read one's run and code, write one's rows and results. A role cannot tell runs apart: see docs/deploy.md, "Who may what"."""
        artifacts, traces = self._resources.storage.artifacts, self._resources.storage.traces
        return [
            _allow("OwnRun", ["dynamodb:GetItem", "dynamodb:UpdateItem"], self._tables("runs")),
            _allow("OwnTasks", ["dynamodb:BatchWriteItem"], self._tables("task_runs")),
            _allow("OwnCode", ["dynamodb:GetItem"], self._tables("flows", "dep_packages")),
            self._objects("CodeRead", ["s3:GetObject"], artifacts.bucket_arn, *CODE),
            self._objects("ResultsWritten", ["s3:PutObject"], artifacts.bucket_arn, PREFIXES.result_prefix),
            self._objects("TracesWritten", ["s3:PutObject"], traces.bucket_arn, PREFIXES.trace_prefix),
            *self._encryption(),
        ]

    def operator(self) -> list[iam.PolicyStatement]:
        """What the commands do (flows, deployments, packages, runs, reconcile, events, orphans). No RunTask: the daemon launches."""
        artifacts, traces = self._resources.storage.artifacts, self._resources.storage.traces
        registered = self._tables("flows", "deployments", "dep_packages")
        return [
            *self._tasks(),
            _allow(
                "Records",
                ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:BatchGetItem"],
                self._tables("runs"),
            ),
            _allow(
                "Lists",
                ["dynamodb:Query"],
                [*self._indexes("runs"), *self._indexes("flows"), *self._indexes("deployments")],
            ),
            _allow("FlowVersions", ["dynamodb:Query"], self._tables("flows", "task_runs")),
            _allow("Registered", ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"], registered),
            _allow("DeploymentsRemoved", ["dynamodb:DeleteItem"], self._tables("deployments")),
            _allow("PackagesListed", ["dynamodb:Scan"], self._tables("dep_packages")),
            _allow("Suspicions", ["dynamodb:BatchGetItem", "dynamodb:BatchWriteItem"], self._tables("orphans")),
            *([_allow("StatesOfTasks", ["dynamodb:BatchGetItem"], states)] if (states := self._state_tables()) else []),
            self._objects("Code", ["s3:GetObject", "s3:PutObject"], artifacts.bucket_arn, *CODE),
            self._objects("ResultsRead", ["s3:GetObject"], artifacts.bucket_arn, PREFIXES.result_prefix),
            self._objects("TracesRead", ["s3:GetObject"], traces.bucket_arn, PREFIXES.trace_prefix),
            self._absence(artifacts.bucket_arn, traces.bucket_arn),
            _allow(
                "DeadLettersSeenAndReplayed",
                ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes"],
                [self._resources.messaging.dead_letters.queue_arn],
            ),
            _allow("EventsReplayed", ["sqs:SendMessage"], [self._resources.messaging.task_state.queue_arn]),
            _allow("Alerts", ["sns:Publish"], [self._resources.messaging.topic.topic_arn]),
            _allow("Configuration", ["ssm:GetParameter"], [parameter_arn(self._stack, self._config, "*")]),
            *self._secrets(),
            *self._encryption(),
        ]

    def _tasks(self) -> list[iam.PolicyStatement]:
        return [
            _allow("WatchAndStopTasks", ["ecs:DescribeTasks", "ecs:StopTask"], [self._tasks_arn()], self._in_cluster),
            # On Fargate there is no container instance, the only resource that ListTasks knows: the condition is what confines it.
            _allow("ListTasks", ["ecs:ListTasks"], ["*"], self._in_cluster),
            _allow("ClusterReady", ["ecs:DescribeClusters"], [self._resources.cluster.cluster_arn]),
        ]

    def _secrets(self) -> list[iam.PolicyStatement]:
        """Secrets Manager adds six characters of its own to a secret's name."""
        if self._config.api_token_secret is None:
            return []
        arn = self._stack.format_arn(
            service="secretsmanager",
            resource="secret",
            resource_name=f"{self._config.api_token_secret}-??????",
            arn_format=COLON,
        )
        return [_allow("ApiToken", ["secretsmanager:GetSecretValue"], [arn])]

    def _encryption(self) -> list[iam.PolicyStatement]:
        """The key through DynamoDB and S3 only, never by itself."""
        if self._resources.key is None:
            return []
        through = [f"{service}.{self._stack.region}.amazonaws.com" for service in ("dynamodb", "s3")]
        actions = [
            "kms:Encrypt",
            "kms:Decrypt",
            "kms:ReEncryptFrom",
            "kms:ReEncryptTo",
            "kms:GenerateDataKey",
            "kms:DescribeKey",
        ]
        return [_allow("Key", actions, [self._resources.key.key_arn], {"StringEquals": {"kms:ViaService": through}})]

    def _objects(self, sid: str, actions: list[str], bucket_arn: str, *prefixes: str) -> iam.PolicyStatement:
        """Objects below prefixes."""
        return _allow(sid, actions, [f"{bucket_arn}/{prefix}*" for prefix in prefixes])

    def _absence(self, *bucket_arns: str) -> iam.PolicyStatement:
        """To whom may not list S3 answers 403, not 404, for an object that is not there (GetObject, API Reference).

        The daemon would take a result that was never written for one that cannot be read, and leave its run undecided for ever. A condition
        on s3:prefix would not do: GetObject has no such key.
        """
        return _allow("AbsentObjectsAreToldSo", ["s3:ListBucket"], list(bucket_arns))

    def _tables(self, *names: str) -> list[str]:
        return [self._resources.tables[name].table_arn for name in names]

    def _indexes(self, table: str, *names: str) -> list[str]:
        """These indexes of the table; all that it has when none is named."""
        spec = next(each for each in TABLES if each.setting == table)
        arn = self._resources.tables[table].table_arn
        return [f"{arn}/index/{name}" for name in names or [index.name for index in spec.indexes]]

    def _state_tables(self) -> list[str]:
        names = (self._config.retraining_state_table, self._config.trading_state_table)
        return [self._arn("dynamodb", "table", name) for name in names if name is not None]

    def _tasks_arn(self) -> str:
        return self._arn("ecs", "task", f"{self._config.installation}/*")

    def _arn(self, service: str, resource: str, name: str) -> str:
        return self._stack.format_arn(service=service, resource=resource, resource_name=name)


def _allow(
    sid: str, actions: list[str], resources: list[str], conditions: Mapping[str, object] | None = None
) -> iam.PolicyStatement:
    return iam.PolicyStatement(sid=sid, actions=actions, resources=resources, conditions=conditions)


def _role(stack: Stack, name: str, description: str, statements: list[iam.PolicyStatement]) -> iam.Role:
    """Assumed by ECS for tasks of this account only (the confused deputy: ECS Developer Guide, "Task IAM role")."""
    principal = iam.ServicePrincipal(
        ECS_TASKS,
        conditions={
            "StringEquals": {"aws:SourceAccount": stack.account},
            "ArnLike": {"aws:SourceArn": stack.format_arn(service="ecs", resource="*", arn_format=COLON)},
        },
    )
    return iam.Role(
        stack,
        name,
        assumed_by=principal,
        description=description,
        inline_policies={"Permissions": iam.PolicyDocument(statements=statements)},
    )


def _execution_role(stack: Stack, name: str, image: str, log_group: logs.ILogGroup) -> iam.Role:
    """ECS's own: pull this image, write this log."""
    statements = [_allow("Log", ["logs:CreateLogStream", "logs:PutLogEvents"], [log_group.log_group_arn])]
    if found := PRIVATE_ECR.match(image):
        repository = stack.format_arn(
            service="ecr",
            account=found["account"],
            region=found["region"],
            resource="repository",
            resource_name=found["name"],
        )
        pull = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        statements.append(_allow("Pull", pull, [repository]))
        statements.append(_allow("PullToken", ["ecr:GetAuthorizationToken"], ["*"]))  # it knows no resource
    return _role(
        stack,
        name,
        f"By which ECS pulls {image.rpartition('/')[2].partition(':')[0].partition('@')[0]} and writes its log.",
        statements,
    )
