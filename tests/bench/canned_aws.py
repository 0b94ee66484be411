"""AWS as cheap as it can be had: DynamoDB, ECS and SQS whose answers are rendered ahead, in a process of its own.

It judges nothing: every UpdateItem succeeds, every receive finds ten messages. What is measured is the client.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import uvloop
from typing_extensions import override

from dagy_control.adapters.attributes import Item
from dagy_control.adapters.ecs_reading import DESCRIBE_TASKS, seen_tasks
from dagy_control.adapters.run_codec import run_item
from dagy_control.model.failures import RetryPolicy
from dagy_control.model.lifecycle import end_attempt
from dagy_control.model.outcomes import Ending, Outcome
from dagy_control.model.overrides import overrides_of
from dagy_control.model.runs import FailureClass, Run, RunChange, RunStatus, active_key, active_keys, applied
from dagy_control.model.tables import ACTIVE_INCLUDED
from tests.builders import NOW, running, target

TASK_ARN = "arn:aws:ecs:us-east-1:123456789012:task/main/"
CLUSTER_ARN = "arn:aws:ecs:us-east-1:123456789012:cluster/main"
ENDED_EVERY = 100
"""One task of so many has stopped."""

STOPPED_EVERY = 7
"""One event of so many says STOPPED: a task has seven states and an event for each."""

ANY_KEY = {"S": "ecs#RUNNING#00"}
INDEX_KEYS = ("run_id", "active_key", "active_since", *ACTIVE_INCLUDED)


def the_run_id(number: int) -> str:
    """Of the run that the task of this number works for."""
    return f"{number:08x}-1111-4222-8333-444455556666"


def the_run(number: int) -> Run:
    """A run of an hour ago, RUNNING."""
    return replace(
        running(for_s=3600, run_id=the_run_id(number)),
        external_id=f"{TASK_ARN}{number:032x}",
        cluster=CLUSTER_ARN,
        parameters=json.dumps({"date": "2026-01-01", "table": "orders", "full": False}),
        environment={"STAGE": "production", "REGION": "us-east-1"},
        launch_token="0" * 64,
        launch_request=json.dumps(
            {"cluster": CLUSTER_ARN, "overrides": {"containerOverrides": [{"name": "dagy-worker"}]}}
        ),
    )


def shown_containers(number: int, *, stopped: bool) -> list[dict[str, Any]]:
    """The worker's container, and the agent that AWS injects where GuardDuty watches the account's tasks."""
    container = {
        "containerArn": f"arn:aws:ecs:us-east-1:123456789012:container/main/{number:032x}/0",
        "taskArn": f"{TASK_ARN}{number:032x}",
        "name": "dagy-worker",
        "image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/dagy-worker:1.4.2",
        "imageDigest": "sha256:" + "a" * 64,
        "runtimeId": f"{number:032x}-0123456789",
        "lastStatus": "STOPPED" if stopped else "RUNNING",
        "networkBindings": [],
        "networkInterfaces": [{"attachmentId": f"{number:036x}", "privateIpv4Address": "10.0.1.17"}],
        "healthStatus": "UNKNOWN",
        "cpu": "1024",
        "memory": "2048",
        **({"exitCode": 1} if stopped else {}),
    }
    guard = {
        **container,
        "containerArn": f"arn:aws:ecs:us-east-1:123456789012:container/main/{number:032x}/1",
        "name": "aws-guardduty-agent-0ABCdef",
        "image": "593207742271.dkr.ecr.us-east-1.amazonaws.com/aws-guardduty-agent-fargate:v1.7.0-Fg_x86_64",
        "cpu": "0",
        "memory": "128",
    }
    return [container, guard]


def shown_task(number: int, *, stopped: bool) -> dict[str, Any]:
    """A Fargate task as DescribeTasks shows it."""
    status = "STOPPED" if stopped else "RUNNING"
    subnet, interface = f"subnet-{number:017x}", f"eni-{number:017x}"
    details = {
        "subnetId": subnet,
        "networkInterfaceId": interface,
        "macAddress": "0a:58:a9:fe:ac:02",
        "privateDnsName": "ip-10-0-1-17.ec2.internal",
        "privateIPv4Address": "10.0.1.17",
    }
    ended = {
        "executionStoppedAt": 1767225590.123,
        "stopCode": "EssentialContainerExited",
        "stoppedAt": 1767225599.987,
        "stoppedReason": "Essential container in task exited",
        "stoppingAt": 1767225591.456,
    }
    arn, family = f"{TASK_ARN}{number:032x}", "arn:aws:ecs:us-east-1:123456789012:task-definition/dagy-worker:3"
    return {
        "attachments": [
            {
                "id": f"{number:036x}",
                "type": "ElasticNetworkInterface",
                "status": "ATTACHED",
                "details": [{"name": name, "value": value} for name, value in details.items()],
            }
        ],
        "attributes": [{"name": "ecs.cpu-architecture", "value": "x86_64"}],
        "availabilityZone": "us-east-1a",
        "capacityProviderName": "FARGATE_SPOT",
        "clusterArn": CLUSTER_ARN,
        "connectivity": "CONNECTED",
        "connectivityAt": 1767222003.111,
        "containers": shown_containers(number, stopped=stopped),
        "cpu": "1024",
        "createdAt": 1767222000.25,
        "desiredStatus": status,
        "enableExecuteCommand": False,
        "ephemeralStorage": {"sizeInGiB": 20},
        "fargateEphemeralStorage": {"sizeInGiB": 20},
        "group": "family:dagy-worker",
        "healthStatus": "UNKNOWN",
        "lastStatus": status,
        "launchType": "FARGATE",
        "memory": "2048",
        "overrides": {**overrides_of(the_run(number), target()), "inferenceAcceleratorOverrides": []},
        "platformFamily": "Linux",
        "platformVersion": "1.4.0",
        "pullStartedAt": 1767222010.5,
        "pullStoppedAt": 1767222030.75,
        "startedAt": 1767222031.001,
        "startedBy": f"dagy/{the_run_id(number)}/1",
        "tags": [],
        "taskArn": arn,
        "taskDefinitionArn": family,
        "version": 6 if stopped else 3,
        **(ended if stopped else {}),
    }


class Template:
    """A rendered text in which one number varies: its seven hexadecimal digits are replaced, nothing is encoded again."""

    NUMBER = 0xABCDEF9

    def __init__(self, render: Callable[[int], str]) -> None:
        self._rendered = render(self.NUMBER).encode()

    def __call__(self, number: int) -> bytes:
        return self._rendered.replace(b"abcdef9", b"%07x" % number)


class Account:
    """What the answers are made of.

    A table's name ends in the number of its runs: `runs-100000`. The index of `whole-5000` projects whole records, as an index does
    unless one says otherwise.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._received = 0
        self._shards: dict[int, dict[str, list[int]]] = {}
        self._entry = Template(lambda number: json.dumps(entry(number)))
        self._whole = Template(lambda number: json.dumps(run_item(the_run(number)) | {"active_key": ANY_KEY}))
        self._live = Template(lambda number: json.dumps(shown_task(number, stopped=False)))
        self._over = Template(lambda number: json.dumps(shown_task(number, stopped=True)))
        self._running = Template(lambda number: json.dumps({"Item": run_item(the_run(number))}))
        self._failed = Template(lambda number: json.dumps({"Attributes": run_item(the_failed_run(number))}))
        self._live_event = Template(lambda number: json.dumps(message(number, stopped=False)))
        self._over_event = Template(lambda number: json.dumps(message(number, stopped=True)))

    def answer(self, operation: str, request: dict[str, Any]) -> bytes:
        """The body."""
        self.calls[operation] += 1
        match operation:
            case "Query":
                return self._page(request)
            case "DescribeTasks":
                return b'{"failures":[],"tasks":[' + b",".join(map(self._task, request["tasks"])) + b"]}"
            case "UpdateItem":
                return self._failed(number_of(request["Key"]["run_id"]["S"]))
            case "GetItem":
                return self._running(number_of(request["Key"]["run_id"]["S"]))
            case "ReceiveMessage":
                return b'{"Messages":[' + b",".join(self._message() for _ in range(10)) + b"]}"
            case "DeleteMessageBatch":
                return b'{"Successful":[],"Failed":[]}'
            case "Calls":
                calls, self.calls = self.calls, Counter()
                return json.dumps(calls).encode()
            case _:
                return b"{}"

    def _task(self, arn: str) -> bytes:
        number = int(arn[-32:], 16)
        return self._over(number) if number % ENDED_EVERY == 0 else self._live(number)

    def _message(self) -> bytes:
        self._received += 1
        stopped = self._received % STOPPED_EVERY == 0
        return (self._over_event if stopped else self._live_event)(self._received)

    def _page(self, request: dict[str, Any]) -> bytes:
        key = request["ExpressionAttributeValues"][":key"]["S"]
        shard = self._shard(int(request["TableName"].rpartition("-")[2]), key)
        after = request.get("ExclusiveStartKey")
        begin = shard.index(number_of(after["run_id"]["S"])) + 1 if after else 0
        whole = request["TableName"].startswith("whole")
        page = shard[begin : begin + min(request.get("Limit", PAGE_ITEMS), WHOLE_PAGE_ITEMS if whole else PAGE_ITEMS)]
        entries = b",".join(map(self._whole if whole else self._entry, page)).replace(b"ecs#RUNNING#00", key.encode())
        last = b""
        if begin + len(page) < len(shard):
            names = ("run_id", "active_key", "active_since")
            last = b',"LastEvaluatedKey":' + json.dumps({name: entry(page[-1])[name] for name in names}).encode()
        return b'{"Items":[%b],"Count":%d,"ScannedCount":%d%b}' % (entries, len(page), len(page), last)

    def _shard(self, count: int, key: str) -> list[int]:
        if count not in self._shards:
            shards: dict[str, list[int]] = {name: [] for name in active_keys("ecs", RunStatus.RUNNING)}
            for number in range(count):
                shards[active_key("ecs", RunStatus.RUNNING, the_run_id(number))].append(number)
            self._shards[count] = shards
        return self._shards[count][key]


