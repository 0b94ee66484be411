"""What the CDK stack makes in AWS, made in the embedded cloud: tables, bucket, queue, task definition, and events into the queue."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dagy_control.adapters.bucket_admin import ensure_bucket
from dagy_control.adapters.calls import AwsCalls
from dagy_control.adapters.ecs_admin import EcsAdmin
from dagy_control.adapters.session import AwsClients
from dagy_control.adapters.sqs_events import SqsTaskEvents, ensure_queue
from dagy_control.adapters.table_admin import TableAdmin
from dagy_control.errors import Permanent
from dagy_control.kernel.clock import Clock
from dagy_control.local.cloud import EmbeddedCloud

QUEUE = "dagy-task-state"
STOP_TIMEOUT_S = 30
"""The task definition's stopTimeout: ECS's default, into which the worker's drain must fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provisioned:
    """What the daemon must be told of it."""

    queue_url: str


async def provision(
    cloud: EmbeddedCloud,
    clients: AwsClients,
    calls: AwsCalls,
    clock: Clock,
    *,
    tables: Mapping[str, str],
    bucket: str,
    container_name: str,
    worker_environment: Mapping[str, str],
    worker_image: str | None = None,
) -> Provisioned:
    """Make everything that a daemon needs, and let task-state events flow into the queue. `worker_image`: of a cloud with containers."""
    results = await TableAdmin(clients.dynamodb, calls, clock).create(tables)
    if problems := [result.problem for result in results if result.problem]:
        raise Permanent("; ".join(problems))
    await ensure_bucket(clients.s3, calls, bucket)
    queue_url = await ensure_queue(clients.sqs, calls, QUEUE)
    queue = SqsTaskEvents(clients.sqs, calls, queue_url=queue_url)

    async def publish(event: dict[str, Any]) -> None:
        await queue.send(json.dumps(event))

    cloud.set_event_sink(publish)
    await EcsAdmin(clients.ecs, calls).register_task_definition(
        worker_definition("dagy-worker", container_name, worker_environment, image=worker_image)
    )
    return Provisioned(queue_url=queue_url)


def worker_definition(
    family: str, container_name: str, environment: Mapping[str, str], *, image: str | None = None
) -> dict[str, Any]:
    """The worker's task definition. Its command is the image's own; without an image it is this interpreter's own worker."""
    runs: dict[str, Any] = {
        "image": "dagy-worker:local",
        "entryPoint": [sys.executable, "-m", "dagy_control.entrypoints.worker"],
    }
    if image is not None:
        runs = {"image": image, "readonlyRootFilesystem": True}
    return {
        "family": family,
        "requiresCompatibilities": ["FARGATE"],
        "networkMode": "awsvpc",
        "cpu": "1024",
        "memory": "2048",
        "containerDefinitions": [
            {
                "name": container_name,
                **runs,
                "essential": True,
                "environment": [{"name": name, "value": value} for name, value in sorted(environment.items())],
                "stopTimeout": STOP_TIMEOUT_S,
            }
        ],
    }
