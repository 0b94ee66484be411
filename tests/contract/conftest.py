"""One moto server and one set of clients for the whole tier: the server of the embedded cloud, with its lock."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from dagy_control.adapters.attributes import Item
from dagy_control.adapters.calls import AwsCalls
from dagy_control.adapters.session import AwsClients, ClientPolicy, Service
from dagy_control.adapters.table_admin import TableAdmin
from dagy_control.kernel.clock import SystemClock
from dagy_control.model.tables import TableSpec

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "NO_PROXY": "127.0.0.1",
}


@pytest.fixture(scope="session")
def aws_url() -> Iterator[str]:
    """The server, in a process that ends with its standard input."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")} | CREDENTIALS
    command = [sys.executable, "-m", "dagy_control.local.aws_server"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        yield f"http://127.0.0.1:{json.loads(server.stdout.readline())['port']}"
        server.stdin.close()
        server.wait(timeout=10)


class Aws:
    """Clients at the server, and fresh tables."""

    def __init__(self, clients: AwsClients) -> None:
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
        answer = await self.clients.dynamodb.get_item(
            TableName=table, Key={name: {"S": value} for name, value in key.items()}, ConsistentRead=True
        )
        item: Item = answer["Item"]
        return item


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def aws(aws_url: str) -> AsyncIterator[Aws]:
    """One set of clients, in the one event loop of the tier's modules."""
    policy = ClientPolicy(region="us-east-1", read_timeout_s=30)
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": aws_url}.items():
            environment.setenv(name, value)
        async with AwsClients(policy, services=(Service.DYNAMODB, Service.S3, Service.SQS)) as clients:
            yield Aws(clients)
