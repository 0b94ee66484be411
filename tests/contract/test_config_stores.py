"""A configuration, and values of it, that stand in SSM, Secrets Manager and S3: over HTTP, with the shipped adapters."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from dagy_control.adapters.session import CONFIG_SERVICES, AwsClients, ClientPolicy
from dagy_control.config import ConfigError, ConfigText, Settings, Unresolved, load_with_sources, references_in
from dagy_control.config.references import References, parse_reference
from dagy_control.entrypoints.config_sources import REMOTE_POLL_S, source_of
from dagy_control.entrypoints.configuration import REFERENCE_RETRY_S, ConfigStores, read_configuration
from dagy_control.entrypoints.reloading import ConfigMetrics, Reloader
from dagy_control.kernel.clock import SystemClock
from dagy_control.kernel.drain import Drain
from dagy_control.kernel.tasks import background, within
from tests.contract.conftest import CREDENTIALS, Aws
from tests.fakes.clock import VirtualClock

pytestmark = pytest.mark.asyncio(loop_scope="session")

LIFE_S = 300.0
REGION = "us-east-1"
ELSEWHERE = "eu-west-1"


@pytest.fixture
def here(moto: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every client that is opened by this test calls the server."""
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": moto.url, "AWS_REGION": REGION}.items():
        monkeypatch.setenv(name, value)


@pytest_asyncio.fixture(loop_scope="session")
async def admin(here: None) -> AsyncIterator[AwsClients]:
    async with AwsClients(ClientPolicy(region=REGION), services=CONFIG_SERVICES) as clients:
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

    async def resolved(self, text: str, *, afresh: bool = False) -> str | Unresolved:
        return (await self.stores.resolve(references(text), afresh=afresh))[text]


def references(*texts: str, region: str = REGION) -> References:
    found = [parse_reference(text) for text in texts]
    return References(tuple(each for each in found if each is not None), region)


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


async def test_a_secret_of_brackets_only_has_no_keys_and_ends_nobody(bench: Bench) -> None:
    whole = await bench.secret("[" * 5000)
    found = await bench.resolved(f"{whole}#user")
    assert isinstance(found, Unresolved)
    assert "no JSON object" in found.reason


