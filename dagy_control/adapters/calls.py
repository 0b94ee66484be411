"""One place through which every AWS call passes: its error becomes one of ours, and it is counted and timed.

Sources: botocore's exceptions; "Common Errors" of the Amazon ECS, DynamoDB, SQS and S3 API references.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeAlias

import aiohttp
from botocore import exceptions as aws
from botocore.parsers import ResponseParserError

from dagy_control.errors import Conflict, DagyError, Gone, Permanent, Transient
from dagy_control.kernel.clock import Clock
from dagy_control.kernel.telemetry import log

THROTTLED = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "KMS.ThrottlingException",
        "KMSThrottling",
        "KmsThrottled",
        "LimitExceeded.Throttling",
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "TooManyRequestsException",
    }
)
"""Refused for rate, most with HTTP 400; nothing was applied. (botocore's own list, `retries/standard.py`, S3's SlowDown,
and what SNS and SQS say of an encrypted topic or queue whose key KMS is asked for too often.)"""

PASSING = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "OperationAborted",
        "PriorRequestNotComplete",
        "ReplicatedWriteConflictException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServerException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "TransactionConflictException",
    }
)
"""The service's own trouble, whatever the HTTP status says; whether the call was applied is unknown."""

CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",  # ECS, DynamoDB and SQS say so ("Signature expired") when our clock is off
        "InvalidToken",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
    }
)
"""Our credentials or clock, not the request: they are rotated or mended while we run, and no run must fail for them."""

CONDITION_FAILED = frozenset({"ConditionalCheckFailedException", "ConflictException"})
NOT_THERE = frozenset({"NoSuchKey", "404"})

_LOST: tuple[type[BaseException], ...] = (
    aws.HTTPClientError,
    aws.ConnectionError,  # botocore's own, beside HTTPClientError: EndpointConnectionError is only this
    aws.ResponseStreamingError,
    aws.IncompleteReadError,
    aws.FlexibleChecksumError,
    ResponseParserError,
    aiohttp.ClientError,
    TimeoutError,
    OSError,
)
"""No usable answer: timeouts, lost connections, broken bodies (a proxy's page in place of AWS's answer)."""

_NO_CREDENTIALS: tuple[type[BaseException], ...] = (
    aws.CredentialRetrievalError,
    aws.MetadataRetrievalError,
    aws.NoCredentialsError,
    aws.PartialCredentialsError,
    aws.SSOError,
    aws.TokenRetrievalError,
)
"""Nothing was sent. A daemon may get them at the next try (a role's come from an endpoint); a person has to act."""

REQUEST_ID_HEADERS = ("x-amzn-requestid", "x-amz-request-id")
"""Where AWS names the request, for its Support and for CloudTrail: the services that speak JSON, and S3."""

FAILED = frozenset({"transient", "permanent", "bug"})
"""Outcomes that nobody has reckoned with. A throttle or a failed condition is the daily round: the metrics count them."""

TELL_AGAIN_S = 10.0
"""A call that fails again for the same reason is told so often at WARNING: an outage must not fill the log. At DEBUG all are."""

_CALL_LOGGER = "dagy.aws"
_LOG = log(_CALL_LOGGER)
_request_id: ContextVar[str | None] = ContextVar("_request_id", default=None)

CallNamer: TypeAlias = "Callable[[str], AbstractContextManager[None]]"
"""`with call("UpdateItem"): …` around exactly one call to one service."""


class CallRecorder(Protocol):
    """Who counts calls: `kernel.call_metrics.ApiCallMetrics`, or nobody."""

    def record(self, *, service: str, operation: str, outcome: str, duration_s: float) -> None:
        """One call that ended; `outcome` is ok, throttled, transient, conflict, gone, permanent, cancelled or bug."""
        ...


