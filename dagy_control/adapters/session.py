"""The AWS clients of the process: made once, with explicit timeouts and no retries of their own."""

import os
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import NoRegionError

from dagy_control.adapters.calls import note_request_id
from dagy_control.adapters.hot_answers import (
    JSON_PROTOCOL,
    QUERY_PROTOCOL,
    HotAnswerParsers,
    refuse_no_json,
    refuse_no_xml_of,
)
from dagy_control.adapters.lean_client import LeanClient, can_be_lean
from dagy_control.errors import Permanent

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_ecs import ECSClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_secretsmanager import SecretsManagerClient
    from types_aiobotocore_sns import SNSClient
    from types_aiobotocore_sqs import SQSClient
    from types_aiobotocore_ssm import SSMClient

LONG_POLL_MAX_S = 20
"""ReceiveMessage may hold the reply back so long (SQS API Reference, WaitTimeSeconds)."""


class Service(StrEnum):
    """The services that this program calls, by botocore's names."""

    DYNAMODB = "dynamodb"
    ECS = "ecs"
    S3 = "s3"
    SECRETS = "secretsmanager"
    SNS = "sns"
    SQS = "sqs"
    SSM = "ssm"


HOT_SERVICES = (Service.DYNAMODB, Service.ECS, Service.SQS)
"""Whose answers may be wanted in a form (`hot_answers`); all of them speak JSON."""

CONFIG_SERVICES = (Service.SSM, Service.SECRETS, Service.S3)
"""Where a configuration, or a value of it, may stand."""

RUN_SERVICES = tuple(service for service in Service if service not in (Service.SSM, Service.SECRETS))
"""What the work itself calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPolicy:
    """How clients are made. Times in seconds; `max_connections` per service.

    `region` None: AWS_REGION (which ECS sets, and botocore does not read), then botocore's own chain. `lean` False: every call goes the
    whole way through aiobotocore, wanted form or not (for an environment in which something hooks into its events).
    """

    region: str | None = None
    connect_timeout_s: float = 3.0
    read_timeout_s: float = 20.0
    max_connections: int = 50
    lean: bool = True


class AwsClients:
    """One session and its long-lived clients, for as long as the `async with` lasts.

    Endpoints: botocore honours AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_<SERVICE>. A worker asks only for the services it uses.
    """

    def __init__(self, policy: ClientPolicy, *, services: Collection[Service] = RUN_SERVICES) -> None:
        self._policy = policy
        self._services = services
        self._stack = AsyncExitStack()
        self._clients: dict[Service, Any] = {}

    async def __aenter__(self) -> Self:
        session = get_session()
        session.register_component("response_parser_factory", HotAnswerParsers())
        create: Callable[..., Any] = session.create_client  # its stub has an overload for every service there is
        region = self._policy.region or os.environ.get("AWS_REGION") or None
        async with AsyncExitStack() as stack:
            for service in self._services:
                client = create(service, region_name=region, config=client_config(self._policy, service))
                try:
                    self._clients[service] = entered = await stack.enter_async_context(client)
                except (
                    NoRegionError,
                    ValueError,
                ) as error:  # botocore's own word for a malformed endpoint is ValueError
                    raise Permanent(
                        f"the {service} client cannot be made: {error}; set aws.region (AWS_REGION), and check AWS_ENDPOINT_URL"
                    ) from error
                entered.meta.events.register("before-parse", refuse_foreign_body)
                entered.meta.events.register("after-call", note_answer)
                if self._policy.lean and service in HOT_SERVICES and can_be_lean(entered):
                    lean = LeanClient(session, entered, client_config(self._policy, service))
                    self._clients[service] = await stack.enter_async_context(lean)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clients.clear()
        await self._stack.aclose()

    @property
    def dynamodb(self) -> "DynamoDBClient":
        """The DynamoDB client."""
        client: DynamoDBClient = self._client(Service.DYNAMODB)
        return client

    @property
    def ecs(self) -> "ECSClient":
        """The ECS client."""
        client: ECSClient = self._client(Service.ECS)
        return client

    @property
    def s3(self) -> "S3Client":
        """The S3 client."""
        client: S3Client = self._client(Service.S3)
        return client

    @property
    def sns(self) -> "SNSClient":
        """The SNS client."""
        client: SNSClient = self._client(Service.SNS)
        return client

    @property
    def sqs(self) -> "SQSClient":
        """The SQS client. Its read timeout is longer, by the longest poll."""
        client: SQSClient = self._client(Service.SQS)
        return client

    @property
    def ssm(self) -> "SSMClient":
        """The SSM client."""
        client: SSMClient = self._client(Service.SSM)
        return client

    @property
    def secrets(self) -> "SecretsManagerClient":
        """The Secrets Manager client."""
        client: SecretsManagerClient = self._client(Service.SECRETS)
        return client

    def _client(self, service: Service) -> Any:  # noqa: ANN401 - the stubs of the clients share no base
        if service not in self._clients:
            raise RuntimeError(f"no {service} client: not among the services asked for, or outside `async with`")
        return self._clients[service]


def client_config(policy: ClientPolicy, service: Service) -> AioConfig:
    """The configuration of one service's client.

    Retries by botocore are off: the daemon repeats calls itself, inside the shared API budget, and an unknown outcome must
    be seen, not papered over. (Defaults would be 60 s timeouts and up to 10 attempts.)
    """
    own_endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return AioConfig(
        connect_timeout=policy.connect_timeout_s,
        read_timeout=policy.read_timeout_s + (LONG_POLL_MAX_S if service is Service.SQS else 0),
        max_pool_connections=policy.max_connections,
        retries={"total_max_attempts": 1, "mode": "standard"},
        s3={"addressing_style": "path"} if own_endpoint else None,  # a fake has no DNS name for each bucket
        user_agent_extra="dagy-control",
    )


def refuse_foreign_body(operation_model: Any, response_dict: dict[str, Any], **_: object) -> None:  # noqa: ANN401 - botocore's, untyped
    """`refuse_no_json`, and `refuse_no_xml_of` for SNS, for the answers that botocore parses itself."""
    protocol = operation_model.service_model.resolved_protocol
    if protocol == JSON_PROTOCOL:
        refuse_no_json(response_dict["body"])
    elif protocol == QUERY_PROTOCOL:
        refuse_no_xml_of(operation_model.name, response_dict["body"])


def note_answer(http_response: Any, **_: object) -> None:  # noqa: ANN401 - botocore's, untyped
    """What AWS calls the request, for the line about the call."""
    note_request_id(http_response.headers)
