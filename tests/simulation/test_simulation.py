"""Seeds of the simulation: the default suite plays a few, `python -m tests.simulation --seeds N` many."""

import pytest

from tests.simulation.world import play

SEEDS = range(12)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_seed_violates_an_invariant(seed: int) -> None:
    report = play(seed)
    assert sum(report.statuses.values()) >= 18
    assert sum(report.injected.values()) >= 10


def test_one_seed_gives_one_trace() -> None:
    assert play(3).trace == play(3).trace


def test_without_any_event_polling_alone_brings_every_run_to_its_end() -> None:
    report = play(5, with_events=False)
    assert "ReceiveMessage" not in {call for call, _ in report.cells}
    assert report.statuses["SUCCEEDED"] > 0
