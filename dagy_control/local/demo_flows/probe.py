"""Example flow: one task that does as it is told, well or badly."""

import time

from dagy_control.sdk import flow, task


@task
def act(mode: str, seconds: float) -> str:
    """`wait`: take so long. `fail`: raise. `hog`: take memory without end."""
    if mode == "fail":
        raise ValueError("the probe was told to fail")
    if mode == "hog":
        hoard = []
        while True:
            hoard.append(bytearray(b"\1" * (16 * 1024 * 1024)))
            time.sleep(0.01)
    time.sleep(seconds)
    return f"waited {seconds} s"


@flow(version="1")
def probe(mode: str = "wait", seconds: float = 0.0) -> str:
    """Do as told."""
    return act(mode, seconds)
