"""Every error of a call to AWS becomes one of ours, by what the caller should do about it."""

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from botocore import exceptions as aws
from botocore.parsers import ResponseParserError

from dagy_control.adapters.calls import TELL_AGAIN_S, AwsCalls, note_request_id, translated
from dagy_control.errors import Conflict, DagyError, Gone, Permanent, Transient
from dagy_control.kernel.about import about
from dagy_control.kernel.telemetry import configure_logging
from tests.builders import a_run
from tests.fakes.clock import VirtualClock


def refused(code: str, message: str = "no", *, status: int = 400, headers: Any = None, **extra: Any) -> aws.ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers or {}},
        **extra,
    }
    return aws.ClientError(response, "RunTask")


@pytest.mark.parametrize(
    "error",
    [
        refused("ThrottlingException", "Rate exceeded"),
        refused("ProvisionedThroughputExceededException"),
        refused("RequestLimitExceeded"),
        refused("TooManyRequestsException", status=429),
        refused("SlowDown", status=503),
        refused("InvalidParameterException", "Throttling: rate exceeded for this cluster"),
    ],
    ids=lambda error: error.response["Error"]["Code"],
)
def test_a_throttle_is_transient_and_was_not_applied(error: Exception) -> None:
    ours = translated(error, "ecs RunTask")
    assert isinstance(ours, Transient)
    assert ours.throttled


@pytest.mark.parametrize(
    "error",
    [
        refused("ServerException", status=500),
        refused("AnythingAtAll", status=502),
        refused("InternalServerError", status=400),
        refused("ExpiredTokenException"),
        refused("UnrecognizedClientException"),
        refused("InvalidSignatureException", "Signature expired: 20260101T000000Z is now earlier than …"),
        refused("SignatureDoesNotMatch", status=403),
        refused("InvalidAccessKeyId", status=403),
        refused("IncompleteSignatureException"),
        refused("MissingAuthenticationTokenException"),
        aws.ReadTimeoutError(endpoint_url="u"),
        aws.ConnectTimeoutError(endpoint_url="u"),
        aws.EndpointConnectionError(endpoint_url="u"),
        aws.ConnectionClosedError(endpoint_url="u"),
        aws.ResponseStreamingError(error="e"),
        aws.CredentialRetrievalError(provider="p", error_msg="m"),
        aws.NoCredentialsError(),
        aws.PartialCredentialsError(provider="p", cred_var="v"),
        aws.UnauthorizedSSOTokenError(),
        aws.TokenRetrievalError(provider="p", error_msg="m"),
        ResponseParserError("a proxy's page"),
        aiohttp.ClientPayloadError("cut"),
        TimeoutError(),
        ConnectionResetError(),
    ],
    ids=repr,
)
def test_no_usable_answer_is_transient_with_an_unknown_outcome(error: Exception) -> None:
    ours = translated(error, "ecs RunTask")
    assert isinstance(ours, Transient)
    assert not ours.throttled


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (refused("InvalidParameterException", "bad subnet"), "InvalidParameterException"),
        (refused("AccessDeniedException"), "AccessDeniedException"),
        (refused("ResourceNotFoundException"), "ResourceNotFoundException"),
        (refused("NoSuchBucket", status=404), "NoSuchBucket"),
        (aws.ParamValidationError(report="r"), "ParamValidationError"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_refusal_is_permanent_and_keeps_its_code(error: Exception, code: str) -> None:
    ours = translated(error, "ecs RunTask")
    assert isinstance(ours, Permanent)
    assert ours.code == code


@pytest.mark.parametrize("error", [aws.NoCredentialsError(), aws.UnauthorizedSSOTokenError()], ids=repr)
def test_missing_credentials_are_named_as_such_with_what_to_give(error: Exception) -> None:
    text = str(translated(error, "ecs RunTask"))
    assert text.startswith("AWS credentials cannot be had (ecs RunTask")
    assert "AWS_PROFILE" in text


def test_a_message_begins_with_the_words_of_aws_and_names_the_call() -> None:
    assert str(translated(refused("ClientException", "TaskDefinition not found."), "ecs RunTask")) == (
        "TaskDefinition not found. (ecs RunTask: ClientException)"
    )


def test_a_failed_condition_carries_what_was_found_instead() -> None:
    item = {"run_id": {"S": "r1"}}
    ours = translated(refused("ConditionalCheckFailedException", Item=item), "dynamodb UpdateItem")
    assert isinstance(ours, Conflict)
    assert ours.current == item
    ours = translated(refused("ConflictException", resourceIds=["arn"]), "ecs RunTask")
    assert isinstance(ours, Conflict)
    assert ours.current == ["arn"]


def test_a_missing_object_is_gone() -> None:
    assert isinstance(translated(refused("NoSuchKey", status=404), "s3 GetObject"), Gone)


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("", None)])
def test_the_wait_that_the_service_asks_for_is_kept(header: str, seconds: float | None) -> None:
    ours = translated(refused("SlowDown", headers={"retry-after": header}), "s3 GetObject")
    assert isinstance(ours, Transient)
    assert ours.retry_after_s == seconds


