"""The routes. All but the scan only read what the process knows already, and wait for AWS no longer than `Health` allows."""

from collections.abc import Callable

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from dagy_control.api.scans import ScanDoor, add_scan_routes
from dagy_control.kernel.health import Health, HealthReport


def create_app(*, registry: CollectorRegistry, health: Health, scans: ScanDoor | None = None) -> FastAPI:
    """The application: `/metrics`, `/healthz`, `/readyz`, an index, and with `scans` `/orphans/scan`.

    Routes are coroutines on purpose: what they read belongs to the event loop's thread. FastAPI's `/docs` and `/redoc` are
    off, because they load scripts from public CDNs.
    """
    app = FastAPI(title="dagy_control", docs_url=None, redoc_url=None)

    @app.get("/", summary="What is here")
    async def index() -> dict[str, list[str]]:
        paths = ["/metrics", "/healthz", "/readyz"]
        return {"paths": [*paths, *(["/orphans/scan"] if scans is not None else [])]}

    @app.get("/metrics", summary="Prometheus metrics, as text or OpenMetrics by the Accept header")
    async def metrics(request: Request) -> Response:
        encode, content_type = _encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

    @app.get("/healthz", summary="Alive: 200, or 503 if the process should be restarted")
    async def healthz() -> JSONResponse:
        return _as_response(health.alive())

    @app.get("/readyz", summary="Ready: 200, or 503 if it cannot do its work now")
    async def readyz() -> JSONResponse:
        return _as_response(await health.ready())

    if scans is not None:
        add_scan_routes(app, scans)
    return app


def _encoder(accept: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):  # prometheus_client compares a version that is not a number
        return choose_encoder("")


def _as_response(report: HealthReport) -> JSONResponse:
    content = {"ok": report.ok, "components": dict(report.components)}
    return JSONResponse(content, status_code=200 if report.ok else 503, headers={"cache-control": "no-store"})
