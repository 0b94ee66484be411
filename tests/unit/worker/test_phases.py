"""A start's times by phase."""

from structlog.testing import capture_logs

from dagy_control.worker.phases import StartPhases
from tests.fakes.clock import VirtualClock


async def test_each_phase_has_its_seconds_and_they_sum_to_the_first_task() -> None:
    clock = VirtualClock()
    phases = StartPhases(clock, 0.8, 30.25)
    for phase, seconds in {"claim": 0.1, "artifact": 2.0, "dependencies": 5.5}.items():
        await clock.advance(seconds)
        phases.over(phase)
    await clock.advance(1.25)
    with capture_logs() as lines:
        phases.first_task()
        await clock.advance(100)
        phases.first_task()
    (line,) = lines
    assert line["event_type"] == "run_start_phases"
    assert {name: value for name, value in line.items() if name.endswith("_seconds")} == {
        "pull_seconds": 30.25,  # before the process: no part of the sum
        "interpreter_seconds": 0.8,
        "claim_seconds": 0.1,
        "artifact_seconds": 2.0,
        "dependencies_seconds": 5.5,
        "import_seconds": 1.25,
        "first_task_seconds": 9.65,
    }


async def test_a_process_whose_age_nobody_knows_has_no_such_phase() -> None:
    assert "interpreter_seconds" not in StartPhases(VirtualClock()).seconds()


async def test_a_pull_that_nobody_tells_of_is_left_out() -> None:
    with capture_logs() as lines:
        StartPhases(VirtualClock()).first_task()
    assert "pull_seconds" not in lines[0]
