"""A dependency package: libraries that runs take beside their flow's artifact, under a slug."""

import re
from dataclasses import dataclass
from datetime import datetime

SLUG = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9_.-]{0,63}/)?[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""`name`, which every organisation may use, or `organisation/name`, which only that one may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DepPackage:
    """One package, as DAGY_DEP_PACKAGES holds it. It is trusted only with this sha256 (hex) and size (bytes)."""

    slug: str
    package_s3_uri: str
    sha256: str
    size: int
    added_at: datetime | None = None


def owner_of(slug: str) -> str | None:
    """The organisation that a slug belongs to; None for one that all share."""
    owner, slash, _ = slug.rpartition("/")
    return owner if slash else None


def may_use(org_id: str, slug: str) -> bool:
    """Whether an organisation's runs may take the package."""
    return owner_of(slug) in (None, org_id)
