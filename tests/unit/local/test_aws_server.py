"""The lock around moto: one request at a time, except SQS's long polls."""

import io
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from dagy_control.local.aws_server import OneAtATime


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads that interrupt each other at nearly every instruction."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


class Till:
    """An application with moto's weakness: it reads, computes and writes back without a lock of its own."""

    def __init__(self) -> None:
        self.total = 0
        self.poll_over = threading.Event()

    def __call__(self, environ: dict[str, Any], _start_response: Any) -> Iterable[bytes]:
        if environ.get("HTTP_X_AMZ_TARGET") == "AmazonSQS.ReceiveMessage":
            assert self.poll_over.wait(10)
        before = self.total
        yield str(sum(range(2000))).encode()  # moto renders lazily too
        self.total = before + int(environ["wsgi.input"].read())


def _request(body: bytes = b"1", **headers: str) -> dict[str, Any]:
    return {"CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body), **headers}


def _answer(app: OneAtATime, environ: dict[str, Any]) -> None:
    for _ in app(environ, lambda *_: lambda _: None):
        pass


def test_of_many_requests_at_once_none_overwrites_another(eager_threads: None) -> None:
    till = Till()
    app = OneAtATime(till)
    threads = [threading.Thread(target=lambda: [_answer(app, _request()) for _ in range(50)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert till.total == 400


def test_a_long_poll_holds_nobody_up() -> None:
    till = Till()
    app = OneAtATime(till)
    poll = threading.Thread(target=_answer, args=(app, _request(HTTP_X_AMZ_TARGET="AmazonSQS.ReceiveMessage")))
    poll.start()
    _answer(app, _request(b"5"))
    assert till.total == 5
    till.poll_over.set()
    poll.join(10)
    assert not poll.is_alive()


def test_a_failed_request_does_not_lock_the_others_out() -> None:
    till = Till()
    app = OneAtATime(till)
    with pytest.raises(ValueError, match="invalid literal"):
        _answer(app, _request(b"x"))
    _answer(app, _request())
    assert till.total == 1
