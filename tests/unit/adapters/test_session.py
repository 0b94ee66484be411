"""How clients are made: endpoints, timeouts, no retries."""

import os
from collections.abc import Iterator

import pytest

from dagy_control.adapters.session import AwsClients, ClientPolicy, Service, client_config

NOBODY = "http://127.0.0.1:9"  # the discard port: nothing is ever sent to it here


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Nothing of the machine's own AWS account."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    return monkeypatch


async def test_every_client_honours_the_endpoint_variables(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AWS_ENDPOINT_URL", NOBODY)
    environment.setenv("AWS_ENDPOINT_URL_ECS", f"{NOBODY}1")
    async with AwsClients(ClientPolicy(region="eu-west-1")) as clients:
        endpoints = [client.meta.endpoint_url for client in (clients.dynamodb, clients.ecs, clients.s3, clients.sqs)]
        regions = {client.meta.region_name for client in (clients.dynamodb, clients.ecs, clients.s3, clients.sqs)}
    assert endpoints == [NOBODY, f"{NOBODY}1", NOBODY, NOBODY]
    assert regions == {"eu-west-1"}


async def test_without_endpoint_variables_the_clients_go_to_aws(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AWS_REGION", "eu-central-1")
    async with AwsClients(ClientPolicy(), services=(Service.ECS,)) as clients:
        assert clients.ecs.meta.endpoint_url == "https://ecs.eu-central-1.amazonaws.com"


async def test_a_client_that_was_not_asked_for_is_not_there(environment: pytest.MonkeyPatch) -> None:
    clients = AwsClients(ClientPolicy(region="us-east-1"), services=(Service.DYNAMODB,))
    async with clients:
        assert clients.dynamodb.meta.region_name == "us-east-1"
        with pytest.raises(RuntimeError, match="no s3 client"):
            _ = clients.s3
    with pytest.raises(RuntimeError, match="no dynamodb client"):
        _ = clients.dynamodb


@pytest.mark.parametrize(("service", "read_timeout_s"), [(Service.ECS, 7), (Service.SQS, 27)], ids=str)
def test_timeouts_are_explicit_and_botocore_never_retries(
    environment: pytest.MonkeyPatch, service: Service, read_timeout_s: float
) -> None:
    config = client_config(ClientPolicy(connect_timeout_s=2, read_timeout_s=7, max_connections=11), service)
    assert (config.connect_timeout, config.read_timeout, config.max_pool_connections) == (2, read_timeout_s, 11)
    assert config.retries == {"total_max_attempts": 1, "mode": "standard"}


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_buckets_are_addressed_by_path_at_an_endpoint_of_ones_own(environment: pytest.MonkeyPatch, name: str) -> None:
    assert client_config(ClientPolicy(), Service.S3).s3 is None
    environment.setenv(name, NOBODY)
    assert client_config(ClientPolicy(), Service.S3).s3 == {"addressing_style": "path"}
