"""The container's health check: asks the daemon beside it whether it is alive, by the standard library alone.

`python3 -m dagy_control.entrypoints.healthcheck` exits 0 or 1, as a Dockerfile's HEALTHCHECK and ECS's `healthCheck` want it. It
imports nothing of ours, because it runs every half minute on a quarter of a CPU.
"""

import http.client
import os
import sys
from collections.abc import Mapping

DEFAULT_PORT = "9464"
TIMEOUT_S = 4.0


def main() -> None:
    """Ask `/healthz` on this host; say what it answers; exit 0 if the process is alive, 1 if it should be replaced.

    The port is DAGY_API__PORT, or the default: a port that only the configuration file tells is not known here.
    """
    healthy, told = check(os.environ)
    print(told)
    sys.exit(0 if healthy else 1)


def check(environ: Mapping[str, str]) -> tuple[bool, str]:
    """Whether the daemon answers 200, and what it says."""
    port = environ.get("DAGY_API__PORT", DEFAULT_PORT)
    try:
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=TIMEOUT_S)
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        told = response.read().decode(errors="replace")
    except (OSError, ValueError, http.client.HTTPException) as error:
        return False, f"nobody answers on port {port}: {error}"
    return response.status == http.client.OK, told


if __name__ == "__main__":
    main()
