"""Dependency packages: stored, recorded under a slug, and named by deployments."""

import hashlib
import re
from collections.abc import Iterable

from dagy_control.errors import Conflict
from dagy_control.kernel.clock import Clock
from dagy_control.model.dep_packages import SLUG, DepPackage, may_use, owner_of
from dagy_control.model.flows import nearest
from dagy_control.ports.dep_packages import DepPackages
from dagy_control.ports.flows import Artifacts
from dagy_control.requests.refusals import RequestRefused

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+!-]{0,199}")
"""It becomes a part of the object's key, and must stay: a wheel says by its name what it fits."""
SLUGS_MAX = 20


async def add_package(
    packages: DepPackages,
    artifacts: Artifacts,
    clock: Clock,
    *,
    slug: str,
    file_name: str,
    content: bytes,
    prefix: str,
    replace: bool = False,
) -> DepPackage:
    """The recorded package. Its key holds its sha256, so that runs under way keep what they have begun with.

    Raises `RequestRefused` for a bad name, and when the slug has another content, unless that is to be replaced.
    """
    check_slug(slug)
    if not FILE_NAME.fullmatch(file_name):
        raise RequestRefused("file", f"the file name {file_name!r} must have 1 to 200 of A-Z a-z 0-9 _ . + ! -")
    digest = hashlib.sha256(content).hexdigest()
    known = await packages.get(slug)
    if known is not None and known.sha256 != digest and not replace:
        raise _taken(slug)
    package = DepPackage(
        slug=slug,
        package_s3_uri=await artifacts.upload(f"{prefix}{slug}/{digest}/{file_name}", content),
        sha256=digest,
        size=len(content),
        added_at=clock.now(),
    )
    try:
        await packages.put(package, replace=replace)
    except Conflict as conflict:
        raise _taken(slug) from conflict
    return package


async def check_slugs(packages: DepPackages, org_id: str, slugs: Iterable[str]) -> None:
    """Raise `RequestRefused` unless each slug names a package, once, that the organisation's runs may use."""
    named = list(slugs)
    if len(named) > SLUGS_MAX:
        raise _refused(f"{len(named)} dependency packages, more than {SLUGS_MAX}; put them into fewer packages")
    for slug in named:
        check_slug(slug)
        if not may_use(org_id, slug):
            raise _refused(
                f"dependency package {slug!r} belongs to organisation {owner_of(slug)!r}, not to {org_id!r}; add one of your own"
            )
        if named.count(slug) > 1:
            raise _refused(f"dependency package {slug!r} is named twice")
        if await packages.get(slug) is None:
            known = [each.slug for each in await packages.all() if may_use(org_id, each.slug)]
            hint = nearest(slug, known) or "; add it first, or see `packages list`"
            raise _refused(f"there is no dependency package {slug!r}{hint}")


def check_slug(slug: str) -> None:
    """Refuse what cannot be a part of an object's key."""
    if not SLUG.fullmatch(slug):
        raise _refused(
            f"the slug {slug!r} must be a name, or ORGANISATION/NAME, each of 1 to 64 of the characters A-Z a-z 0-9 _ . -, "
            "beginning with a letter or digit"
        )


def _taken(slug: str) -> RequestRefused:
    return _refused(
        f"dependency package {slug!r} exists with another content; take another slug, or replace it for every deployment that names it"
    )


def _refused(message: str) -> RequestRefused:
    return RequestRefused("dep_package_slugs", message)