async def test_lookups_that_come_together_share_one_set_of_clients(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[AwsClients] = []
    enter = AwsClients.__aenter__

    async def counted(self: AwsClients) -> AwsClients:
        opened.append(self)
        return await enter(self)

    monkeypatch.setattr(AwsClients, "__aenter__", counted)
    await bench.stores.resolve(references("ssm:/a", "ssm:/b", "secret:c"))
    assert len(opened) == 1


async def test_a_failing_reference_says_why_and_spoils_no_other(bench: Bench) -> None:
    good = await bench.parameter("fine")
    secret = await bench.secret("no JSON: tweet")
    bad = ["ssm:/nowhere", "secret:nobody", f"{secret}#key"]
    found = await bench.stores.resolve(references(good, *bad))
    assert found[good] == "fine"
    reasons = [found[text] for text in bad]
    assert all(isinstance(each, Unresolved) for each in reasons)
    assert "ParameterNotFound" in str(reasons[0])
    assert "ResourceNotFoundException" in str(reasons[1])
    assert "no JSON object" in str(reasons[2])
    assert "tweet" not in str(reasons)
    assert not any(isinstance(each, Unresolved) and each.passing for each in reasons)


async def test_a_value_is_kept_for_a_while_and_then_looked_up_again(bench: Bench) -> None:
    text = await bench.parameter("old")
    assert await bench.resolved(text) == "old"
    await bench.parameter("new")
    await bench.clock.advance(LIFE_S - 1)
    assert await bench.resolved(text) == "old"
    await bench.clock.advance(2)
    assert await bench.resolved(text) == "new"
    await bench.parameter("newest")
    assert await bench.resolved(text, afresh=True) == "newest"


async def test_references_are_looked_up_in_the_region_that_the_configuration_says(bench: Bench, here: None) -> None:
    """Not where AWS_REGION says, which the file goes before; and what was found there is not taken for another region's."""
    here_too = await bench.secret("of the region of AWS_REGION")
    async with AwsClients(ClientPolicy(region=ELSEWHERE), services=CONFIG_SERVICES) as there:
        await there.secrets.create_secret(Name=bench.name, SecretString="subnet-there")
    file = ConfigText("dagy.toml", f'[aws]\nregion = "{ELSEWHERE}"\n[ecs]\nsubnets = "{here_too}"\n'.encode())
    wanted = references_in(file, {"AWS_REGION": REGION})
    assert (await bench.stores.resolve(wanted))[here_too] == "subnet-there"
    assert await bench.resolved(here_too) == "of the region of AWS_REGION"


async def test_a_value_stays_while_aws_cannot_be_asked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = await bench.parameter("old")
    await bench.resolved(text)
    await bench.clock.advance(LIFE_S + 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nobody listens there
    async with ConfigStores(bench.clock) as fresh:
        fresh._known = bench.stores._known
        for _ in range(3):
            assert (await fresh.resolve(references(text)))[text] == "old"
        assert capsys.readouterr().out.count("CONFIG_REFERENCE_STALE") == 1, "asked again after a while only"
        assert (await fresh.resolve(references(text), afresh=True))[text] == "old"
        await bench.clock.advance(REFERENCE_RETRY_S)
        await fresh.resolve(references(text))
        assert capsys.readouterr().out.count("CONFIG_REFERENCE_STALE") == 2
        other = (await fresh.resolve(references("ssm:/other")))["ssm:/other"]
        assert isinstance(other, Unresolved)
        assert "no answer" in other.reason
        assert other.passing


async def test_a_file_is_read_from_ssm_and_from_s3(bench: Bench) -> None:
    text = "[launching]\ninterval_s = 7\n"
    location = await bench.parameter(text)
    assert (await bench.stores.read(location, None)).data == text.encode()
    await bench.admin.s3.create_bucket(Bucket=bench.name)
    await bench.admin.s3.put_object(Bucket=bench.name, Key="conf/dagy.toml", Body=text.encode())
    assert (await bench.stores.read(f"s3://{bench.name}/conf/dagy.toml", REGION)).data == text.encode()


@pytest.mark.parametrize("location", ["ssm:/nowhere", "s3://no-such-bucket-here/dagy.toml", "s3://bucket-only"])
async def test_a_file_that_is_not_there_is_refused_by_its_place(bench: Bench, location: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        await bench.stores.read(location, REGION)
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


class Following:
    """A daemon's reloader over a configuration in AWS; `taken`: the settings that were put into effect."""

    def __init__(self, bench: Bench, location: str, text: ConfigText) -> None:
        self.taken: list[Settings] = []
        self.registry = CollectorRegistry()
        self.reloader = Reloader(
            source_of(location, bench.stores, {}, bench.clock),
            bench.stores.resolve,
            {},
            (load_with_sources(text, {}), text),
            lambda settings: lambda: self.taken.append(settings),
            ConfigMetrics(self.registry),
            bench.clock,
        )

    async def decided(self, bench: Bench, decisions: int) -> None:
        """Let time pass on the clock until so many edits have been taken or refused; AWS answers in its own time."""
        while self.decisions < decisions:
            await bench.clock.advance(REMOTE_POLL_S)
            await SystemClock().sleep(0.05)

    @property
    def decisions(self) -> float:
        results = ("taken", "unchanged", "refused")
        values = [self.registry.get_sample_value("dagy_config_reloads_total", {"result": each}) for each in results]
        return sum(value or 0 for value in values)


async def put_text(bench: Bench, store: str, text: str) -> str:
    """The file with this text; its location."""
    if store == "ssm":
        return await bench.parameter(text)
    with contextlib.suppress(bench.admin.s3.exceptions.BucketAlreadyOwnedByYou):
        await bench.admin.s3.create_bucket(Bucket=bench.name)
    await bench.admin.s3.put_object(Bucket=bench.name, Key="dagy.toml", Body=text.encode())
    return f"s3://{bench.name}/dagy.toml"


@pytest.mark.parametrize("store", ["ssm", "s3"])
async def test_a_daemon_follows_its_configuration_in_aws_by_polling(bench: Bench, store: str) -> None:
    location = await put_text(bench, store, "[launching]\ninterval_s = 1\n")
    following = Following(bench, location, await bench.stores.read(location, REGION))
    drain = Drain()
    async with background(following.reloader.run(drain), name="reloader"):
        for decisions, (edit, said) in enumerate(
            [
                ("[launching]\ninterval_s = 2\n", location),
                ("[launching]\ninterval_s = -2\n", "must be greater than 0"),
                (" \n", "is empty"),
                ("[launching]\ninterval_s = 3\n", location),
            ],
            start=1,
        ):
            await put_text(bench, store, edit)
            await within(SystemClock(), 20, following.decided(bench, decisions), name="a decision about the edit")
            assert said in following.reloader.state()
        drain.begin()
    assert [settings.launching.interval_s for settings in following.taken] == [2.0, 3.0]
