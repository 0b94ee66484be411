"""Who parses which answer: ours a successful one that is wanted in a form, botocore everything else."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from dagy_control.adapters.ecs_reading import DESCRIBE_TASKS, LIST_TASKS, ShownTask
from dagy_control.adapters.hot_answers import answered_as
from dagy_control.adapters.session import AwsClients, ClientPolicy, Service

TASK = b'{"tasks":[{"taskArn":"arn","clusterArn":"main","lastStatus":"RUNNING","group":"family:worker"}],"extra":1}'


@dataclass
class Answering:
    """What the server answers to the next calls."""

    body: bytes = TASK
    status: int = 200


@asynccontextmanager
async def served(answering: Answering) -> AsyncIterator[str]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        writer.write(b"HTTP/1.1 %d .\r\nx-amzn-RequestId: id-1\r\n" % answering.status)
        writer.write(b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(answering.body) + answering.body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
def answering() -> Answering:
    return Answering()


@pytest.fixture(params=[True, False], ids=["lean", "aiobotocore with its hook"])
async def ecs(
    request: pytest.FixtureRequest, answering: Answering, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with served(answering) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_ECS", url)
        async with AwsClients(ClientPolicy(region="us-east-1", lean=request.param), services=(Service.ECS,)) as clients:
            yield clients.ecs


async def test_a_wanted_answer_has_structs_of_the_fields_that_are_read(ecs: Any) -> None:
    with answered_as(DESCRIBE_TASKS):
        answer = await ecs.describe_tasks(tasks=["arn"])
    assert answer["tasks"] == [ShownTask(arn="arn", cluster="main", last_status="RUNNING")]
    assert "extra" not in answer


async def test_without_a_wish_or_with_one_for_another_call_the_answer_is_botocores(ecs: Any) -> None:
    plain = await ecs.describe_tasks(tasks=["arn"])
    with answered_as(LIST_TASKS):
        other = await ecs.describe_tasks(tasks=["arn"])
    assert plain["tasks"] == other["tasks"]
    assert plain["tasks"][0]["group"] == "family:worker"


async def test_calls_at_the_same_time_have_each_their_own_wish(ecs: Any) -> None:
    async def wanted() -> Any:
        with answered_as(DESCRIBE_TASKS):
            return await ecs.describe_tasks(tasks=["arn"])

    answers = await asyncio.gather(wanted(), ecs.describe_tasks(tasks=["arn"]), wanted())
    assert [type(answer["tasks"][0]) for answer in answers] == [ShownTask, dict, ShownTask]


@pytest.mark.parametrize("status", [400, 500, 503])
async def test_errors_are_botocores_own(ecs: Any, answering: Answering, status: int) -> None:
    answering.status, answering.body = (
        status,
        b'{"__type":"com.amazonaws#ClusterNotFoundException","message":"no cluster"}',
    )
    with answered_as(DESCRIBE_TASKS), pytest.raises(ClientError) as refused:
        await ecs.describe_tasks(tasks=["arn"])
    assert refused.value.response["Error"] == {"Code": "ClusterNotFoundException", "Message": "no cluster"}
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>busy</html>",
        b"[]",
        b"null",
        b'"tasks"',
        TASK[:40],
        TASK + b"<html>",
        b'{"tasks":7}',
        b'{"tasks":[{"taskArn":"\xff"}]}',
        b'{"failures":["arn"]}',
    ],
    ids=repr,
)
async def test_an_answer_that_is_none_is_no_answer(ecs: Any, answering: Answering, body: bytes) -> None:
    answering.body = body
    with answered_as(DESCRIBE_TASKS), pytest.raises(ResponseParserError, match="the answer is no"):
        await ecs.describe_tasks(tasks=["arn"])


@pytest.mark.parametrize(
    ("body", "reads"),
    [
        (b"{}", lambda answer: "tasks" not in answer),
        (b'{"tasks":[]}', lambda answer: answer["tasks"] == []),
        (b' {"tasks":[7,{"taskArn":"arn"},null]}', lambda answer: answer["tasks"] == []),
    ],
    ids=["nothing", "no tasks", "no readable task"],
)
def test_an_answer_with_nothing_to_read_is_an_answer(body: bytes, reads: Callable[[Any], bool]) -> None:
    assert reads(DESCRIBE_TASKS.decode(body))
