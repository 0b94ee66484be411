"""The container's health check against a server that answers as told, and against none."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from dagy_control.entrypoints.healthcheck import check


@contextmanager
def answering(status: int) -> Iterator[int]:
    """The port of a server whose `/healthz` answers this; anything else is 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()
            self.wfile.write(b'{"ok": true}')

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("status", "healthy"), [pytest.param(200, True, id="200"), pytest.param(503, False, id="503")])
def test_alive_is_what_healthz_says(status: int, healthy: bool) -> None:
    with answering(status) as port:
        assert check({"DAGY_API__PORT": str(port)}) == (healthy, '{"ok": true}')


@pytest.mark.parametrize("port", ["1", "no number", "99999999"])
def test_where_nobody_answers_it_is_not_healthy_and_says_which_port_was_asked(port: str) -> None:
    healthy, told = check({"DAGY_API__PORT": port})
    assert not healthy
    assert told.startswith(f"nobody answers on port {port}: ")


def test_its_exit_code_is_the_answer() -> None:
    command = [sys.executable, "-m", "dagy_control.entrypoints.healthcheck"]
    with answering(200) as port:
        alive = subprocess.run(command, env={"DAGY_API__PORT": str(port)}, capture_output=True, check=False, timeout=60)
    gone = subprocess.run(command, env={"DAGY_API__PORT": str(port)}, capture_output=True, check=False, timeout=60)
    assert (alive.returncode, gone.returncode) == (0, 1)
    assert b'"ok": true' in alive.stdout
    assert b"nobody answers" in gone.stdout
