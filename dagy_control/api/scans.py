"""`POST /orphans/scan`: who may ask for a scan, and what they get. The scan itself is a callable handed in."""

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

    `refuse` gives the documented output for a request that is not let in. `token` None: nobody can show one.
    """

    scan: Callable[[bytes, bool], Awaitable[ScanAnswer]]
    refuse: Callable[[str], dict[str, Any]]
    token: str | None = None


def add_scan_route(app: FastAPI, door: ScanDoor) -> None:
    """Where a token is set, every scan needs it; where none is, the scan is asked by nobody in particular."""

    @app.post("/orphans/scan", summary="Scan for orphans now; input and output as the scanner's document has them")
    async def scan_orphans(request: Request) -> JSONResponse:
        if door.token is not None and not _shows(request.headers.get("authorization", ""), door.token):
            refusal = door.refuse("this needs the header 'Authorization: Bearer TOKEN' with the token of api.token")
            return JSONResponse(refusal, status_code=401, headers={"www-authenticate": "Bearer"})
        body = await _body(request)
        if body is None:
            return JSONResponse(door.refuse(f"the input is longer than {BODY_MAX_BYTES} bytes"), status_code=413)
        answer = await door.scan(body, door.token is not None)
        return JSONResponse(answer.document, status_code=answer.status, headers={"cache-control": "no-store"})


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
