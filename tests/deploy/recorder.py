"""Calls to AWS as they pass by: who called, what, of which resource; and which permissions AWS would have asked for.

Which those are, with their resources and condition keys: AWS Service Authorization Reference.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import override

from tests.contract.proxy import FaultyProxy
from tests.deploy.policies import Access
from tests.deploy.synthesis import ACCOUNT, REGION

CREDENTIAL = re.compile(r"Credential=(?P<key>[^/]+)/\d+/[^/]*/(?P<service>[^/]+)/aws4_request")
S3_ACTIONS = {"GET": "GetObject", "HEAD": "GetObject", "PUT": "PutObject", "DELETE": "DeleteObject"}
SQS_BATCHES = {
    "DeleteMessageBatch": "DeleteMessage",
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
    "SendMessageBatch": "SendMessage",
}
SECRET_SUFFIX = "-AbCdEf"  # Secrets Manager's own six characters
"""What an ARN of a secret has after its name."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call. `principal`: whose access key signed it. `request`: what was asked, in the service's own words."""

    principal: str
    service: str
    operation: str
    request: Mapping[str, Any]


class Recorder(FaultyProxy):
    """Passes everything on, and keeps what was asked."""

    calls: list[Call]

    @override
    async def _handle(self, request: Request) -> Response:
        signed = CREDENTIAL.search(request.headers.get("authorization", ""))
        if signed is None:
            raise AssertionError(f"an unsigned request: {request.method} {request.url.path}")
        operation, asked = _asked(request, signed["service"], await request.body())
        self.calls.append(Call(signed["key"].removeprefix("AKIA").lower(), signed["service"], operation, asked))
        return await super()._handle(request)


def _asked(request: Request, service: str, body: bytes) -> tuple[str, Mapping[str, Any]]:
    target = request.headers.get("x-amz-target", "")
    if target:
        return target.rpartition(".")[2], json.loads(body or b"{}")
    if service == "s3":
        bucket, _, key = unquote(request.url.path).lstrip("/").partition("/")
        return S3_ACTIONS[request.method] if key else f"{request.method} of a bucket", {"bucket": bucket, "key": key}
    form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
    return form.get("Action", "?"), form


def accesses(call: Call) -> Iterator[Access]:
    """The permissions that the call needs. Raises KeyError for an operation that nobody has thought of yet."""
    yield from _BY_SERVICE[call.service](call.operation, call.request)


def _arn(service: str, rest: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{rest}"


def _dynamodb(operation: str, request: Mapping[str, Any]) -> Iterator[Access]:
    if operation.startswith("Batch"):
        for table in request["RequestItems"]:
            yield Access(f"dynamodb:{operation}", _arn("dynamodb", f"table/{table}"))
        return
    table = _arn("dynamodb", f"table/{request['TableName']}")
    index = request.get("IndexName")
    yield Access(f"dynamodb:{operation}", f"{table}/index/{index}" if index else table)


def _ecs(operation: str, request: Mapping[str, Any]) -> Iterator[Access]:
    if operation == "RegisterTaskDefinition":
        yield Access("ecs:RegisterTaskDefinition", _arn("ecs", f"task-definition/{request['family']}:*"))
        return
    if operation == "DescribeClusters":
        for cluster in request["clusters"]:
            yield Access("ecs:DescribeClusters", _arn("ecs", f"cluster/{_last(cluster)}"))
        return
    name = _last(request["cluster"])
    context = {"ecs:cluster": _arn("ecs", f"cluster/{name}")}
    match operation:
        case "RunTask":
            yield from _run_task(request, name, context)
        case "StopTask":
            yield Access("ecs:StopTask", _arn("ecs", f"task/{name}/{_last(request['task'])}"), context)
        case "DescribeTasks":
            for task in request["tasks"]:
                yield Access(
                    "ecs:DescribeTasks",
                    task if task.startswith("arn:") else _arn("ecs", f"task/{name}/{task}"),
                    context,
                )
        case "ListTasks":
            yield Access("ecs:ListTasks", "*", context)
        case _:
            raise KeyError(operation)


def _run_task(request: Mapping[str, Any], cluster: str, context: Mapping[str, str]) -> Iterator[Access]:
    definition = _last(request["taskDefinition"])
    definition = definition if ":" in definition else f"{definition}:1"  # a family stands for its newest revision
    yield Access("ecs:RunTask", _arn("ecs", f"task-definition/{definition}"), context)
    if request.get("tags"):
        yield Access("ecs:TagResource", _arn("ecs", f"task/{cluster}/*"), {"ecs:CreateAction": "RunTask"})
    for role in ("taskRoleArn", "executionRoleArn"):
        if arn := request.get("overrides", {}).get(role):
            yield Access("iam:PassRole", arn, {"iam:PassedToService": "ecs-tasks.amazonaws.com"})


def _sqs(operation: str, request: Mapping[str, Any]) -> Iterator[Access]:
    yield Access(f"sqs:{SQS_BATCHES.get(operation, operation)}", _arn("sqs", _last(request["QueueUrl"])))


def _sns(operation: str, request: Mapping[str, Any]) -> Iterator[Access]:
    yield Access(f"sns:{operation}", request["TopicArn"])


def _ssm(operation: str, request: Mapping[str, Any]) -> Iterator[Access]:
    yield Access(f"ssm:{operation}", _arn("ssm", f"parameter/{request['Name'].lstrip('/')}"))


def _secrets(operation: str, request: Mapping[str, Any]) -> Iterator[Access]:
    yield Access(f"secretsmanager:{operation}", _arn("secretsmanager", f"secret:{request['SecretId']}{SECRET_SUFFIX}"))


def _s3(operation: str, request: Mapping[str, Any]) -> Iterator[Access]:
    yield Access(f"s3:{operation}", f"arn:aws:s3:::{request['bucket']}/{request['key']}")


def _last(name: str) -> str:
    return name.rpartition("/")[2]


_BY_SERVICE = {
    "dynamodb": _dynamodb,
    "ecs": _ecs,
    "sqs": _sqs,
    "sns": _sns,
    "ssm": _ssm,
    "secretsmanager": _secrets,
    "s3": _s3,
}
