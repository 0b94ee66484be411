"""`ports.DepPackages`, held to its docstrings over the fake and over DynamoDB."""

from dataclasses import replace
from typing import Any, TypeAlias

import pytest
import pytest_asyncio

from dagy_control.adapters.attributes import UnreadableRecord, to_item
from dagy_control.adapters.dynamo_dep_packages import DynamoDepPackages
from dagy_control.errors import Conflict
from dagy_control.model.dep_packages import DepPackage
from dagy_control.model.tables import DEP_PACKAGES
from tests.builders import NOW, ago
from tests.contract.conftest import Aws
from tests.fakes.dep_packages import FakeDepPackages

pytestmark = pytest.mark.asyncio(loop_scope="session")

AnyPackages: TypeAlias = "FakeDepPackages | DynamoDepPackages"


@pytest_asyncio.fixture(loop_scope="session")
async def packages(store: Aws | None) -> AnyPackages:
    if store is None:
        return FakeDepPackages()
    return DynamoDepPackages(store.clients.dynamodb, store.calls, table=await store.table(DEP_PACKAGES))


def a_package(slug: str = "pandas-2", sha256: str = "a" * 64, **values: Any) -> DepPackage:
    return DepPackage(
        **{"slug": slug, "package_s3_uri": "s3://b/k.zip", "sha256": sha256, "size": 7, "added_at": NOW, **values}
    )


async def test_a_package_survives_the_store(packages: AnyPackages) -> None:
    for package in (a_package(), a_package("acme/own", added_at=None)):
        await packages.put(package)
        assert await packages.get(package.slug) == package
    assert await packages.get("own") is None


async def test_the_same_content_again_is_a_success(packages: AnyPackages) -> None:
    await packages.put(a_package())
    later = a_package(added_at=ago(-60), package_s3_uri="s3://b/other.zip")
    await packages.put(later)
    assert await packages.get("pandas-2") == later


async def test_another_content_is_refused_with_the_one_that_is_there_unless_it_is_to_be_replaced(
    packages: AnyPackages,
) -> None:
    await packages.put(a_package())
    other = a_package(sha256="b" * 64)
    with pytest.raises(Conflict) as refused:
        await packages.put(other)
    assert refused.value.current == a_package()
    assert await packages.get("pandas-2") == a_package()
    await packages.put(other, replace=True)
    assert await packages.get("pandas-2") == other


async def test_all_packages_come_by_slug(packages: AnyPackages) -> None:
    for slug in ("b", "acme/a", "c"):
        await packages.put(a_package(slug))
    assert [each.slug for each in await packages.all()] == ["acme/a", "b", "c"]


async def test_a_table_of_many_pages_is_listed_whole(aws: Aws) -> None:
    table = await aws.table(DEP_PACKAGES)
    packages = DynamoDepPackages(aws.clients.dynamodb, aws.calls, table=table)
    for number in range(4):
        await packages.put(a_package(f"p{number}", package_s3_uri="s3://b/" + "k" * 350_000))
    assert [each.slug for each in await packages.all()] == ["p0", "p1", "p2", "p3"]


@pytest.mark.parametrize("lacking", ["sha256", "size", "package_s3_uri"])
async def test_a_record_without_what_a_worker_must_check_is_refused_by_name(aws: Aws, lacking: str) -> None:
    table = await aws.table(DEP_PACKAGES)
    item = {"slug": "old", "package_s3_uri": "s3://b/k.zip", "sha256": "a" * 64, "size": 7}
    await aws.put_item(table, to_item({name: value for name, value in item.items() if name != lacking}))
    packages = DynamoDepPackages(aws.clients.dynamodb, aws.calls, table=table)
    with pytest.raises(UnreadableRecord, match=f"it has no {lacking}; add the package again"):
        await packages.get("old")
    await packages.put(a_package())
    assert await packages.all() == [a_package()]


async def test_a_record_written_by_hand_needs_no_time(aws: Aws) -> None:
    table = await aws.table(DEP_PACKAGES)
    await aws.put_item(table, to_item({"slug": "old", "package_s3_uri": "s3://b/k.zip", "sha256": "a", "size": "7"}))
    found = await DynamoDepPackages(aws.clients.dynamodb, aws.calls, table=table).get("old")
    assert found == replace(a_package("old"), sha256="a", added_at=None)
