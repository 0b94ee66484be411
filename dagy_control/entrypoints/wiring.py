"""From settings to adapters: everything that talks to AWS, opened together and closed together."""

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from dagy_control.adapters.calls import AwsCalls
from dagy_control.adapters.dynamo_dep_packages import DynamoDepPackages
from dagy_control.adapters.dynamo_deployments import DynamoDeployments
from dagy_control.adapters.dynamo_flows import DynamoFlows
from dagy_control.adapters.dynamo_leases import DynamoLeases
from dagy_control.adapters.dynamo_orphans import DynamoStateTables, DynamoSuspicions
from dagy_control.adapters.dynamo_runs import DynamoRuns
from dagy_control.adapters.dynamo_task_runs import DynamoTaskRuns
from dagy_control.adapters.ecs_tasks import EcsTasks
from dagy_control.adapters.s3_artifacts import S3Artifacts, S3Results
from dagy_control.adapters.session import AwsClients
from dagy_control.adapters.sqs_events import SqsTaskEvents
from dagy_control.config import Settings
from dagy_control.entrypoints.policies import client_policy, request_policy
from dagy_control.kernel.call_metrics import ApiCallMetrics
from dagy_control.kernel.clock import Clock, SystemClock
from dagy_control.kernel.emf import EmbeddedMetrics
from dagy_control.kernel.limiter import Limiter
from dagy_control.kernel.record_writer import RecordWriter
from dagy_control.kernel.telemetry import LimiterMetrics, RunEndMetrics
from dagy_control.model.runs import Run
from dagy_control.requests.launch import Launcher, RequestPorts

COMMAND_SHARE = 0.1
"""The part of the account's API budget that a command run by hand takes, beside a daemon that has the rest."""


def embedded_metrics(settings: Settings) -> EmbeddedMetrics | None:
    """The figures for CloudWatch, where they are wanted."""
    if not settings.telemetry.cloudwatch_metrics:
        return None
    dimensions = {"Installation": settings.installation, "Environment": settings.environment}
    return EmbeddedMetrics(SystemClock(), namespace=settings.telemetry.cloudwatch_namespace, dimensions=dimensions)


def _told(registry: CollectorRegistry | None, embedded: EmbeddedMetrics | None) -> Callable[[Run], None]:
    """Who is told of the runs that this process ends."""
    listeners: list[Callable[[Run], None]] = []
    if registry is not None:
        listeners.append(RunEndMetrics(registry).record)
    if embedded is not None:
        listeners.append(embedded.run_ended)

    def tell(run: Run) -> None:
        for listener in listeners:
            listener(run)

    return tell


def new_id() -> str:
    """An id that nobody else has."""
    return str(uuid.uuid4())


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Everything outside, as the rooms see it."""

    clients: AwsClients
    calls: AwsCalls
    clock: Clock
    limiter: Limiter
    runs: DynamoRuns
    task_runs: DynamoTaskRuns
    flows: DynamoFlows
    deployments: DynamoDeployments
    dep_packages: DynamoDepPackages
    artifacts: S3Artifacts
    traces: S3Artifacts
    results: S3Results
    tasks: EcsTasks
    suspicions: DynamoSuspicions
    state_tables: DynamoStateTables
    leases: DynamoLeases
    writer: RecordWriter
    new_id: Callable[[], str]
    settings: Settings

    def events(self, queue_url: str) -> SqsTaskEvents:
        """The task-state queue."""
        return SqsTaskEvents(
            self.clients.sqs,
            self.calls,
            queue_url=queue_url,
            visibility_timeout_s=self.settings.events.visibility_timeout_s,
        )

    def launcher(self) -> Launcher:
        """Who takes launch requests, under these settings."""
        ports = RequestPorts(
            flows=self.flows,
            deployments=self.deployments,
            runs=self.runs,
            listings=self.runs,
            writer=self.writer,
            clock=self.clock,
            new_id=self.new_id,
        )
        return Launcher(ports, request_policy(self.settings))


@asynccontextmanager
async def open_ports(
    settings: Settings,
    *,
    registry: CollectorRegistry | None = None,
    embedded: EmbeddedMetrics | None = None,
    share: float | None = None,
) -> AsyncIterator[Ports]:
    """Open every adapter for as long as the block lasts. `share` of the account's API budget: the configured one unless given.

    `registry`, `embedded`: where calls, and runs that end, are counted.
    """
    clock = SystemClock()
    calls = AwsCalls(clock, ApiCallMetrics(registry) if registry is not None else None)
    limiter = Limiter(clock, share=share or settings.aws.account_share, scale=settings.aws.rate_scale)
    if registry is not None:
        LimiterMetrics(registry, limiter)
    tables, storage = settings.tables, settings.storage
    async with AwsClients(client_policy(settings)) as clients:
        runs = DynamoRuns(clients.dynamodb, calls, clock, table=tables.runs)
        yield Ports(
            clients=clients,
            calls=calls,
            clock=clock,
            limiter=limiter,
            runs=runs,
            task_runs=DynamoTaskRuns(clients.dynamodb, calls, clock, table=tables.task_runs),
            flows=DynamoFlows(clients.dynamodb, calls, table=tables.flows),
            deployments=DynamoDeployments(clients.dynamodb, calls, table=tables.deployments),
            dep_packages=DynamoDepPackages(clients.dynamodb, calls, table=tables.dep_packages),
            artifacts=S3Artifacts(clients.s3, calls, bucket=storage.artifact_bucket),
            traces=S3Artifacts(clients.s3, calls, bucket=storage.trace_bucket or storage.artifact_bucket),
            results=S3Results(clients.s3, calls, bucket=storage.artifact_bucket, prefix=storage.result_prefix),
            tasks=EcsTasks(clients.ecs, calls, limiter),
            suspicions=DynamoSuspicions(clients.dynamodb, calls, clock, table=tables.orphans),
            state_tables=DynamoStateTables(clients.dynamodb, calls, clock),
            leases=DynamoLeases(clients.dynamodb, calls, table=tables.leases),
            writer=RecordWriter(runs, clock, new_id, on_end=_told(registry, embedded)),
            new_id=new_id,
            settings=settings,
        )
