"""What the death of a child means that left no answer."""

import os
import signal

from dagy_control.flow_engine.graph import TaskError
from dagy_control.model.runs import FailureClass


def explain_status(
    status: int, peak_memory_mb: float, *, for_memory: bool | None = None, limit_mb: float | None = None
) -> TaskError:
    """What a wait(2) status means. `for_memory`: whether the kernel killed it for lack of memory; None: nobody can tell.

    `limit_mb`: what the container may use; None: unknown.
    """
    peak = f"at a peak of {peak_memory_mb} MB"
    if not os.WIFSIGNALED(status):
        code = os.waitstatus_to_exitcode(status)
        return TaskError(
            "ProcessExited",
            f"the task's process ended with exit code {code} before it gave a result; look for os._exit or a library that calls it",
        )
    name = signal.Signals(os.WTERMSIG(status)).name
    limit = "" if limit_mb is None else f", in a container of {limit_mb} MB"
    if for_memory:
        return TaskError(
            "OutOfMemory",
            f"the kernel killed the task's process for lack of memory {peak}{limit}; "
            "use a larger workload profile, run fewer tasks at once, or process the data in chunks",
            failure_class=FailureClass.OUT_OF_MEMORY,
        )
    if name != "SIGKILL":
        hint = "a native library crashed, or somebody sent the signal"
    elif for_memory is None:
        hint = "most likely out of memory: use a larger workload profile, or process the data in chunks"
    else:
        hint = "somebody sent the signal; it was not the kernel for lack of memory"
    return TaskError("ProcessKilled", f"the task's process was killed by {name} {peak}{limit}; {hint}")
