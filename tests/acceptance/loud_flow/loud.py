"""A flow that tells its secrets, as a driver's error message does that quotes the whole connection."""

import os

from dagy_control.sdk import flow, task


@task
def connect(credentials: dict[str, str], link: str) -> str:
    """Fail with what it was given."""
    raise ConnectionError(f"login with {os.environ['DB_PASSWORD']} and {credentials['api_token']} failed at {link}")


@flow(version="1")
def loud(credentials: dict[str, str], link: str = "nowhere") -> str:
    """Fail."""
    return connect(credentials, link)
