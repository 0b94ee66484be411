"""The HTTP face, over a real port on loopback."""

import asyncio
import signal
import socket

import pytest

from dagy_control.errors import Permanent
from dagy_control.kernel.clock import SystemClock
from dagy_control.kernel.telemetry import LoopMetrics
from tests.unit.api.bench import Bench


async def test_metrics_come_as_text_by_default_and_as_openmetrics_when_asked_for() -> None:
    bench = Bench()
    LoopMetrics(bench.registry).ticks.labels("launching", "ok").inc()
    async with bench.serving():
        plain = await bench.ask("/metrics")
        open_metrics = await bench.ask("/metrics", accept="application/openmetrics-text; version=1.0.0")
        odd = await bench.ask("/metrics", accept="application/openmetrics-text; version=new")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'dagy_loop_ticks_total{loop="launching",outcome="ok"} 1.0' in plain.text
    assert open_metrics.headers["content-type"].startswith("application/openmetrics-text")
    assert open_metrics.text.endswith("# EOF\n")
    assert odd.status == 200
    assert odd.headers["content-type"].startswith("text/plain")


async def test_healthz_says_which_component_is_stuck() -> None:
    bench = Bench()
    reasons: list[str | None] = [None]
    bench.health.register_alive("launching", lambda: reasons[-1])
    async with bench.serving():
        fine = await bench.ask("/healthz")
        reasons.append("a tick has been running for 700 s")
        stuck = await bench.ask("/healthz")
    assert (fine.status, fine.json) == (200, {"ok": True, "components": {"launching": "ok"}})
    assert (stuck.status, stuck.json) == (
        503,
        {"ok": False, "components": {"launching": "a tick has been running for 700 s"}},
    )
    assert stuck.headers["cache-control"] == "no-store"


async def test_while_draining_probes_are_answered_alive_but_not_ready() -> None:
    bench = Bench()
    async with bench.serving():
        assert (await bench.ask("/readyz")).status == 200
        bench.health.begin_drain()
        ready, alive = await bench.ask("/readyz"), await bench.ask("/healthz")
    assert (ready.status, ready.json["components"]) == (503, {"drain": "the process is shutting down"})
    assert alive.status == 200


async def test_after_its_own_drain_the_port_is_free_again() -> None:
    bench = Bench()
    async with bench.serving():
        port = bench.server.port
    with socket.create_server(("127.0.0.1", port)):
        pass


async def test_an_open_connection_that_asks_nothing_does_not_hold_the_drain() -> None:
    bench = Bench()
    async with asyncio.timeout(20), bench.serving():
        _, writer = await asyncio.open_connection("127.0.0.1", bench.server.port)
        await bench.ask("/healthz")
    writer.close()


async def test_a_cancelled_server_leaves_nothing_behind_in_the_event_loop_and_the_port_free() -> None:
    bench = Bench()
    watched = asyncio.get_running_loop()._selector.get_map()  # type: ignore[attr-defined]  # what the stock loop listens on
    before = set(watched)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(bench.server.run(bench.drain))
        while bench.server.port == 0:
            await SystemClock().sleep(0)
        await bench.ask("/healthz")
        task.cancel()
    assert set(watched) == before
    with socket.create_server(("127.0.0.1", bench.server.port)):
        pass


async def test_a_port_that_is_taken_is_an_error_that_says_what_to_change() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        bench = Bench(port=port)
        with pytest.raises(Permanent, match=rf"127\.0\.0\.1 port {port}: Address already in use.*`api\.port`"):
            await bench.server.run(bench.drain)


async def test_a_host_that_is_not_ours_is_an_error_that_says_what_to_change() -> None:
    bench = Bench(host="192.0.2.1", port=8080)
    with pytest.raises(Permanent, match=r"192\.0\.2\.1 port 8080: .*`api\.host`"):
        await bench.server.run(bench.drain)


async def test_the_server_leaves_the_signal_handlers_alone() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    bench = Bench()
    async with bench.serving():
        await bench.ask("/healthz")
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


async def test_the_index_names_every_path_and_docs_that_load_from_elsewhere_are_off() -> None:
    bench = Bench()
    async with bench.serving():
        index = await bench.ask("/")
        docs, redoc = await bench.ask("/docs"), await bench.ask("/redoc")
    assert index.json == {"paths": ["/metrics", "/healthz", "/readyz"]}
    assert (docs.status, redoc.status) == (404, 404)
