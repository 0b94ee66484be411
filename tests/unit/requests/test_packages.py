"""Dependency packages as they are added: whose they are, where they lie, and that a slug's content does not change by accident."""

import hashlib
from typing import Any

import pytest

from dagy_control.model.dep_packages import DepPackage, may_use
from dagy_control.requests.packages import add_package
from dagy_control.requests.refusals import RequestRefused
from tests.builders import NOW
from tests.fakes.clock import VirtualClock
from tests.fakes.dep_packages import FakeDepPackages
from tests.fakes.flows import FakeArtifacts


class World:
    def __init__(self) -> None:
        self.packages = FakeDepPackages()
        self.artifacts = FakeArtifacts()

    async def add(self, slug: str = "pandas-2", content: bytes = b"zip", **values: Any) -> DepPackage:
        given: dict[str, Any] = {"file_name": "pandas.zip", "prefix": "dep-packages/", **values}
        return await add_package(self.packages, self.artifacts, VirtualClock(), slug=slug, content=content, **given)


@pytest.mark.parametrize("slug", ["pandas-2", "acme/own.libs"])
async def test_a_package_is_stored_under_its_digest_and_recorded_under_its_slug(slug: str) -> None:
    world = World()
    package = await world.add(slug)
    digest = hashlib.sha256(b"zip").hexdigest()
    uri = f"s3://dagy-artifacts/dep-packages/{slug}/{digest}/pandas.zip"
    assert package == DepPackage(slug=slug, package_s3_uri=uri, sha256=digest, size=3, added_at=NOW)
    assert world.packages.records == {slug: package}
    assert world.artifacts.objects == {uri: b"zip"}


async def test_adding_the_same_again_changes_nothing_but_the_time() -> None:
    world = World()
    assert await world.add() == await world.add()


async def test_another_content_under_a_slug_is_refused_unless_it_is_to_be_replaced() -> None:
    world = World()
    first = await world.add()
    with pytest.raises(RequestRefused, match="another content"):
        await world.add(content=b"other")
    assert world.packages.records == {"pandas-2": first}
    second = await world.add(content=b"other", replace=True)
    assert world.packages.records == {"pandas-2": second}
    assert first.package_s3_uri in world.artifacts.objects, "runs under way read it"


async def test_another_content_that_comes_at_the_same_moment_is_refused_too() -> None:
    world = World()
    other = World()
    await other.add(content=b"other")

    async def nobody(_: str) -> None:
        return None

    world.packages.records = other.packages.records
    world.packages.get = nobody  # type: ignore[method-assign]  # the one stale read that the race needs
    with pytest.raises(RequestRefused, match="another content"):
        await world.add()


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"slug": ""}, "dep_package_slugs"),
        ({"slug": "../x"}, "dep_package_slugs"),
        ({"slug": "a/b/c"}, "dep_package_slugs"),
        ({"slug": "/a"}, "dep_package_slugs"),
        ({"slug": "a b"}, "dep_package_slugs"),
        ({"slug": "x" * 65}, "dep_package_slugs"),
        ({"file_name": "../x.zip"}, "file"),
        ({"file_name": ""}, "file"),
        ({"file_name": "a b.zip"}, "file"),
    ],
)
async def test_a_name_that_cannot_be_a_part_of_a_key_is_refused(values: dict[str, Any], field: str) -> None:
    world = World()
    with pytest.raises(RequestRefused) as refused:
        await world.add(**values)
    assert refused.value.field == field
    assert world.artifacts.objects == world.packages.records == {}


@pytest.mark.parametrize(
    ("org_id", "slug", "may"),
    [("acme", "shared", True), ("acme", "acme/own", True), ("globex", "acme/own", False), ("ac", "acme/own", False)],
)
def test_a_shared_package_is_everybodys_and_an_owned_one_its_owners(org_id: str, slug: str, may: bool) -> None:
    assert may_use(org_id, slug) is may
