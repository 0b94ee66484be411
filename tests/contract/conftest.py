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

UNFAITHFUL: Mapping[tuple[str, str], str] = {}


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
    """Clients for DynamoDB, S3 and SQS at this address, whoever's account the environment is set to."""
    policy = ClientPolicy(region="us-east-1", read_timeout_s=30)
    clients = AwsClients(policy, services=(Service.DYNAMODB, Service.S3, Service.SQS))
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
