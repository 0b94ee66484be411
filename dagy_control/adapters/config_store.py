"""Where a configuration may stand outside of the process: SSM parameters, secrets, and S3 objects."""

import json
from typing import TYPE_CHECKING, Any

from dagy_control.adapters.calls import AwsCalls
from dagy_control.errors import Gone, Permanent

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_secretsmanager import SecretsManagerClient
    from types_aiobotocore_ssm import SSMClient

FILE_MAX_BYTES = 1024 * 1024
"""Of a configuration in S3: a hundred times what one with every setting has."""


class SsmParameters:
    """Parameter Store: a SecureString is decrypted, for which the role needs its key."""

    def __init__(self, client: "SSMClient", calls: AwsCalls) -> None:
        self._client = client
        self._call = calls.of("ssm")

    async def get(self, name: str) -> str:
        """The parameter's value. Raises `Permanent`, or `Transient` when it cannot be had now."""
        with self._call("GetParameter"):
            answer = await self._client.get_parameter(Name=name, WithDecryption=True)
        return answer["Parameter"]["Value"]


class Secrets:
    """Secrets Manager, the current version of a secret."""

    def __init__(self, client: "SecretsManagerClient", calls: AwsCalls) -> None:
        self._client = client
        self._call = calls.of("secretsmanager")

    async def get(self, secret_id: str, key: str = "") -> str:
        """The secret's text, or one key of a secret that is a JSON object. Raises `Permanent` or `Transient`; never with its text."""
        with self._call("GetSecretValue"):
            answer = await self._client.get_secret_value(SecretId=secret_id)
        text = answer.get("SecretString")
        if text is None:
            raise Permanent("the secret is binary; store it as text")
        return _member(text, key) if key else text


class S3Files:
    """Configuration files in S3."""

    def __init__(self, client: "S3Client", calls: AwsCalls) -> None:
        self._client = client
        self._call = calls.of("s3")

    async def get(self, bucket: str, key: str) -> bytes:
        """The object. Raises `Gone`, `Permanent` (too large, not allowed) or `Transient`."""
        with self._call("GetObject"):
            answer = await self._client.get_object(Bucket=bucket, Key=key, Range=f"bytes=0-{FILE_MAX_BYTES}")
            async with answer["Body"] as body:
                data: bytes = await body.read()
        if len(data) > FILE_MAX_BYTES:
            raise Permanent(f"it is larger than {FILE_MAX_BYTES:,} bytes")
        if not data:
            raise Gone("it is empty")
        return data


def _member(text: str, key: str) -> str:
    try:
        members: Any = json.loads(text)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict):
        raise Permanent(f"the secret is no JSON object, so it has no key {key!r}")
    if key not in members:
        raise Permanent(f"the secret has no key {key!r}")
    value = members[key]
    return value if isinstance(value, str) else json.dumps(value)
