"""`ports.Deployments`, held to its docstrings over the fake and over DynamoDB."""

from dataclasses import fields, replace
from typing import Any, TypeAlias

import pytest
import pytest_asyncio

from dagy_control.adapters.attributes import UnreadableRecord, to_item
from dagy_control.adapters.dynamo_deployments import DynamoDeployments
from dagy_control.errors import Permanent
from dagy_control.model.deployments import Deployment
from dagy_control.model.tables import DEPLOYMENTS
from tests.builders import NOW, ago
from tests.contract.conftest import Aws
from tests.fakes.deployments import FakeDeployments

pytestmark = pytest.mark.asyncio(loop_scope="session")

AnyDeployments: TypeAlias = "FakeDeployments | DynamoDeployments"


@pytest_asyncio.fixture(loop_scope="session")
async def deployments(store: Aws | None) -> AnyDeployments:
    if store is None:
        return FakeDeployments()
    return DynamoDeployments(store.clients.dynamodb, store.calls, table=await store.table(DEPLOYMENTS))


def a_deployment(name: str = "nightly", **values: Any) -> Deployment:
    return Deployment(**{"org_id": "acme", "deployment_name": name, "flow_name": "etl", "updated_at": NOW, **values})


FULL = a_deployment(
    flow_version="1.2",
    parameters={"day": "monday", "n": 1.5, "deep": [{"a": None, "b": [True, ""]}]},
    dep_package_slugs=("pandas-2", "numpy-1"),
    workload_profile="small",
    cpu=256,
    memory=512,
    ephemeral_storage_gib=21,
    environment={"A": "1", "EMPTY": ""},
    priority=-3,
    max_attempts=4,
)


async def test_every_attribute_survives_the_store(deployments: AnyDeployments) -> None:
    assert not [each.name for each in fields(FULL) if getattr(FULL, each.name) in (None, {}, ())], "all are named"
    await deployments.put(FULL)
    assert await deployments.get("acme", "nightly") == FULL


async def test_what_is_left_open_stays_open(deployments: AnyDeployments) -> None:
    await deployments.put(a_deployment())
    assert await deployments.get("acme", "nightly") == a_deployment()
    assert await deployments.get("acme", "weekly") is None
    assert await deployments.get("other", "nightly") is None


async def test_a_later_write_replaces_all_of_an_earlier_one(deployments: AnyDeployments) -> None:
    await deployments.put(FULL)
    await deployments.put(a_deployment(updated_at=ago(1)))
    assert await deployments.get("acme", "nightly") == a_deployment(updated_at=ago(1))


async def test_a_deleted_one_is_gone_and_deleting_it_again_a_success(deployments: AnyDeployments) -> None:
    await deployments.put(FULL)
    await deployments.put(replace(FULL, org_id="other"))
    for _ in range(2):
        await deployments.delete("acme", "nightly")
    assert await deployments.get("acme", "nightly") is None
    assert await deployments.get("other", "nightly") == replace(FULL, org_id="other")


async def test_an_organisation_sees_its_own_by_name(deployments: AnyDeployments) -> None:
    for name in ("b", "a", "c-1"):
        await deployments.put(a_deployment(name))
    await deployments.put(a_deployment(org_id="acmex"))
    assert [each.deployment_name for each in await deployments.of_org("acme")] == ["a", "b", "c-1"]
    assert list(await deployments.of_org("nobody")) == []


async def test_one_beyond_the_size_of_an_item_is_refused_by_name(aws: Aws) -> None:
    adapter = DynamoDeployments(aws.clients.dynamodb, aws.calls, table=await aws.table(DEPLOYMENTS))
    with pytest.raises(Permanent, match=r"acme#nightly.*parameters"):
        await adapter.put(a_deployment(parameters={"x": "y" * 450_000}))


@pytest.mark.parametrize(
    "item",
    [
        pytest.param({"org_id": "acme", "deployment_name": "d"}, id="no flow"),
        pytest.param({"org_id": "acme", "deployment_name": "d", "flow_name": "etl", "parameters": "[]"}, id="a list"),
        pytest.param({"org_id": "acme", "deployment_name": "d", "flow_name": "etl", "memory": "much"}, id="no number"),
        pytest.param(
            {
                "org_id": "acme",
                "deployment_name": "d",
                "flow_name": "etl",
                "updated_at": "2026-01-02",
                "dep_package_slugs": "base",
            },
            id="one slug, no list",
        ),
    ],
)
async def test_a_record_that_is_none_is_named_and_hides_no_other(aws: Aws, item: dict[str, Any]) -> None:
    table = await aws.table(DEPLOYMENTS)
    adapter = DynamoDeployments(aws.clients.dynamodb, aws.calls, table=table)
    await adapter.put(a_deployment())
    await aws.put_item(table, to_item({"deployment_key": "acme#d", **item}))
    with pytest.raises(UnreadableRecord, match="acme#d"):
        await adapter.get("acme", "d")
    assert list(await adapter.of_org("acme")) == [a_deployment()]
