"""`ports.Artifacts` and `ports.Results` on S3.

Without s3:ListBucket S3 answers 403, not 404, for an object that is not there (S3 API Reference, GetObject): roles need it,
or a missing object is `Permanent` instead of `Gone`.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

from dagy_control.adapters.calls import AwsCalls, CallNamer
from dagy_control.errors import Gone, Permanent
from dagy_control.model.runs import FailureClass, ResultStatus, WorkerResult
from dagy_control.model.tasks import short_id

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

RESULT_MAX_BYTES = 64 * 1024
CHUNK_BYTES = 256 * 1024


class S3Artifacts:
    """Artifacts in one bucket; downloads take any `s3://` URI that the role may read."""

    def __init__(self, client: "S3Client", calls: AwsCalls, *, bucket: str) -> None:
        self._client = client
        self._call = calls.of("s3")
        self._bucket = bucket

    async def upload(self, key: str, content: bytes) -> str:
        """PutObject; S3 checks the body by a checksum that botocore adds."""
        with self._call("PutObject"):
            await self._client.put_object(Bucket=self._bucket, Key=key, Body=content)
        return f"s3://{self._bucket}/{key}"

    async def download(self, uri: str, target: Path, *, max_bytes: int) -> str:
        """GetObject, read in pieces and never further than `max_bytes`. Writes what came so far also when it fails."""
        parts = urlsplit(uri)
        key = parts.path.removeprefix("/")
        if parts.scheme != "s3" or not parts.netloc or not key or parts.query or parts.fragment:
            raise Permanent(f"{uri!r} is no s3://bucket/key URI", code="InvalidUri")
        digest, size = hashlib.sha256(), 0
        with _opened(target) as out, self._call("GetObject"):
            answer = await self._client.get_object(Bucket=parts.netloc, Key=key)
            body = answer["Body"]
            async with body:  # gives the bare response, whose read() takes no size
                while size <= max_bytes and (chunk := await body.read(CHUNK_BYTES)):
                    size += len(chunk)
                    digest.update(chunk)
                    _write(out, chunk, target)
        if size > max_bytes:
            raise Permanent(f"{uri} is larger than the {max_bytes} bytes allowed", code="TooLarge")
        return digest.hexdigest()


class S3Results:
    """Result objects, `{prefix}{run_id}/{attempt}/{task id}.json` in one bucket."""

    def __init__(self, client: "S3Client", calls: AwsCalls, *, bucket: str, prefix: str) -> None:
        self._client = client
        self._call = calls.of("s3")
        self._bucket = bucket
        self._prefix = prefix

    async def put(self, run_id: str, task_arn: str, result: WorkerResult) -> None:
        """PutObject of a small JSON document."""
        document = {
            "run_id": run_id,
            "task_arn": task_arn,
            "attempt": result.attempt,
            "status": result.status,
            "message": result.message,
            "failure_class": result.failure_class,
            "exit_code": result.exit_code,
        }
        body = json.dumps(document).encode()
        key = self._key(run_id, result.attempt, task_arn)
        with self._call("PutObject"):
            await self._client.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType="application/json")

    async def get(self, run_id: str, attempt: int, task_arn: str) -> WorkerResult | None:
        """GetObject. An object that cannot be understood raises `Permanent`: undecided, not lost."""
        key = self._key(run_id, attempt, task_arn)
        try:
            content = await _read(self._client, self._call, self._bucket, key, max_bytes=RESULT_MAX_BYTES)
        except Gone:
            return None
        try:
            return _result(content)
        except (ValueError, KeyError, TypeError) as error:
            raise Permanent(f"result object {key} cannot be read: {error}", code="UnreadableRecord") from error

    def _key(self, run_id: str, attempt: int, task_arn: str) -> str:
        return f"{self._prefix}{run_id}/{attempt}/{short_id(task_arn)}.json"


def _result(content: bytes) -> WorkerResult:
    document = json.loads(content)
    if not isinstance(document, dict):
        raise TypeError("it is not a JSON object")
    failure_class = document.get("failure_class")
    exit_code = document.get("exit_code")
    return WorkerResult(
        status=ResultStatus(document["status"]),
        attempt=int(document["attempt"]),
        message=str(document.get("message") or ""),
        failure_class=None if failure_class is None else FailureClass(failure_class),
        exit_code=None if exit_code is None else int(exit_code),
    )


async def _read(client: "S3Client", call: CallNamer, bucket: str, key: str, *, max_bytes: int) -> bytes:
    with call("GetObject"):
        answer = await client.get_object(Bucket=bucket, Key=key)
        body = answer["Body"]
        async with body:  # gives the bare response, whose read() takes no size
            content = bytearray()
            while len(content) <= max_bytes and (chunk := await body.read(CHUNK_BYTES)):
                content += chunk
    if len(content) > max_bytes:
        raise Permanent(f"s3://{bucket}/{key} is larger than the {max_bytes} bytes allowed", code="TooLarge")
    return bytes(content)


@contextmanager
def _opened(target: Path) -> Iterator[IO[bytes]]:
    """For writing. Of a small artifact the disk hears when the file is closed: that may fail too, and again after a failed write."""
    try:
        with target.open("wb") as out:
            yield out
    except OSError as error:
        raise _unwritable(target, error) from error


def _write(out: IO[bytes], chunk: bytes, target: Path) -> None:
    """Our disk's trouble is not S3's: inside the call it would be taken for a lost connection, and tried again."""
    try:
        out.write(chunk)
    except OSError as error:
        raise _unwritable(target, error) from error


def _unwritable(target: Path, error: OSError) -> Permanent:
    return Permanent(f"{target} cannot be written: {error.strerror or error}", code="DiskFull")
