"""Every port that keeps records, together: in memory, or on a server whose tables all tests share (their records' names are not)."""

import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dagy_control.adapters.attributes import to_item
from dagy_control.adapters.bucket_admin import ensure_bucket
from dagy_control.adapters.calls import AwsCalls
from dagy_control.adapters.dynamo_dep_packages import DynamoDepPackages
from dagy_control.adapters.dynamo_deployments import DynamoDeployments
from dagy_control.adapters.dynamo_flows import DynamoFlows
from dagy_control.adapters.dynamo_leases import DynamoLeases
from dagy_control.adapters.dynamo_orphans import DynamoStateTables, DynamoSuspicions
from dagy_control.adapters.dynamo_runs import DynamoRuns
from dagy_control.adapters.dynamo_task_runs import DynamoTaskRuns
from dagy_control.adapters.s3_artifacts import S3Artifacts, S3Results
from dagy_control.adapters.session import AwsClients
from dagy_control.adapters.sns_alerts import SnsAlerts
from dagy_control.adapters.sqs_events import SqsTaskEvents, ensure_queue
from dagy_control.kernel.clock import Clock
from dagy_control.model.tables import DEP_PACKAGES, TABLES
from dagy_control.model.tasks import SeenTask
from dagy_control.ports.alerts import Alerts
from dagy_control.ports.dep_packages import DepPackages
from dagy_control.ports.deployments import Deployments
from dagy_control.ports.events import DeadLetters, TaskEvents
from dagy_control.ports.flows import Artifacts, Flows, Results
from dagy_control.ports.leases import Leases
from dagy_control.ports.orphans import StateTables, Suspicions
from dagy_control.ports.runs import TaskRuns
from tests.contract.conftest import Aws
from tests.fakes.alerts import FakeAlerts
from tests.fakes.dep_packages import FakeDepPackages
from tests.fakes.deployments import FakeDeployments
from tests.fakes.events import FakeTaskEvents
from tests.fakes.flows import FakeArtifacts, FakeFlows, FakeResults
from tests.fakes.leases import FakeLeases
from tests.fakes.orphans import FakeStateTables, FakeSuspicions
from tests.fakes.runs import FakeRuns
from tests.fakes.task_runs import FakeTaskRuns

BUCKET = "dagy-faults"
STATES = "states"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The ports, by the names that `port_calls.CALLS` uses, and what a test does past them."""

    runs: DynamoRuns | FakeRuns
    leases: Leases
    flows: Flows
    deployments: Deployments
    dep_packages: DepPackages
    task_runs: TaskRuns
    suspicions: Suspicions
    state_tables: StateTables
    artifacts: Artifacts
    results: Results
    events: TaskEvents
    dead_letters: DeadLetters
    """On the same queue as the events."""
    alerts: Alerts
    topic_arn: str
    states: str
    """The state table's name."""
    put_state: Callable[[str], Awaitable[None]]
    """Write an item of this `slug`, with `status` RUNNING, into the state table."""
    send_event: Callable[[SeenTask], Awaitable[None]]
    events_left: Callable[[], Awaitable[int]]
    """Messages that have not been deleted."""
    alerts_got: Callable[[], Awaitable[int]]
    """Messages that the topic's subscriber has got."""
    time_out_events: Callable[[], None]
    """Whatever was received and not deleted becomes visible again."""

    receipts: list[str] = field(default_factory=list)
    """Those that a test has in hand."""


Tables: TypeAlias = "Mapping[str, str]"


async def make_tables(aws: Aws) -> Tables:
    """The tables of every port and the bucket; names by `TableSpec.setting`."""
    await ensure_bucket(aws.clients.s3, aws.calls, BUCKET)
    return {spec.setting: await aws.table(spec) for spec in TABLES} | {STATES: await aws.table(DEP_PACKAGES)}


@dataclass(frozen=True, slots=True)
class Mail:
    """Where messages go: the queue of the events, a topic, and the queue that is subscribed to it."""

    queue_url: str
    topic_arn: str
    subscriber_url: str


