"""Which calls are lean, and with whose credentials they are signed."""

import os

import pytest
from botocore.exceptions import ClientError, NoCredentialsError

from dagy_control.adapters.ecs_reading import LIST_TASKS
from dagy_control.adapters.hot_answers import answered_as
from dagy_control.adapters.lean_client import LeanClient
from dagy_control.adapters.session import AwsClients, ClientPolicy, Service

LEAN = (Service.DYNAMODB, Service.ECS, Service.SQS)
HERE = ClientPolicy(region="us-east-1", connect_timeout_s=1, read_timeout_s=1)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing of the machine's own AWS account, proxies or certificates."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


def give_credentials(environment: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        environment.setenv(name, "test")


async def lean_services() -> list[Service]:
    async with AwsClients(HERE, services=LEAN) as clients:
        found = {
            Service.DYNAMODB: clients.dynamodb,
            Service.ECS: clients.ecs,
            Service.SQS: clients.sqs,
        }
        return [service for service, client in found.items() if isinstance(client, LeanClient)]


async def test_calls_of_the_services_that_speak_json_are_lean(environment: pytest.MonkeyPatch) -> None:
    give_credentials(environment)
    assert await lean_services() == list(LEAN)


async def test_calls_through_a_proxy_are_aiobotocores(environment: pytest.MonkeyPatch) -> None:
    give_credentials(environment)
    environment.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert await lean_services() == []


async def test_calls_to_a_path_below_an_endpoint_are_aiobotocores(environment: pytest.MonkeyPatch) -> None:
    give_credentials(environment)
    environment.setenv("AWS_ENDPOINT_URL_ECS", "http://127.0.0.1:9/ecs")
    assert await lean_services() == [Service.DYNAMODB, Service.SQS]


async def test_without_credentials_nothing_is_sent(environment: pytest.MonkeyPatch) -> None:
    async with AwsClients(HERE, services=(Service.ECS,)) as clients:
        with answered_as(LIST_TASKS), pytest.raises(NoCredentialsError):
            await clients.ecs.list_tasks()
        with pytest.raises(NoCredentialsError):  # as aiobotocore says it
            await clients.ecs.list_clusters()


async def test_what_is_no_operation_is_the_clients_own(environment: pytest.MonkeyPatch) -> None:
    give_credentials(environment)
    async with AwsClients(HERE, services=(Service.ECS,)) as clients:
        assert clients.ecs.meta.region_name == "us-east-1"
        assert issubclass(clients.ecs.exceptions.ClusterNotFoundException, ClientError)
        with pytest.raises(AttributeError):
            _ = clients.ecs.no_such_call  # type: ignore[attr-defined] # that is the point
