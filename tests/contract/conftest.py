"""The servers of the tier, one of each for the whole session, clients for them, and what they are not faithful in."""

import os
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from dagy_control.adapters.attributes import Item
from dagy_control.adapters.calls import AwsCalls
from dagy_control.adapters.session import AwsClients, ClientPolicy, Service
from dagy_control.adapters.table_admin import TableAdmin
from dagy_control.kernel.clock import SystemClock
from dagy_control.local.aws_server import AwsServer
from dagy_control.model.tables import TableSpec
from tests.contract.ministack import MiniStack

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "NO_PROXY": "127.0.0.1",
}

SERVERS = ("moto", "ministack")

UNFAITHFUL: Mapping[str, Mapping[str, str]] = {
    "moto": {
        "test_aws_refuses[26 items in a BatchWriteItem]": "it writes them; AWS takes 25 (API Reference, BatchWriteItem)",
        "test_aws_refuses[a number as an index's string key]": "it writes the item; AWS says that the type mismatches",
        "test_aws_refuses[a number of 39 digits]": "it stores them; AWS keeps 38 (Developer Guide, data types)",
        "test_aws_refuses[11 receipts in a DeleteMessageBatch]": "it says BatchEntryIdsNotDistinct; AWS, TooManyEntries",
        "test_aws_refuses[an object with another checksum]": "it stores the object; AWS says BadDigest",
        "test_aws_refuses[a key of 1025 bytes]": "it stores the object; AWS takes 1024 bytes (User Guide, object keys)",
    },
    "ministack": {
        "test_aws_refuses[one attribute set twice]": "the last one wins; AWS says that the paths overlap",
        "test_aws_refuses[a long poll of 21 s]": "it polls; AWS takes 20 s (API Reference, ReceiveMessage)",
        "test_aws_refuses[a key of 1025 bytes]": "it stores the object; AWS takes 1024 bytes (User Guide, object keys)",
        "test_a_read_of_more_than_16_mb_leaves_keys_unprocessed": "it answers everything; AWS stops at 16 MB (BatchGetItem)",
    },
}
"""What a server does otherwise than AWS: the test that would show it, and the fact of AWS that it misses. Each of these tests is
expected to fail over that server, and fails when it does not: then take it out. Where one is listed, that server cannot show a mistake
of ours of that kind; the other one does, if it is not listed too."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Expect the declared failures."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        server = callspec.params.get("aws") if callspec else None
        if callspec and isinstance(server, str):
            name = getattr(item, "originalname", item.name)
            case = callspec.id.removeprefix(server).removeprefix("-")
            reason = UNFAITHFUL.get(server, {}).get(f"{name}[{case}]" if case else name)
            if reason is not None:
                item.add_marker(pytest.mark.xfail(strict=True, reason=f"{server}: {reason}"))


class Aws:
    """Clients at a server, and fresh tables."""

    def __init__(self, url: str, clients: AwsClients) -> None:
        self.url = url
        self.clients = clients
        self.clock = SystemClock()
        self.calls = AwsCalls(self.clock)

    async def table(self, spec: TableSpec) -> str:
        """A table that no other test uses."""
        name = f"{spec.setting}-{uuid.uuid4().hex}"
        await TableAdmin(self.clients.dynamodb, self.calls, self.clock).create({spec.setting: name}, (spec,))
        return name

    async def put_item(self, table: str, item: Item) -> None:
        """Write an item as a person would: past every adapter."""
        await self.clients.dynamodb.put_item(TableName=table, Item=item)

    async def get_item(self, table: str, **key: str) -> Item:
        """An item as it is stored."""
        answer: Any = await self.clients.dynamodb.get_item(
            TableName=table, Key={name: {"S": value} for name, value in key.items()}, ConsistentRead=True
        )
        item: Item = answer["Item"]
        return item


@asynccontextmanager
async def clients_at(url: str) -> AsyncIterator[AwsClients]:
    """Clients for DynamoDB, S3, SNS and SQS at this address, whoever's account the environment is set to."""
    policy = ClientPolicy(region="us-east-1", read_timeout_s=30)
    clients = AwsClients(policy, services=(Service.DYNAMODB, Service.S3, Service.SNS, Service.SQS))
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": url}.items():
            environment.setenv(name, value)
        await clients.__aenter__()
    try:
        yield clients
    finally:
        await clients.__aexit__(None, None, None)


@asynccontextmanager
async def served(server: AwsServer | MiniStack) -> AsyncIterator[Aws]:
    """The server, up."""
    await server.start()
    try:
        async with clients_at(server.url) as clients:
            yield Aws(server.url, clients)
    finally:
        await server.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def moto(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Aws]:
    """The server of the embedded cloud, with its lock."""
    async with served(AwsServer(clock=SystemClock(), log=tmp_path_factory.mktemp("moto") / "log")) as aws:
        yield aws


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def ministack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Aws]:
    """MiniStack. An error, not a skip, when it is not installed."""
    async with served(MiniStack(clock=SystemClock(), workdir=tmp_path_factory.mktemp("ministack"))) as aws:
        yield aws


@pytest.fixture(scope="session", params=SERVERS)
def aws(request: pytest.FixtureRequest) -> Aws:
    """Each server in turn: for what only an adapter can be asked."""
    server: Aws = request.getfixturevalue(request.param)
    return server


@pytest.fixture(scope="session", params=["fake", *SERVERS])
def store(request: pytest.FixtureRequest) -> Aws | None:
    """Where a port keeps its records: in memory (None), or on each server in turn."""
    if request.param == "fake":
        return None
    server: Aws = request.getfixturevalue(request.param)
    return server