def test_a_bug_of_ours_is_not_dressed_up() -> None:
    assert translated(KeyError("x"), "ecs RunTask") is None


@dataclass
class Recorder:
    rows: list[tuple[str, str, str, float]] = field(default_factory=list)

    def record(self, *, service: str, operation: str, outcome: str, duration_s: float) -> None:
        self.rows.append((service, operation, outcome, duration_s))


@pytest.mark.parametrize(
    ("raised", "expected", "outcome"),
    [
        (None, None, "ok"),
        (refused("ThrottlingException"), Transient, "throttled"),
        (TimeoutError(), Transient, "transient"),
        (refused("ConflictException"), Conflict, "conflict"),
        (refused("NoSuchKey"), Gone, "gone"),
        (refused("ClientException"), Permanent, "permanent"),
        (Permanent("ours already"), Permanent, "permanent"),
        (KeyError("x"), KeyError, "bug"),
        (asyncio.CancelledError(), asyncio.CancelledError, "cancelled"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_every_call_is_counted_once_with_its_outcome_and_time(
    raised: BaseException | None, expected: type[BaseException] | None, outcome: str
) -> None:
    clock, recorder = VirtualClock(), Recorder()
    call = AwsCalls(clock, recorder).of("ecs")

    async def one_call() -> None:
        with call("RunTask"):
            await clock.sleep(2)
            if raised is not None:
                raise raised

    work = asyncio.gather(one_call(), return_exceptions=True)
    (result,) = await clock.run(work)
    assert result is None if expected is None else isinstance(result, expected)
    assert recorder.rows == [("ecs", "RunTask", outcome, 2.0)]


def told(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def fail(calls: AwsCalls, error: Exception, operation: str = "RunTask") -> None:
    with suppress(DagyError), calls.of("ecs")(operation):
        raise error


def test_a_failed_call_is_a_line_with_awss_request_id_and_the_run_that_it_was_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging(level="INFO")
    error = refused("AccessDeniedException", "no, by canary-secret")
    error.response["ResponseMetadata"]["RequestId"] = "4f1c"
    with about(a_run()):
        fail(AwsCalls(VirtualClock()), error)
    (line,) = told(capsys)
    assert (line["level"], line["event_type"], line["service"]) == ("warning", "AWS_CALL_FAILED", "ecs")
    assert (line["operation"], line["outcome"], line["reason"]) == ("RunTask", "permanent", "AccessDeniedException")
    assert (line["aws_request_id"], line["run_id"], line["correlation_id"]) == ("4f1c", "r1", "batch-1.1")


@pytest.mark.parametrize("code", ["ThrottlingException", "ConditionalCheckFailedException", "NoSuchKey"])
def test_what_is_the_daily_round_is_no_line(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="INFO")
    fail(AwsCalls(VirtualClock()), refused(code))
    assert told(capsys) == []


async def test_an_outage_does_not_fill_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="INFO")
    clock = VirtualClock()
    calls = AwsCalls(clock)
    for _ in range(100):
        fail(calls, refused("ServerException", status=500))
        fail(calls, aws.ReadTimeoutError(endpoint_url="u"))
        fail(calls, refused("ServerException", status=500), "StopTask")
    assert [(line["operation"], line["reason"]) for line in told(capsys)] == [
        ("RunTask", "ServerException"),
        ("RunTask", "ReadTimeoutError"),
        ("StopTask", "ServerException"),
    ]
    await clock.advance(TELL_AGAIN_S)
    fail(calls, refused("ServerException", status=500))
    assert len(told(capsys)) == 1


def test_at_debug_every_call_is_a_line_and_at_info_none(capsys: pytest.CaptureFixture[str]) -> None:
    calls = AwsCalls(VirtualClock())
    for level in ("INFO", "DEBUG"):
        configure_logging(level=level)
        with about(a_run()), calls.of("dynamodb")("GetItem"):
            note_request_id({"x-amzn-requestid": "77b0"})
    with calls.of("s3")("GetObject"):
        pass
    first, second = told(capsys)
    assert (first["event_type"], first["operation"], first["outcome"]) == ("AWS_CALL", "GetItem", "ok")
    assert (first["aws_request_id"], first["run_id"]) == ("77b0", "r1")
    assert second["aws_request_id"] is None, "not the id of the call before"
