"""The loopback server that the embedded cloud's faces stand on."""

import socket

from dagy_control.kernel.clock import SystemClock
from dagy_control.local.http_server import LoopbackServer


def test_an_answer_s_body_does_not_wait_for_the_acknowledgement_of_its_head() -> None:
    """Nagle's algorithm and delayed acknowledgements together cost 40 ms a call; accepted sockets inherit the option."""
    server = LoopbackServer(clock=SystemClock())
    with server._socket as listener:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
