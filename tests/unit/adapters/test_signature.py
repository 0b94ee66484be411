"""Our signature against botocore's own, which AWS takes."""

from datetime import datetime
from typing import Any

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from dagy_control.adapters.signature import Credentials, Place, signed_headers

WORDS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./+=", min_size=1, max_size=40)


@given(
    place=st.builds(
        Place,
        service=st.sampled_from(["ecs", "dynamodb", "sqs"]),
        region=st.sampled_from(["us-east-1", "eu-central-1", "cn-north-1"]),
        host=st.sampled_from(["ecs.us-east-1.amazonaws.com", "127.0.0.1:4566", "sqs.cn-north-1.amazonaws.com.cn"]),
    ),
    credentials=st.builds(Credentials, WORDS, WORDS, st.one_of(st.just(""), WORDS)),
    body=st.binary(max_size=200),
    at=st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2040, 1, 1)),  # noqa: DTZ001 - botocore's clock has no zone
    target=st.sampled_from(["DynamoDB_20120810.Query", "AmazonSQS.ReceiveMessage"]),
)
def test_every_request_has_the_headers_that_botocore_signs(
    place: Place, credentials: Credentials, body: bytes, at: datetime, target: str
) -> None:
    ours = signed_headers(
        place,
        credentials,
        target=target,
        content_type="application/x-amz-json-1.0",
        body=body,
        at=at.strftime("%Y%m%dT%H%M%SZ"),
    )
    assert ours == botocores(place, credentials, body, at, target)


def botocores(place: Place, credentials: Credentials, body: bytes, at: datetime, target: str) -> dict[str, str]:
    request = AWSRequest(
        "POST",
        f"http://{place.host}/",
        {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.0"},
        data=body,
    )
    frozen: Any = ReadOnlyCredentials(credentials.access_key, credentials.secret_key, credentials.token or None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auth, "get_current_datetime", lambda: at)
        auth.SigV4Auth(frozen, place.service, place.region).add_auth(request)
    signed: dict[str, Any] = {name.lower(): value for name, value in request.headers.items()}
    return {**signed, "host": place.host}
