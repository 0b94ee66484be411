"""Three stories of a run, played on both loops, as `runs show` prints them.

    python -m tests.stories

writes them into `docs/launching.md`.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from dagy_control.adapters.launch_failures import judge_failures
from dagy_control.entrypoints.runs_view import run_page
from dagy_control.model.runs import Run, Transition
from tests.both_loops import BothLoops
from tests.builders import NOW, a_run

PAGE = Path(__file__).parents[1] / "docs" / "launching.md"
NO_CAPACITY = "Capacity is unavailable at this time. Please try again later or in a different availability zone"
SPOT_ONLY = {"provider_weights": {"FARGATE_SPOT": 1}}
BLOCK = re.compile(r"<!-- story: (\w+) -->\n```\n(.*?)```", re.DOTALL)


def queued(**values: Any) -> Run:
    """A run as the request leaves it."""
    launched = Transition(at=NOW, from_status="", to_status="QUEUED", attempt=1, by="request", why="launched")
    return a_run(
        flow_name="daily_sales", active_since=NOW, created_at=NOW, version=1, transitions=(launched,), **values
    )


async def spot_reclaim() -> Run:
    """A worker's task is reclaimed by Spot, without an exit code; the next attempt succeeds."""
    bed = BothLoops(queued(cpu=1024, memory=2048, workload_profile="medium"), **SPOT_ONLY)
    await bed.run_and_end(None, stop_code="SpotInterruption", stopped_reason="Your Spot Task was interrupted.")
    await bed.succeed()
    return bed.run


async def out_of_memory() -> Run:
    """The worker is killed for memory, with the next profile switched on."""
    bed = BothLoops(queued(cpu=256, memory=512, workload_profile="small"))
    await bed.run_and_end(137, reason="OutOfMemoryError: Container killed due to memory usage")
    await bed.succeed()
    return bed.run


async def capacity_fallback() -> Run:
    """Spot has no capacity: RunTask says so at once, then a task stops before it starts. The third try is on-demand."""
    bed = BothLoops(queued(cpu=1024, memory=2048, workload_profile="medium"), **SPOT_ONLY)
    bed.tasks.next_failure(judge_failures([{"reason": NO_CAPACITY}]))
    await bed.tick()
    await bed.until_due()
    await bed.tick()
    bed.tasks.finish(
        bed.run.external_id or "",
        exit_code=None,
        containers=(),
        stop_code="TaskFailedToStart",
        stopped_reason=NO_CAPACITY,
    )
    await bed.reconcile()
    await bed.succeed()
    return bed.run


STORIES: dict[str, Callable[[], Coroutine[Any, Any, Run]]] = {
    each.__name__: each for each in (spot_reclaim, out_of_memory, capacity_fallback)
}


def told(name: str) -> str:
    """The transitions of a story as `dagy-control runs show` prints them."""
    run = asyncio.run(STORIES[name]())
    text = StringIO()
    Console(file=text, highlight=False, markup=False, emoji=False, width=140).print(run_page(run, ()))
    lines = [line.rstrip() for line in text.getvalue().splitlines() if line.strip()]
    return "\n".join(lines[lines.index("Story") + 1 :]) + "\n"


def main() -> None:
    """Bring the page up to date."""
    PAGE.write_text(BLOCK.sub(lambda block: block[0].replace(block[2], told(block[1])), PAGE.read_text()))


if __name__ == "__main__":
    main()
