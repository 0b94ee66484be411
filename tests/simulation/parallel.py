"""Many stories at once, a process for each core."""

import gc
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from dagy_control.kernel.telemetry import configure_logging

T = TypeVar("T")
R = TypeVar("R")


def _quiet() -> None:
    configure_logging(level="CRITICAL")


def _be_a_worker() -> None:
    _quiet()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command, which ends its workers itself
    gc.disable()  # a fifth of the time of a story; `_one` collects between two of them


def _one(function: Callable[[T], R], item: T) -> R:
    gc.collect()
    if not gc.get_freeze_count():
        gc.freeze()  # what is there before the first is the program: it is not looked at again
    return function(item)


def spread(function: Callable[[T], R], items: Sequence[T], jobs: int | None = None) -> Iterator[R]:
    """What the function gives for each item, in the items' order, as soon as it is there. Closing the iterator ends the processes."""
    jobs = min(jobs or os.cpu_count() or 1, len(items))
    if jobs <= 1:
        _quiet()
        yield from map(function, items)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs, initializer=_be_a_worker) as pool:
        yield from pool.imap(partial(_one, function), items)