def number_of(run_id: str) -> int:
    """The number of the run of this id."""
    return int(run_id[:8], 16)


def entry(number: int) -> Item:
    """The run's entry of the `active` index."""
    item = run_item(the_run(number))
    return {**{name: item[name] for name in INDEX_KEYS if name in item}, "active_key": ANY_KEY}


def the_failed_run(number: int) -> Run:
    """The run after its task has been judged."""
    return applied(the_run(number), the_end(number), "op")


def the_end(number: int) -> RunChange:
    """What is written when the run's stopped task is judged."""
    (task,) = seen_tasks(DESCRIBE_TASKS.of({"tasks": [shown_task(number, stopped=True)]})["tasks"])
    outcome = Outcome(
        ending=Ending.FAILED, rule="exit_code", message="exited with code 1", failure_class=FailureClass.USER_ERROR
    )
    change = end_attempt(
        the_run(number),
        outcome,
        RetryPolicy(),
        task=task,
        container_name="dagy-worker",
        now=NOW,
        by="bench",
    )
    assert isinstance(change, RunChange)
    return change


def message(number: int, *, stopped: bool) -> dict[str, Any]:
    """What ReceiveMessage shows of an event. Times are text in events."""
    detail = shown_task(number, stopped=stopped)
    detail |= {name: "2026-01-01T00:00:00.123Z" for name in detail if name.endswith("At")}
    envelope = {"version": "0", "id": f"{number:036x}", "detail-type": "ECS Task State Change", "source": "aws.ecs"}
    body = json.dumps({**envelope, "account": "123456789012", "time": "2026-01-01T00:00:00Z", "detail": detail})
    attributes = {"ApproximateReceiveCount": "1"}
    return {"MessageId": f"{number:036x}", "ReceiptHandle": f"{number:0128x}", "Body": body, "Attributes": attributes}


