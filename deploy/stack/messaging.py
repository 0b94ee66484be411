"""Task state changes from ECS by EventBridge into a queue, a place for what nobody can read, and the topic of the alarms."""

from dataclasses import dataclass

from aws_cdk import Duration, Stack
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs

from deploy.stack.config import StackConfig

RECEIVES_MAX = 10
"""After so many receives SQS takes a message aside. The daemon does so itself before (docs/operations.md)."""

VISIBILITY_S = 60
"""`events.visibility_timeout_s`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Messaging:
    """The queues and the topic."""

    task_state: sqs.Queue
    dead_letters: sqs.Queue
    topic: sns.Topic


def make_messaging(stack: Stack, config: StackConfig, cluster: ecs.ICluster) -> Messaging:
    """Only events of this cluster: ECS tells of every one in the account."""
    dead_letters = _queue(stack, config, "DeadLetterQueue", "task-state-dead", keep=Duration.days(14))
    task_state = _queue(
        stack,
        config,
        "TaskStateQueue",
        "task-state",
        keep=Duration.days(1),  # an older event tells nothing that polling has not found
        dead_letter_queue=sqs.DeadLetterQueue(queue=dead_letters, max_receive_count=RECEIVES_MAX),
    )
    events.Rule(
        stack,
        "TaskStateRule",
        description=f"Task state changes in the cluster of {config.installation}, for dagy-control",
        event_pattern=events.EventPattern(
            source=["aws.ecs"], detail_type=["ECS Task State Change"], detail={"clusterArn": [cluster.cluster_arn]}
        ),
        targets=[targets.SqsQueue(task_state)],
    )
    topic = sns.Topic(stack, "AlertTopic", topic_name=f"{config.installation}-alerts", enforce_ssl=True)
    # A policy of one's own takes the place of the one by which CloudWatch's alarms of this account may publish.
    topic.add_to_resource_policy(
        iam.PolicyStatement(
            sid="AlarmsOfThisAccount",
            principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
            actions=["sns:Publish"],
            resources=[topic.topic_arn],
            conditions={"StringEquals": {"aws:SourceAccount": stack.account}},
        )
    )
    if config.alarm_email is not None:
        topic.add_subscription(subscriptions.EmailSubscription(config.alarm_email))
    return Messaging(task_state=task_state, dead_letters=dead_letters, topic=topic)


def _queue(
    stack: Stack,
    config: StackConfig,
    name: str,
    suffix: str,
    *,
    keep: Duration,
    dead_letter_queue: sqs.DeadLetterQueue | None = None,
) -> sqs.Queue:
    return sqs.Queue(
        stack,
        name,
        queue_name=f"{config.installation}-{suffix}",
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        enforce_ssl=True,
        retention_period=keep,
        visibility_timeout=Duration.seconds(VISIBILITY_S),
        dead_letter_queue=dead_letter_queue,
    )