async def make_mail(aws: Aws) -> Mail:
    """A topic and queues that no other test uses."""
    name, sqs, sns = f"mail-{uuid.uuid4().hex}", aws.clients.sqs, aws.clients.sns
    subscriber_url = await ensure_queue(sqs, aws.calls, f"{name}-subscriber")
    topic_arn = (await sns.create_topic(Name=name))["TopicArn"]
    shown = await sqs.get_queue_attributes(QueueUrl=subscriber_url, AttributeNames=["QueueArn"])
    await sns.subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=shown["Attributes"]["QueueArn"])
    return Mail(await ensure_queue(sqs, aws.calls, name), topic_arn, subscriber_url)


def aws_ports(aws: Aws, clients: AwsClients, tables: Tables, mail: Mail, clock: Clock) -> Ports:
    """The shipped adapters on these clients; what is past the ports goes to the server directly."""
    calls = AwsCalls(clock)
    dynamodb, sqs, states, queue_url = clients.dynamodb, aws.clients.sqs, tables[STATES], mail.queue_url

    async def put_state(slug: str) -> None:
        await aws.put_item(states, to_item({"slug": slug, "status": "RUNNING"}))

    async def send_event(task: SeenTask) -> None:
        await SqsTaskEvents(sqs, calls, queue_url=queue_url).send(_event(task))

    async def messages_in(url: str) -> int:
        names: Any = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        answer = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)

    events = SqsTaskEvents(clients.sqs, calls, queue_url=queue_url, visibility_timeout_s=0)
    return Ports(
        runs=DynamoRuns(dynamodb, calls, clock, table=tables["runs"]),
        leases=DynamoLeases(dynamodb, calls, table=tables["leases"]),
        flows=DynamoFlows(dynamodb, calls, table=tables["flows"]),
        deployments=DynamoDeployments(dynamodb, calls, table=tables["deployments"]),
        dep_packages=DynamoDepPackages(dynamodb, calls, table=tables["dep_packages"]),
        task_runs=DynamoTaskRuns(dynamodb, calls, clock, table=tables["task_runs"]),
        suspicions=DynamoSuspicions(dynamodb, calls, clock, table=tables["orphans"]),
        state_tables=DynamoStateTables(dynamodb, calls, clock),
        artifacts=S3Artifacts(clients.s3, calls, bucket=BUCKET),
        results=S3Results(clients.s3, calls, bucket=BUCKET, prefix="results/"),
        events=events,
        dead_letters=events,
        alerts=SnsAlerts(clients.sns, calls),
        topic_arn=mail.topic_arn,
        states=states,
        put_state=put_state,
        send_event=send_event,
        events_left=lambda: messages_in(queue_url),
        alerts_got=lambda: messages_in(mail.subscriber_url),
        time_out_events=lambda: None,  # the timeout is zero
    )


def fake_ports() -> Ports:
    """The fakes."""
    events, alerts, states = FakeTaskEvents(), FakeAlerts(), FakeStateTables({STATES: []})

    async def put_state(slug: str) -> None:
        states.tables[STATES].append({"slug": slug, "status": "RUNNING"})

    async def send_event(task: SeenTask) -> None:
        events.put(task)

    async def events_left() -> int:
        return len(events.visible) + len(events.in_flight)

    async def alerts_got() -> int:
        return len(alerts.sent)

    return Ports(
        runs=FakeRuns(page_size=2),
        leases=FakeLeases(),
        flows=FakeFlows(),
        deployments=FakeDeployments(),
        dep_packages=FakeDepPackages(),
        task_runs=FakeTaskRuns(),
        suspicions=FakeSuspicions(),
        state_tables=states,
        artifacts=FakeArtifacts(BUCKET),
        results=FakeResults(),
        events=events,
        dead_letters=events,
        alerts=alerts,
        topic_arn="arn:aws:sns:us-east-1:123456789012:alerts",
        states=STATES,
        put_state=put_state,
        send_event=send_event,
        events_left=events_left,
        alerts_got=alerts_got,
        time_out_events=events.redeliver,
    )


def _event(task: SeenTask) -> str:
    detail = {"taskArn": task.arn, "clusterArn": task.cluster, "lastStatus": task.last_status}
    return json.dumps({"source": "aws.ecs", "detail-type": "ECS Task State Change", "version": "0", "detail": detail})
