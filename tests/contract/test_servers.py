"""What AWS refuses or limits, and our adapters therefore must respect: over a server that does not, no other suite would show a mistake.

Sources: the API References of DynamoDB (BatchWriteItem, BatchGetItem, Query, UpdateItem), SQS (DeleteMessageBatch, ReceiveMessage) and
S3 (PutObject); DynamoDB Developer Guide, "Quotas" and "Supported data types". What a server misses stands in `conftest.UNFAITHFUL`.
"""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest
import pytest_asyncio
from botocore.exceptions import ClientError

from dagy_control.adapters.bucket_admin import ensure_bucket
from dagy_control.adapters.sqs_events import ensure_queue
from dagy_control.model.tables import LEASES, RUNS, TASK_RUNS
from tests.contract.conftest import Aws

pytestmark = pytest.mark.asyncio(loop_scope="session")

BUCKET = "dagy-servers"


@dataclass(frozen=True)
class Place:
    """A table keyed by `lease_name`, the runs' table, a queue, a bucket, and the bare clients."""

    dynamodb: Any
    sqs: Any
    s3: Any
    table: str
    runs: str
    queue: str


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def place(aws: Aws) -> Place:
    clients = aws.clients
    await ensure_bucket(clients.s3, aws.calls, BUCKET)
    queue = await ensure_queue(clients.sqs, aws.calls, f"servers-{uuid.uuid4().hex}")
    return Place(clients.dynamodb, clients.sqs, clients.s3, await aws.table(LEASES), await aws.table(RUNS), queue)


def text(value: str) -> dict[str, str]:
    return {"S": value}


def puts(count: int, *, distinct: bool = True) -> list[Any]:
    return [{"PutRequest": {"Item": {"lease_name": text(f"a{number * distinct}")}}} for number in range(count)]


def keys(count: int, *, distinct: bool = True) -> dict[str, Any]:
    return {"Keys": [{"lease_name": text(f"a{number * distinct}")} for number in range(count)]}


def put(place: Place, **attributes: Any) -> Awaitable[Any]:
    return place.dynamodb.put_item(TableName=place.table, Item={"lease_name": text("a"), **attributes})  # type: ignore[no-any-return] # a bare client


def update(place: Place, expression: str, **request: Any) -> Awaitable[Any]:
    return place.dynamodb.update_item(  # type: ignore[no-any-return] # a bare client
        TableName=place.runs,
        Key={"run_id": text("r")},
        UpdateExpression=expression,
        **{"ExpressionAttributeValues": {":v": text("x")}, **request},
    )


def receipts(count: int) -> list[dict[str, str]]:
    return [{"Id": str(number), "ReceiptHandle": "none"} for number in range(count)]


async def poll_for_21_s(place: Place) -> None:
    """With a message there, so that a server which takes it answers at once."""
    await place.sqs.send_message(QueueUrl=place.queue, MessageBody="there")
    await place.sqs.receive_message(QueueUrl=place.queue, WaitTimeSeconds=21)


Refused: TypeAlias = tuple[Callable[[Place], Awaitable[Any]], str]