class AwsCalls:
    """Wraps calls. One for the whole process; each adapter takes the namer of its service."""

    def __init__(self, clock: Clock, recorder: CallRecorder | None = None) -> None:
        self._clock = clock
        self._recorder = recorder
        self._levels = logging.getLogger(_CALL_LOGGER)
        self._told: dict[tuple[str, str], float] = {}

    def of(self, service: str) -> CallNamer:
        """The namer of one service's calls."""

        def call(operation: str) -> AbstractContextManager[None]:
            return self._around(service, operation)

        return call

    @contextmanager
    def _around(self, service: str, operation: str) -> Iterator[None]:
        started = self._clock.monotonic()
        outcome, failure = "cancelled", None
        _request_id.set(None)
        try:
            yield
            outcome = "ok"
        except Exception as error:
            failure = error
            ours = translated(error, f"{service} {operation}")
            outcome = outcome_of(ours)
            if ours is None:
                raise
            raise ours from error
        finally:
            duration_s = self._clock.monotonic() - started
            if self._recorder is not None:
                self._recorder.record(service=service, operation=operation, outcome=outcome, duration_s=duration_s)
            if failure is not None or self._levels.isEnabledFor(logging.DEBUG):
                self._tell(service, operation, outcome, duration_s, failure)

    def _tell(self, service: str, operation: str, outcome: str, duration_s: float, failure: Exception | None) -> None:
        """A line about the call. Of the run that it is for it carries the keys, as every line within `about` does."""
        told = {
            "service": service,
            "operation": operation,
            "outcome": outcome,
            "aws_request_id": _request_id_of(failure) or _request_id.get(),
            "duration_seconds": round(duration_s, 4),
        }
        if failure is None or outcome not in FAILED:
            _LOG.debug("AWS call", event_type="AWS_CALL", **told)
            return
        kind, now = (operation, _reason_of(failure)), self._clock.monotonic()
        again = now - self._told.get(kind, -TELL_AGAIN_S) < TELL_AGAIN_S
        if not again:
            self._told = {each: at for each, at in self._told.items() if now - at < TELL_AGAIN_S} | {kind: now}
        tell = _LOG.debug if again else _LOG.warning
        tell("AWS call failed", event_type="AWS_CALL_FAILED", **told, reason=kind[1])


def note_request_id(headers: Mapping[str, str]) -> None:
    """For the clients: what AWS calls the request that it has just answered. `headers`: of the answer, whatever their case."""
    for name in REQUEST_ID_HEADERS:
        if name in headers:
            _request_id.set(headers[name])
            return


def _request_id_of(error: Exception | None) -> str | None:
    metadata = error.response.get("ResponseMetadata", {}) if isinstance(error, aws.ClientError) else {}
    return metadata.get("RequestId")


def _reason_of(error: Exception) -> str:
    """The code of a refusal, the kind of anything else: the words themselves are told by whoever gives up for them."""
    if isinstance(error, aws.ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return type(error).__name__


def outcome_of(error: DagyError | None) -> str:
    """The metric's label for a call that raised; None is an error that is not AWS's: a bug of ours."""
    match error:
        case Transient():
            return "throttled" if error.throttled else "transient"
        case Conflict():
            return "conflict"
        case Gone():
            return "gone"
        case Permanent():
            return "permanent"
        case _:
            return "bug"


def translated(error: Exception, what: str) -> DagyError | None:
    """The error as one of ours; None when it does not come from a call to AWS. `what` names the call for people."""
    match error:
        case DagyError():
            return error
        case aws.ClientError():
            return _refusal(error, what)
        case _ if isinstance(error, _NO_CREDENTIALS):
            remedy = "give AWS_PROFILE or AWS_ACCESS_KEY_ID, sign in again, or run under a role"
            return Transient(f"AWS credentials cannot be had ({what}: {type(error).__name__}: {error}): {remedy}")
        case _ if isinstance(error, _LOST):
            return Transient(f"no answer ({what}: {type(error).__name__}: {error})")
        case aws.BotoCoreError():
            return Permanent(f"{error} ({what})", code=type(error).__name__)
        case _:
            return None


def _refusal(error: aws.ClientError, what: str) -> DagyError:
    response: Any = error.response
    code = str(response.get("Error", {}).get("Code", ""))
    text = response.get("Error", {}).get("Message") or response.get("message") or "no message"
    metadata = response.get("ResponseMetadata", {})
    message = f"{text} ({what}: {code})"
    if code in THROTTLED or (code == "InvalidParameterException" and "throttling" in text.lower()):
        return Transient(message, throttled=True, retry_after_s=_retry_after_s(metadata))
    if code in PASSING or code in CREDENTIALS or metadata.get("HTTPStatusCode", 0) >= 500:
        return Transient(message, retry_after_s=_retry_after_s(metadata))
    if code in CONDITION_FAILED:
        return Conflict(message, current=response.get("Item") or response.get("resourceIds"))
    if code in NOT_THERE:
        return Gone(message)
    return Permanent(message, code=code)


def _retry_after_s(metadata: dict[str, Any]) -> float | None:
    value = str(metadata.get("HTTPHeaders", {}).get("retry-after", ""))
    return float(value) if value.isdecimal() else None
