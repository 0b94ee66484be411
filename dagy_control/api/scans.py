"""`/orphans/scan`: who may ask for a scan (POST) or see the last one (GET), and what they get. The scans are callables handed in."""

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

BODY_MAX_BYTES = 4096
"""The documented input has two small fields."""


@dataclass(frozen=True, slots=True)
class ScanAnswer:
    """The HTTP status and the documented output of a scan."""

    status: int
    document: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanDoor:
    """`scan` is given the body as it came, and whether whoever sent it has shown the token; it never raises a `DagyError`.

    `last` gives what the loop has found by itself; `refuse` the documented output for a request that is not let in. `token`: the
    one in effect now, asked once for each request; None: nobody can show one.
    """

    scan: Callable[[bytes, bool], Awaitable[ScanAnswer]]
    last: Callable[[], ScanAnswer]
    refuse: Callable[[str], dict[str, Any]]
    token: Callable[[], str | None]


def add_scan_routes(app: FastAPI, door: ScanDoor) -> None:
    """Where a token is set, every scan needs it; where none is, the scan is asked by nobody in particular."""

    @app.post("/orphans/scan", summary="Scan for orphans now; input and output as the scanner's document has them")
    async def scan_orphans(request: Request) -> JSONResponse:
        token = door.token()
        if refusal := _refusal(request, door, token):
            return refusal
        body = await _body(request)
        if body is None:
            return JSONResponse(door.refuse(f"the input is longer than {BODY_MAX_BYTES} bytes"), status_code=413)
        return _response(await door.scan(body, token is not None))

    @app.get("/orphans/scan", summary="What the loop's last scan has reported")
    async def last_scan(request: Request) -> JSONResponse:
        return _refusal(request, door, door.token()) or _response(door.last())


def _response(answer: ScanAnswer) -> JSONResponse:
    return JSONResponse(answer.document, status_code=answer.status, headers={"cache-control": "no-store"})


def _refusal(request: Request, door: ScanDoor, token: str | None) -> JSONResponse | None:
    if token is None or _shows(request.headers.get("authorization", ""), token):
        return None
    told = door.refuse("this needs the header 'Authorization: Bearer TOKEN' with the token of api.token")
    return JSONResponse(told, status_code=401, headers={"www-authenticate": "Bearer"})


def _shows(authorization: str, token: str) -> bool:
    """Compared in a time that does not tell how much of it is right."""
    scheme, _, shown = authorization.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(shown.strip().encode(), token.encode())


async def _body(request: Request) -> bytes | None:
    """The body; None when it is too long."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY_MAX_BYTES:
            return None
    return body
