"""What an organisation's name may be. Pure."""

import re

from dagy_control.requests.refusals import RequestRefused

ORG_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def check_org_id(org_id: str) -> None:
    """Refuse what cannot be a part of keys, object names and task tags."""
    if not ORG_ID.fullmatch(org_id):
        raise RequestRefused(
            "org_id",
            f"the organisation {org_id!r} must have 1 to 64 of the characters A-Z a-z 0-9 _ . - and begin with a letter or digit",
        )
