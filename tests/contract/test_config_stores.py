"""A configuration, and values of it, that stand in SSM, Secrets Manager and S3: over HTTP, with the shipped adapters."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from dagy_control.adapters.session import CONFIG_SERVICES, AwsClients, ClientPolicy
from dagy_control.config import ConfigError, Unresolved
from dagy_control.config.references import Reference, parse_reference
from dagy_control.entrypoints.configuration import ConfigStores, read_configuration
from tests.contract.conftest import CREDENTIALS, Aws
from tests.fakes.clock import VirtualClock

pytestmark = pytest.mark.asyncio(loop_scope="session")

LIFE_S = 300.0


@pytest.fixture
def here(moto: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every client that is opened by this test calls the server."""
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": moto.url, "AWS_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)


@pytest_asyncio.fixture(loop_scope="session")
async def admin(here: None) -> AsyncIterator[AwsClients]:
    async with AwsClients(ClientPolicy(region="us-east-1"), services=CONFIG_SERVICES) as clients:
        yield clients


class Bench:
    """The stores on a clock of their own, and names that no other test uses."""

    def __init__(self, admin: AwsClients) -> None:
        self.admin = admin
        self.clock = VirtualClock()
        self.stores = ConfigStores(self.clock, life_s=LIFE_S)
        self.name = uuid.uuid4().hex

    async def parameter(self, value: str, kind: Any = "String") -> str:
        await self.admin.ssm.put_parameter(Name=f"/{self.name}", Value=value, Type=kind, Overwrite=True)
        return f"ssm:/{self.name}"

    async def secret(self, text: str) -> str:
        await self.admin.secrets.create_secret(Name=self.name, SecretString=text)
        return f"secret:{self.name}"

    async def resolved(self, text: str) -> str | Unresolved:
        return (await self.stores.resolve([reference(text)]))[text]


def reference(text: str) -> Reference:
    found = parse_reference(text)
    assert found is not None
    return found


@pytest_asyncio.fixture(loop_scope="session")
async def bench(admin: AwsClients) -> AsyncIterator[Bench]:
    bench = Bench(admin)
    async with bench.stores:
        yield bench


@pytest.mark.parametrize("kind", ["String", "SecureString", "StringList"])
async def test_a_parameter_is_read_and_decrypted(bench: Bench, kind: str) -> None:
    assert await bench.resolved(await bench.parameter("a,b", kind)) == "a,b"


async def test_a_secret_is_read_whole_or_by_one_of_its_keys(bench: Bench) -> None:
    whole = await bench.secret('{"user": "dagy", "port": 5432}')
    assert await bench.resolved(whole) == '{"user": "dagy", "port": 5432}'
    assert await bench.resolved(f"{whole}#user") == "dagy"
    assert await bench.resolved(f"{whole}#port") == "5432"


async def test_a_failing_reference_says_why_and_spoils_no_other(bench: Bench) -> None:
    good = await bench.parameter("fine")
    secret = await bench.secret("no JSON: tweet")
    bad = ["ssm:/nowhere", "secret:nobody", f"{secret}#key"]
    found = await bench.stores.resolve([reference(text) for text in (good, *bad)])
    assert found[good] == "fine"
    reasons = [found[text] for text in bad]
    assert all(isinstance(each, Unresolved) for each in reasons)
    assert "ParameterNotFound" in str(reasons[0])
    assert "ResourceNotFoundException" in str(reasons[1])
    assert "no JSON object" in str(reasons[2])
    assert "tweet" not in str(reasons)


async def test_a_value_is_kept_for_a_while_and_then_looked_up_again(bench: Bench) -> None:
    text = await bench.parameter("old")
    assert await bench.resolved(text) == "old"
    await bench.parameter("new")
    await bench.clock.advance(LIFE_S - 1)
    assert await bench.resolved(text) == "old"
    await bench.clock.advance(2)
    assert await bench.resolved(text) == "new"


async def test_a_value_stays_while_aws_cannot_be_asked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    text = await bench.parameter("old")
    await bench.resolved(text)
    await bench.clock.advance(LIFE_S + 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nobody listens there
    async with ConfigStores(bench.clock) as fresh:
        fresh._known = bench.stores._known
        assert (await fresh.resolve([reference(text)]))[text] == "old"
        other = (await fresh.resolve([reference("ssm:/other")]))["ssm:/other"]
        assert isinstance(other, Unresolved)
        assert "no answer" in other.reason


async def test_a_file_is_read_from_ssm_and_from_s3(bench: Bench) -> None:
    text = "[launching]\ninterval_s = 7\n"
    location = await bench.parameter(text)
    assert (await bench.stores.read(location)).data == text.encode()
    await bench.admin.s3.create_bucket(Bucket=bench.name)
    await bench.admin.s3.put_object(Bucket=bench.name, Key="conf/dagy.toml", Body=text.encode())
    assert (await bench.stores.read(f"s3://{bench.name}/conf/dagy.toml")).data == text.encode()


@pytest.mark.parametrize("location", ["ssm:/nowhere", "s3://no-such-bucket-here/dagy.toml", "s3://bucket-only"])
async def test_a_file_that_is_not_there_is_refused_by_its_place(bench: Bench, location: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        await bench.stores.read(location)
    assert caught.value.problems[0].source == location


async def test_a_command_reads_a_remote_file_with_references_in_it(bench: Bench) -> None:
    """As at the start of a process: outside of any event loop, and here therefore in a thread."""
    limit = await bench.secret('{"tasks": 77}')
    location = await bench.parameter(f'[launching]\nmax_concurrent_tasks = "{limit}#tasks"\n')
    loaded, text = await asyncio.to_thread(read_configuration, location, {})
    assert loaded.settings.launching.max_concurrent_tasks == 77
    assert loaded.references == {"launching.max_concurrent_tasks": f"{limit}#tasks"}
    assert text is not None
    assert text.name == location
