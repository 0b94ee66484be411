"""The faces of the ECS model: in process, where an adapter takes it for aiobotocore's client, and over HTTP."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiobotocore.session import get_session
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError
from botocore.validate import validate_parameters

from dagy_control.adapters.hot_answers import wanted_form
from dagy_control.adapters.session import AwsClients, ClientPolicy, Service
from dagy_control.kernel.clock import Clock, SystemClock
from dagy_control.local.agent import AgentPolicy
from dagy_control.local.ecs_driver import EcsDriver
from dagy_control.local.ecs_errors import EcsError
from dagy_control.local.ecs_http import HeldCalls, ecs_app
from dagy_control.local.ecs_model import Delivery, EcsModel, Reply
from dagy_control.local.http_server import LoopbackServer
from tests.contract.conftest import CREDENTIALS

URL = "http://ecs.in.process"


class ModelClient:
    """`client.run_task(**request)` and so on: requests are checked, and answers and errors made, as botocore does."""

    def __init__(self, model: EcsModel, clock: Clock, shapes: Any) -> None:
        self._model = model
        self._clock = clock
        self._shapes = shapes

    @classmethod
    async def of(cls, model: EcsModel, clock: Clock) -> "ModelClient":
        """With botocore's own description of the API, by which it checks requests before it sends them."""
        return cls(model, clock, await get_session().get_service_model("ecs"))

    def __getattr__(self, method: str) -> Callable[..., Awaitable[dict[str, Any]]]:
        operation = "".join(word.capitalize() for word in method.split("_"))

        async def call(**request: Any) -> dict[str, Any]:
            validate_parameters(request, self._shapes.operation_model(operation).input_shape)
            return _delivered(operation, self._model.call(operation, request, self._clock.now()))

        return call


@asynccontextmanager
async def served(model: EcsModel, workdir: Path) -> AsyncIterator[str]:
    """The model behind HTTP, at this address."""
    clock = SystemClock()
    server = LoopbackServer(clock=clock)
    policy = AgentPolicy(workdir=workdir, environment={}, metadata_url=f"{server.url}/v4")
    driver, held = EcsDriver(model, clock=clock, policy=policy), HeldCalls()
    driver.start()
    await server.start(ecs_app(driver, held))
    try:
        yield server.url
    finally:
        held.release()
        await server.stop()
        await driver.stop()


@asynccontextmanager
async def ecs_client_at(url: str) -> AsyncIterator[Any]:
    """The shipped client of the ECS API at this address. Only AWS_ENDPOINT_URL_ECS leads to it: nothing listens at the general one."""
    endpoints = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ENDPOINT_URL_ECS": url}
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {**CREDENTIALS, **endpoints}.items():
            environment.setenv(name, value)
        clients = AwsClients(ClientPolicy(region="us-east-1", read_timeout_s=5), services=(Service.ECS,))
        async with clients:
            yield clients.ecs


def _delivered(operation: str, reply: Reply) -> dict[str, Any]:
    if reply.delivery is Delivery.DROP:
        raise ConnectionClosedError(endpoint_url=URL) from aiohttp.ServerDisconnectedError()
    if reply.delivery is Delivery.HOLD:
        raise ReadTimeoutError(endpoint_url=URL)
    if reply.error is not None:
        raise ClientError(_parsed(reply.error), operation)
    answer = reply.answer or {}
    form = wanted_form(operation)
    return answer if form is None else form.of(answer)


def _parsed(error: EcsError) -> Any:
    """The error as botocore's JSON parser gives it: members of its own beside `Error` (`parsers.BaseJSONParser`)."""
    return {
        "Error": {"Code": error.code, "Message": error.message},
        "ResponseMetadata": {"HTTPStatusCode": error.http_status, "HTTPHeaders": {}},
        **error.extra,
    }