REFUSED: Mapping[str, Refused] = {
    "26 items in a BatchWriteItem": (
        lambda place: place.dynamodb.batch_write_item(RequestItems={place.table: puts(26)}),
        "ValidationException",
    ),
    "one key twice in a BatchWriteItem": (
        lambda place: place.dynamodb.batch_write_item(RequestItems={place.table: puts(2, distinct=False)}),
        "ValidationException",
    ),
    "101 keys in a BatchGetItem": (
        lambda place: place.dynamodb.batch_get_item(RequestItems={place.table: keys(101)}),
        "ValidationException",
    ),
    "one key twice in a BatchGetItem": (
        lambda place: place.dynamodb.batch_get_item(RequestItems={place.table: keys(2, distinct=False)}),
        "ValidationException",
    ),
    "an item above 400 KB": (lambda place: put(place, pad=text("x" * 409_600)), "ValidationException"),
    "a number of 39 digits": (lambda place: put(place, number={"N": "1" * 39}), "ValidationException"),
    "not a number": (lambda place: put(place, number={"N": "NaN"}), "ValidationException"),
    "an empty key": (
        lambda place: place.dynamodb.put_item(TableName=place.table, Item={"lease_name": text("")}),
        "ValidationException",
    ),
    "a number as an index's string key": (
        lambda place: place.dynamodb.put_item(TableName=place.runs, Item={"run_id": text("r"), "org_id": {"N": "1"}}),
        "ValidationException",
    ),
    "a reserved word as a bare name": (lambda place: update(place, "SET status = :v"), "ValidationException"),
    "a name that is not used": (
        lambda place: update(place, "SET a = :v", ExpressionAttributeNames={"#b": "b"}),
        "ValidationException",
    ),
    "a value that is not used": (
        lambda place: update(place, "SET a = :v", ExpressionAttributeValues={":v": text("x"), ":w": text("x")}),
        "ValidationException",
    ),
    "one attribute set twice": (lambda place: update(place, "SET a = :v, a = :v"), "ValidationException"),
    "a change of the key": (lambda place: update(place, "SET run_id = :v"), "ValidationException"),
    "a consistent read of an index": (
        lambda place: place.dynamodb.query(
            TableName=place.runs,
            IndexName="by_org",
            KeyConditionExpression="org_id = :v",
            ExpressionAttributeValues={":v": text("x")},
            ConsistentRead=True,
        ),
        "ValidationException",
    ),
    "no receipt in a DeleteMessageBatch": (
        lambda place: place.sqs.delete_message_batch(QueueUrl=place.queue, Entries=[]),
        "AWS.SimpleQueueService.EmptyBatchRequest",
    ),
    "11 receipts in a DeleteMessageBatch": (
        lambda place: place.sqs.delete_message_batch(QueueUrl=place.queue, Entries=receipts(11)),
        "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
    ),
    "more than ten messages of a ReceiveMessage": (
        lambda place: place.sqs.receive_message(QueueUrl=place.queue, MaxNumberOfMessages=11),
        "InvalidParameterValue",
    ),
    "a long poll of 21 s": (
        poll_for_21_s,
        "InvalidParameterValue",
    ),
    "an object with another checksum": (
        lambda place: place.s3.put_object(Bucket=BUCKET, Key="k", Body=b"1", ChecksumSHA256="AAAA"),
        "BadDigest",
    ),
    "a key of 1025 bytes": (
        lambda place: place.s3.put_object(Bucket=BUCKET, Key="k" * 1025, Body=b"1"),
        "KeyTooLongError",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_aws_refuses(place: Place, case: str) -> None:
    call, code = REFUSED[case]
    with pytest.raises(ClientError) as refused:
        await call(place)
    assert refused.value.response["Error"]["Code"] == code


async def test_a_query_answers_one_mb_a_page(aws: Aws) -> None:
    table = await aws.table(TASK_RUNS)
    for number in range(4):
        item = {"run_id": text("r"), "task_run_id": text(str(number)), "pad": text("x" * 400_000)}
        await aws.put_item(table, item)
    answer = await aws.clients.dynamodb.query(
        TableName=table, KeyConditionExpression="run_id = :v", ExpressionAttributeValues={":v": {"S": "r"}}
    )
    assert len(answer["Items"]) < 4
    assert "LastEvaluatedKey" in answer


async def test_a_read_of_more_than_16_mb_leaves_keys_unprocessed(aws: Aws, place: Place) -> None:
    for number in range(45):
        await aws.put_item(place.table, {"lease_name": text(f"a{number}"), "pad": text("x" * 400_000)})
    answer = await place.dynamodb.batch_get_item(RequestItems={place.table: keys(45)})
    left = answer["UnprocessedKeys"].get(place.table, {"Keys": []})["Keys"]
    assert left
    assert len(answer["Responses"][place.table]) + len(left) == 45