def _size(value: dict[str, Any]) -> int:
    return sum(len(name) + len(str(next(iter(held.values())))) for name, held in value.items())


WHOLE_PAGE_ITEMS = 1024 * 1024 // _size(run_item(the_run(0)))
PAGE_ITEMS = 1024 * 1024 // _size(entry(0))
"""DynamoDB ends a page at 1 MB of items (names and values, Developer Guide, "DynamoDB item sizes and formats")."""


class Connection(asyncio.Protocol):
    """HTTP/1.1 as far as botocore speaks it: a length, a body, the operation in `x-amz-target`."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._buffer = b""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport  # uvloop's, which is no asyncio.Transport by inheritance

    @override
    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            lines = self._buffer[:end].decode().split("\r\n")[1:]
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            whole = end + 4 + int(headers.get("content-length", 0))
            if len(self._buffer) < whole:
                return
            request, self._buffer = self._buffer[end + 4 : whole], self._buffer[whole:]
            body = self._account.answer(headers["x-amz-target"].rpartition(".")[2], json.loads(request))
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nx-amzn-RequestId: %036x\r\nContent-Length: %d\r\n\r\n"
            self._transport.write(head % (id(body), len(body)) + body)


async def serve() -> None:
    """Until whoever started this goes away; says its address first."""
    account = Account()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(account), "127.0.0.1", 0)
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    uvloop.run(serve())
