"""The floor for process tasks: `multiprocessing`'s forkserver and nothing else. Prints the seconds that it took.

A script of its own, and a small one: each child of a forkserver imports the main module again.

    python tests/bench/bare_forkserver.py process|pool TASKS AT_ONCE
"""

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import connection
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Any


def attempt(channel: "Connection[Any, Any]", number: int) -> None:
    from tests.flows.tasks import add  # noqa: PLC0415 - the forkserver has imported it already

    channel.send(add(number, 1))
    channel.close()


def a_process_for_each(count: int, at_once: int) -> list[int]:
    """As `isolation="fresh"` does it: every task in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.flows.tasks"])
    left, results = list(range(count)), []
    running: dict[int, Any] = {}
    while left or running:
        while left and len(running) < at_once:
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=attempt, args=(theirs, left.pop()))
            process.start()
            theirs.close()
            running[process.sentinel] = process, ours
        for sentinel in connection.wait(list(running)):
            process, channel = running.pop(sentinel)  # type: ignore[call-overload]  # a sentinel is what we put in
            results.append(channel.recv())
            channel.close()
            process.join()
    return results


def a_pool(count: int, at_once: int) -> list[int]:
    """Processes that take one task after the other, whatever it leaves: no timeout that ends only its own task, no memory of its own."""
    from tests.flows.tasks import add  # noqa: PLC0415 - as above

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.flows.tasks"])
    with ProcessPoolExecutor(at_once, mp_context=context) as pool:
        return [future.result() for future in [pool.submit(add, number, 1) for number in range(count)]]


if __name__ == "__main__":
    import tests.flows.tasks  # noqa: F401 - this process's own imports are no cost of the pool, as they are none of the engine's

    kind, tasks, processes = sys.argv[1:]
    began = perf_counter()
    done = {"process": a_process_for_each, "pool": a_pool}[kind](int(tasks), int(processes))
    assert sorted(done) == list(range(1, int(tasks) + 1))
    sys.stdout.write(f"{perf_counter() - began}\n")
