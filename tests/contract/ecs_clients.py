"""The in-process face of the ECS model: what an adapter takes for aiobotocore's client, without HTTP in between."""

from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from aiobotocore.session import get_session
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError
from botocore.validate import validate_parameters

from dagy_control.adapters.hot_answers import wanted_form
from dagy_control.kernel.clock import Clock
from dagy_control.local.ecs_errors import EcsError
from dagy_control.local.ecs_model import Delivery, EcsModel, Reply

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
