"""A proxy on loopback between a client and a server, which lets single calls suffer what a network or a service can do to them."""

import asyncio
import json
import socket
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias
from urllib.parse import parse_qs

import aiohttp
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from typing_extensions import override
from yarl import URL

from dagy_control.kernel.clock import Clock
from dagy_control.local.http_server import LoopbackServer

METHODS = ["GET", "PUT", "POST", "HEAD", "DELETE"]
_OF_ONE_HOP = frozenset({"connection", "content-length", "date", "expect", "keep-alive", "server", "transfer-encoding"})
_S3_OPERATIONS = {"GET": "GetObject", "PUT": "PutObject"}
_PAGE = b"<html><body><h1>This is not AWS</h1></body></html>"


class FaultKind(StrEnum):
    """What a call suffers."""

    REPLY_LOST = "its reply is lost"  # the server has applied it; the connection is cut
    REPLY_BROKEN = "its reply breaks off"  # likewise, after most of the reply
    ERROR_APPLIED = "500, though applied"
    ERROR = "500, not applied"
    GATEWAY_PAGE = "a gateway's page"  # 502 with HTML; not applied
    FIREWALL_PAGE = "a firewall's page"  # 403 with HTML; not applied
    PORTAL_PAGE = "a portal's page"  # 200 with HTML; not applied
    REFUSED = "refused for rate"  # by the error code of the fault; not applied
    LEFT_OVER = "done in part"  # a batch whose second half the service leaves to be sent again
    LEFT_ALL = "nothing of it done"  # likewise, the whole batch


_PAGES = {FaultKind.GATEWAY_PAGE: 502, FaultKind.FIREWALL_PAGE: 403, FaultKind.PORTAL_PAGE: 200}

APPLIED = frozenset({FaultKind.REPLY_LOST, FaultKind.REPLY_BROKEN, FaultKind.ERROR_APPLIED})
"""What befalls the reply only."""


@dataclass(slots=True)
class Fault:
    """The `calls` calls of `operation` that come after the next `after` ones suffer `kind`; `code` is that of a refusal."""

    kind: FaultKind
    operation: str
    calls: int = 1
    after: int = 0
    code: str = "ThrottlingException"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes


class Protocol(StrEnum):
    """How a service words what it says (botocore's service models, `protocol`)."""

    JSON = "json"  # DynamoDB, SQS, ECS
    QUERY = "query"  # SNS
    S3 = "rest-xml"

    @classmethod
    def of(cls, request: Request) -> "Protocol":
        """The one that a request is in."""
        if "x-amz-target" in request.headers:
            return cls.JSON
        return cls.QUERY if _is_form(request) else cls.S3


Json: TypeAlias = dict[str, Any]


class FaultyProxy:
    """Forwards everything to `upstream`, as it is, unless a fault waits for the operation.

    `page_items`: no Query gets more items a page than these; None: as many as the caller wants. `seen` counts the calls.
    """

    def __init__(self, upstream: str, *, clock: Clock) -> None:
        self.page_items: int | None = None
        self.seen: Counter[str] = Counter()
        self._upstream = upstream
        self._faults: list[Fault] = []
        self._server = LoopbackServer(clock=clock)
        self._session: aiohttp.ClientSession | None = None
        self.url = self._server.url

    async def start(self) -> None:
        """Accept connections."""
        self._session = aiohttp.ClientSession(auto_decompress=False, trust_env=False)
        await self._server.start(Starlette(routes=[Route("/{path:path}", self._handle, methods=METHODS)]))

    async def stop(self) -> None:
        """Close every connection."""
        await self._server.stop()
        if self._session is not None:
            await self._session.close()

    def befall(self, fault: Fault) -> None:
        """Let calls suffer this."""
        self._faults.append(fault)

    def unmet(self) -> list[Fault]:
        """The faults that still wait for a call; a test that leaves one has not tested what it says. Switches them off."""
        unmet, self._faults = self._faults, []
        return unmet

    async def _handle(self, request: Request) -> Response:
        _send_at_once(request.state.transport)
        body = await request.body()
        operation = operation_of(request, body)
        self.seen[operation] += 1
        if operation == "Query" and self.page_items is not None:
            body = _with_limit(body, self.page_items)
        fault = self._take(operation)
        if fault is None:
            return _rendered(await self._forward(request, body))
        if fault.kind is FaultKind.LEFT_OVER:
            now, later = _halves(operation, json.loads(body))
            return _rendered(_with_left_over(await self._forward(request, json.dumps(now).encode()), later))
        if fault.kind is FaultKind.LEFT_ALL:
            return _all_left(operation, json.loads(body))
        if fault.kind not in APPLIED:
            return _refusal(fault, Protocol.of(request))
        reply = await self._forward(request, body)
        match fault.kind:
            case FaultKind.REPLY_LOST:
                request.state.transport.abort()
                return Response()
            case FaultKind.REPLY_BROKEN:
                return BrokenOff(reply)
            case _:
                return _server_error(Protocol.of(request))

    def _take(self, operation: str) -> Fault | None:
        fault = next((each for each in self._faults if each.operation == operation), None)
        if fault is None:
            return None
        if fault.after > 0:
            fault.after -= 1
            return None
        fault.calls -= 1
        if fault.calls == 0:
            self._faults.remove(fault)
        return fault

    async def _forward(self, request: Request, body: bytes) -> Reply:
        if self._session is None:
            raise RuntimeError("the proxy has not been started")
        path = request.scope["raw_path"].decode()
        query = request.scope["query_string"].decode()
        url = URL(f"{self._upstream}{path}{'?' if query else ''}{query}", encoded=True)
        headers = {name: value for name, value in request.headers.items() if name not in _OF_ONE_HOP}
        async with self._session.request(
            request.method, url, data=body or None, headers=headers, allow_redirects=False
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _OF_ONE_HOP}
            return Reply(answer.status, kept, await answer.read())


