"""`ports.Artifacts` and `ports.Results`, held to their docstrings over the fakes and over S3."""

import hashlib
from pathlib import Path
from typing import TypeAlias

import pytest
import pytest_asyncio

from dagy_control.adapters.bucket_admin import ensure_bucket
from dagy_control.adapters.s3_artifacts import CHUNK_BYTES, S3Artifacts, S3Results
from dagy_control.errors import Gone, Permanent
from dagy_control.model.runs import FailureClass, ResultStatus, WorkerResult
from tests.builders import ARN, OTHER_ARN
from tests.contract.conftest import Aws
from tests.fakes.flows import FakeArtifacts, FakeResults

pytestmark = pytest.mark.asyncio(loop_scope="session")

BUCKET = "dagy-contract"

AnyArtifacts: TypeAlias = "FakeArtifacts | S3Artifacts"
AnyResults: TypeAlias = "FakeResults | S3Results"


@pytest_asyncio.fixture(loop_scope="session")
async def artifacts(store: Aws | None) -> AnyArtifacts:
    if store is None:
        return FakeArtifacts(BUCKET)
    await ensure_bucket(store.clients.s3, store.calls, BUCKET)
    return S3Artifacts(store.clients.s3, store.calls, bucket=BUCKET)


@pytest_asyncio.fixture(loop_scope="session")
async def results(store: Aws | None) -> AnyResults:
    if store is None:
        return FakeResults()
    await ensure_bucket(store.clients.s3, store.calls, BUCKET)
    return S3Results(store.clients.s3, store.calls, bucket=BUCKET, prefix="results/")


CONTENT = bytes(range(256)) * 4096


async def test_an_artifact_comes_back_from_the_uri_that_its_upload_gave(
    artifacts: AnyArtifacts, tmp_path: Path
) -> None:
    uri = await artifacts.upload("artifacts/acme/etl 1+.zip", CONTENT)
    assert uri == f"s3://{BUCKET}/artifacts/acme/etl 1+.zip"
    assert await artifacts.upload("artifacts/acme/etl 1+.zip", CONTENT) == uri
    target = tmp_path / "here"
    target.write_bytes(b"what an earlier try had left, which was longer" * 100_000)
    digest = await artifacts.download(uri, target, max_bytes=len(CONTENT))
    assert digest == hashlib.sha256(CONTENT).hexdigest()
    assert target.read_bytes() == CONTENT


async def test_a_larger_artifact_than_allowed_is_refused(artifacts: AnyArtifacts, tmp_path: Path) -> None:
    uri = await artifacts.upload("large", CONTENT)
    with pytest.raises(Permanent, match=f"the {len(CONTENT) - 1} "):
        await artifacts.download(uri, tmp_path / "here", max_bytes=len(CONTENT) - 1)


async def test_an_empty_artifact_is_an_artifact(artifacts: AnyArtifacts, tmp_path: Path) -> None:
    uri = await artifacts.upload("empty", b"")
    assert await artifacts.download(uri, tmp_path / "here", max_bytes=10) == hashlib.sha256(b"").hexdigest()
    assert (tmp_path / "here").read_bytes() == b""


async def test_an_artifact_that_is_not_there_is_gone(artifacts: AnyArtifacts, tmp_path: Path) -> None:
    with pytest.raises(Gone, match="NoSuchKey"):
        await artifacts.download(f"s3://{BUCKET}/nothing", tmp_path / "here", max_bytes=10)


async def test_what_is_no_s3_uri_is_refused(artifacts: AnyArtifacts, tmp_path: Path) -> None:
    with pytest.raises(Permanent):
        await artifacts.download("file:///etc/passwd", tmp_path / "here", max_bytes=10)


@pytest.mark.parametrize("target", ["not/there", ".", "/dev/full"], ids=["no folder", "a folder", "full"])
async def test_a_disk_that_cannot_be_written_is_not_taken_for_a_lost_answer(
    aws: Aws, tmp_path: Path, target: str
) -> None:
    await ensure_bucket(aws.clients.s3, aws.calls, BUCKET)
    artifacts = S3Artifacts(aws.clients.s3, aws.calls, bucket=BUCKET)
    for key, content in (("small", b"x"), ("large", b"x" * CHUNK_BYTES)):
        uri = await artifacts.upload(key, content)
        with pytest.raises(Permanent) as refused:
            await artifacts.download(uri, tmp_path / target, max_bytes=CHUNK_BYTES)
        assert refused.value.code == "DiskFull"


@pytest.mark.parametrize(
    "word",
    [
        WorkerResult(status=ResultStatus.SUCCEEDED, attempt=1),
        WorkerResult(
            status=ResultStatus.FAILED,
            attempt=2,
            message="no memory",
            failure_class=FailureClass.OUT_OF_MEMORY,
            exit_code=137,
        ),
    ],
    ids=lambda word: word.status,
)
async def test_a_result_comes_back_to_its_run_attempt_and_task_only(results: AnyResults, word: WorkerResult) -> None:
    run_id = f"run-{word.status}"
    await results.put(run_id, ARN, word)
    await results.put(run_id, ARN, word)
    assert await results.get(run_id, word.attempt, ARN) == word
    assert await results.get(run_id, word.attempt, OTHER_ARN) is None
    assert await results.get(run_id, word.attempt + 1, ARN) is None
    assert await results.get("other", word.attempt, ARN) is None


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b'{"status": "DONE", "attempt": 1}'], ids=repr)
async def test_an_unreadable_result_raises_rather_than_being_none(aws: Aws, body: bytes) -> None:
    await ensure_bucket(aws.clients.s3, aws.calls, BUCKET)
    await aws.clients.s3.put_object(Bucket=BUCKET, Key="results/unreadable/1/aaaa.json", Body=body)
    results = S3Results(aws.clients.s3, aws.calls, bucket=BUCKET, prefix="results/")
    with pytest.raises(Permanent) as refused:
        await results.get("unreadable", 1, ARN)
    assert refused.value.code == "UnreadableRecord"


async def test_a_missing_bucket_is_no_missing_result(aws: Aws) -> None:
    results = S3Results(aws.clients.s3, aws.calls, bucket="no-such-bucket-here", prefix="results/")
    with pytest.raises(Permanent) as refused:
        await results.get("r1", 1, ARN)
    assert refused.value.code == "NoSuchBucket"
