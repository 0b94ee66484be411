"""AWS's signature of a JSON request, Signature Version 4. Pure.

Source: "Create a signed AWS API request" in the AWS IAM User Guide. Whoever sends thousands of calls to one place signs them with
one key a day, and their canonical form is always the same but for the body, the time and the operation.
"""

import hashlib
import hmac
from dataclasses import dataclass
from functools import lru_cache

ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What botocore calls frozen credentials; `token` is empty for those of a user."""

    access_key: str
    secret_key: str
    token: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a call goes: the service's signing name, its region, and the `Host` header's value."""

    service: str
    region: str
    host: str


def signed_headers(
    place: Place, credentials: Credentials, *, target: str, content_type: str, body: bytes, at: str
) -> dict[str, str]:
    """The headers of a POST of this body to `/`. `at`: the present second, `20260101T000000Z`."""
    signed = {"content-type": content_type, "host": place.host, "x-amz-date": at}
    if credentials.token:
        signed["x-amz-security-token"] = credentials.token
    signed["x-amz-target"] = target
    names = ";".join(signed)
    lines = "".join([f"{name}:{value}\n" for name, value in signed.items()])
    canonical = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{at[:8]}/{place.region}/{place.service}/aws4_request"
    to_sign = f"{ALGORITHM}\n{at}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = _key(credentials.secret_key, at[:8], place.region, place.service)
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    authorization = (
        f"{ALGORITHM} Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return {**signed, "authorization": authorization}


@lru_cache(maxsize=32)
def _key(secret_key: str, day: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret_key}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