class BrokenOff(Response):
    """A reply that lacks the last byte that it announced."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.body, status_code=reply.status, headers=reply.headers)
        self.headers["content-length"] = str(len(reply.body) + 1)

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        scope["state"]["transport"].close()
        while (await receive())["type"] != "http.disconnect":
            pass


def _send_at_once(transport: asyncio.Transport) -> None:
    """Without this head and body, written one after the other, cost 40 ms (Nagle's algorithm and delayed acknowledgements).

    asyncio sets it only where the listener was made with an explicit IPPROTO_TCP, which `socket.create_server` does not do.
    """
    transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def operation_of(request: Request, body: bytes = b"") -> str:
    """The API operation: by its target in the JSON protocols, by its form in SNS's, by its method in S3's."""
    target = request.headers.get("x-amz-target", "")
    if not target and _is_form(request):
        return parse_qs(body.decode()).get("Action", [request.method])[0]
    return target.rpartition(".")[-1] or _S3_OPERATIONS.get(request.method, request.method)


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")


def _rendered(reply: Reply) -> Response:
    return Response(reply.body, status_code=reply.status, headers=reply.headers)


def _refusal(fault: Fault, protocol: Protocol) -> Response:
    if fault.kind in _PAGES:
        return Response(_PAGE, status_code=_PAGES[fault.kind], media_type="text/html")
    if fault.kind is FaultKind.ERROR:
        return _server_error(protocol)
    return _error(fault.code, 503 if protocol is Protocol.S3 else 400, protocol)


def _server_error(protocol: Protocol) -> Response:
    return _error("InternalServerError" if protocol is Protocol.JSON else "InternalError", 500, protocol)


def _error(code: str, status: int, protocol: Protocol) -> Response:
    """As each protocol words an error."""
    if protocol is Protocol.JSON:
        body = json.dumps({"__type": f"com.amazonaws#{code}", "message": "told by the proxy"})
        return Response(body, status_code=status, media_type="application/x-amz-json-1.0")
    xml = f"<Error><Code>{code}</Code><Message>told by the proxy</Message></Error>"
    if protocol is Protocol.QUERY:
        xml = f"<ErrorResponse>{xml}<RequestId>none</RequestId></ErrorResponse>"
    return Response(xml, status_code=status, media_type="application/xml")


def _with_limit(body: bytes, items: int) -> bytes:
    request: Json = json.loads(body)
    return json.dumps({**request, "Limit": min(items, request.get("Limit", items))}).encode()


def _halves(operation: str, request: Json) -> tuple[Json, Json]:
    """The batch that is to be done, and the members by which the answer says what was not."""
    if operation == "DeleteMessageBatch":
        done, left = _split(request["Entries"])
        failed = [{"Id": each["Id"], "SenderFault": False, "Code": "InternalError"} for each in left]
        return {**request, "Entries": done}, {"Failed": failed}
    ((table, asked),) = request["RequestItems"].items()
    if operation == "BatchWriteItem":
        done, left = _split(asked)
        return {**request, "RequestItems": {table: done}}, {"UnprocessedItems": {table: left} if left else {}}
    done, left = _split(asked["Keys"])
    unprocessed = {table: {**asked, "Keys": left}} if left else {}
    return {**request, "RequestItems": {table: {**asked, "Keys": done}}}, {"UnprocessedKeys": unprocessed}


def _split(entries: list[Any]) -> tuple[list[Any], list[Any]]:
    middle = max(1, len(entries) // 2)
    return entries[:middle], entries[middle:]


def _with_left_over(reply: Reply, later: Json) -> Reply:
    headers = {name: value for name, value in reply.headers.items() if name.lower() != "x-amz-crc32"}
    return Reply(reply.status, headers, json.dumps({**json.loads(reply.body), **later}).encode())


def _all_left(operation: str, request: Json) -> Response:
    if operation == "BatchWriteItem":
        answer: Json = {"UnprocessedItems": request["RequestItems"]}
    else:
        answer = {"Responses": {}, "UnprocessedKeys": request["RequestItems"]}
    return Response(json.dumps(answer), media_type="application/x-amz-json-1.0")
