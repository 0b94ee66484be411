"""What DynamoDB gives page by page, whole."""

from collections.abc import Awaitable, Callable
from typing import Any

from dagy_control.adapters.attributes import Item
from dagy_control.adapters.calls import CallNamer


async def all_items(call: CallNamer, name: str, ask: Callable[..., Awaitable[Any]], **request: Any) -> list[Item]:  # noqa: ANN401 - the call's own parameters
    """The items of all pages. `ask`: the client's Query or Scan; `name`: what it is called."""
    items: list[Item] = []
    while True:
        with call(name):
            answer = await ask(**request)
        items += answer["Items"]
        if "LastEvaluatedKey" not in answer:
            return items
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
