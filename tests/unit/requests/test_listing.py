"""Lists of a batch: filtered before they are cut, read no further than needed, and honest about their end."""

import pytest

from dagy_control.model.runs import Run
from dagy_control.requests import listing
from dagy_control.requests.listing import Listing, list_batch
from tests.builders import a_run, ago
from tests.fakes.clock import VirtualClock
from tests.fakes.runs import FakeRuns


def a_batch(number: int) -> list[Run]:
    """Of three organisations in turn, and two flows; newest first."""
    return [
        a_run(
            run_id=f"r{each}",
            org_id=f"org-{each % 3}",
            flow_name=f"flow-{each % 2}",
            parent_correlation_id="b",
            created_at=ago(each),
        )
        for each in range(number)
    ]


async def listed(runs: FakeRuns, **options: object) -> Listing:
    return await VirtualClock().run(list_batch(runs, "b", **{"limit": 5, **options}), limit_s=60)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        pytest.param({}, ["r0", "r1", "r2", "r3", "r4"], id="all"),
        pytest.param({"org_id": "org-2"}, ["r2", "r5", "r8", "r11", "r14"], id="an organisation"),
        pytest.param({"flow_name": "flow-1"}, ["r1", "r3", "r5", "r7", "r9"], id="a flow"),
        pytest.param({"org_id": "org-0", "flow_name": "flow-1"}, ["r3", "r9", "r15"], id="both: fewer than the limit"),
        pytest.param({"org_id": "nobody"}, [], id="nobody's"),
        pytest.param({"limit": 1000}, [f"r{each}" for each in range(20)], id="a limit beyond"),
    ],
)
async def test_the_limit_counts_what_is_shown(options: dict[str, object], ids: list[str]) -> None:
    found = await listed(FakeRuns(*a_batch(20), a_run(run_id="other"), page_size=3), **options)
    assert ([run.run_id for run in found.runs], found.complete) == (ids, True)


async def test_no_more_pages_are_read_than_needed() -> None:
    runs = FakeRuns(*a_batch(90), page_size=3)
    await listed(runs)
    assert runs.calls == ["of_correlation"] * 2


async def test_an_endless_batch_is_read_to_a_bound_and_said_to_be_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "LOOKED_AT_MAX", 30)
    runs = FakeRuns(*a_batch(90), page_size=3)
    found = await listed(runs, org_id="org-0", limit=90)
    assert ([run.run_id for run in found.runs], found.complete) == ([f"r{each}" for each in range(0, 30, 3)], False)
    assert len(runs.calls) == 10
