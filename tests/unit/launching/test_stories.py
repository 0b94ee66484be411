"""Three stories of a run: where each transition leads, and that `docs/launching.md` shows what `runs show` prints."""

import asyncio

import pytest

from tests.stories import BLOCK, PAGE, STORIES, told

ON_SPOT, STARTED, SUCCEEDED = "launch try 1 on FARGATE_SPOT", "RunTask answered", "the flow succeeded"


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        pytest.param(
            "spot_reclaim",
            [
                ("QUEUED", 1, "launched"),
                ("LAUNCHING", 1, ON_SPOT),
                ("RUNNING", 1, STARTED),
                ("QUEUED", 1, "SPOT_INTERRUPTED"),
                ("LAUNCHING", 2, ON_SPOT),
                ("RUNNING", 2, STARTED),
                ("SUCCEEDED", 2, SUCCEEDED),
            ],
            id="after a Spot reclaim the next attempt runs on Spot again",
        ),
        pytest.param(
            "out_of_memory",
            [
                ("QUEUED", 1, "launched"),
                ("LAUNCHING", 1, "launch try 1 on FARGATE"),
                ("RUNNING", 1, STARTED),
                ("QUEUED", 1, "OUT_OF_MEMORY"),
                ("LAUNCHING", 2, "launch try 1 on FARGATE"),
                ("RUNNING", 2, STARTED),
                ("SUCCEEDED", 2, SUCCEEDED),
            ],
            id="after an out-of-memory the next attempt has the next profile",
        ),
        pytest.param(
            "capacity_fallback",
            [
                ("QUEUED", 1, "launched"),
                ("LAUNCHING", 1, ON_SPOT),
                ("QUEUED", 1, "CAPACITY"),
                ("LAUNCHING", 1, "launch try 2 on FARGATE_SPOT"),
                ("RUNNING", 1, STARTED),
                ("QUEUED", 1, "CAPACITY"),
                ("LAUNCHING", 2, "launch try 1 on FARGATE"),
                ("RUNNING", 2, STARTED),
                ("SUCCEEDED", 2, SUCCEEDED),
            ],
            id="after two shortages on Spot the run goes to on-demand",
        ),
    ],
)
def test_the_transitions_of_a_run(name: str, steps: list[tuple[str, int, str]]) -> None:
    run = asyncio.run(STORIES[name]())
    assert [(step.to_status, step.attempt, step.why.partition(": ")[0]) for step in run.transitions] == steps


def test_the_next_profile_is_named_and_taken() -> None:
    run = asyncio.run(STORIES["out_of_memory"]())
    assert (run.workload_profile, run.cpu, run.memory) == ("medium", 1024, 2048)
    assert any(step.why.endswith("; next attempt with medium: 1024 CPU / 2048 MiB") for step in run.transitions)


def test_the_page_on_launching_shows_every_story_as_runs_show_prints_it() -> None:
    page = {block[1]: block[2] for block in BLOCK.finditer(PAGE.read_text())}
    assert page == {name: told(name) for name in STORIES}, "bring it up to date with: python -m tests.stories"
