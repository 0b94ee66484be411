"""A flow that testifies: it leaves a line in a file when its code begins, and one when it ends."""

import json
import os
import time
from pathlib import Path

from dagy_control.sdk import flow, task


def testify(ledger: str, what: str) -> None:
    """One line, in one write, so that the lines of several processes do not mix."""
    line = {
        "what": what,
        "run_id": os.environ["DAGY_RUN_ID"],
        "attempt": int(os.environ["DAGY_ATTEMPT"]),
        "task_id": os.environ["ECS_CONTAINER_METADATA_URI_V4"].rsplit("/", 1)[-1],
    }
    with Path(ledger).open("a") as file:
        file.write(json.dumps(line) + "\n")


@task
def act(ledger: str, fail: bool, seconds: float, first_seconds: float) -> str:
    """Take `seconds`, in the run's first attempt `first_seconds` more; then raise if told so."""
    testify(ledger, "begin")
    first = os.environ["DAGY_ATTEMPT"] == "1"
    time.sleep(seconds + (first_seconds if first else 0.0))  # noqa: TID251 - a user's task may sleep
    testify(ledger, "end")
    if fail:
        raise ValueError("told to fail")
    return "done"


@flow(version="1")
def witness(ledger: str, fail: bool = False, seconds: float = 0.0, first_seconds: float = 0.0) -> str:
    """Do as told."""
    return act(ledger, fail, seconds, first_seconds)
