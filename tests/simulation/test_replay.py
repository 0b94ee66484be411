"""Whatever ends a story is told alike: why, the seed, the last events, and one command that plays it again."""

import asyncio
import dataclasses
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.conduct import Conduct
from tests.simulation.crash_points import USUAL, Shot
from tests.simulation.faults import Fate, Outage
from tests.simulation.hunting import Hunt
from tests.simulation.mutants import MUTANTS
from tests.simulation.mutation_gate import Broken, first_seed_that_notices
from tests.simulation.removing import CALM
from tests.simulation.replay import SETTINGS, Altered, Breakdown, command, setting
from tests.simulation.scenario import Scenario, mixed
from tests.simulation.violation import Violation
from tests.simulation.world import World, outcome

ROOT = Path(__file__).parents[2]
SHORT: dict[str, Any] = {**CALM, "replicas": 1, "runs": 2, "calm_from_s": 60.0, "with_trainer": False, "rest_s": 60.0}


def run(words: str) -> "subprocess.CompletedProcess[str]":
    """The very command, as somebody types it into a shell with the virtual environment on its path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path}
    return subprocess.run(  # noqa: S602 - what is tested is that a shell takes it
        words, shell=True, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=120
    )


def replay_in(report: str) -> str:
    """The command that a report ends with."""
    found = re.search(r"^replay: (.+)\Z", report, re.MULTILINE)
    assert found is not None
    return found[1]


def violation_of(seed: int, **options: Any) -> Violation:
    ended = outcome(Altered(seed, options))
    assert isinstance(ended, Violation)
    return ended


def test_a_violation_in_a_seed_with_options_prints_the_command_that_shows_it_again() -> None:
    outage = Outage(10.0, 20.0, Fate.DENIED, ("RunTask",))
    conducts = ((1.0, Conduct.SUCCEED),)
    violation = violation_of(7, **SHORT, conducts=conducts, outages=(outage,), at_most=(("SUCCEEDED", 0),))
    assert str(violation).startswith("expected: at most 0 runs are SUCCEEDED, not 2\nseed 7; the last events:\n")
    again = run(replay_in(str(violation)))
    assert again.returncode == 1
    assert "\n".join([*violation.trace, str(violation)]) in again.stdout


def test_a_violation_of_a_mutant_prints_the_command_that_plays_the_mutant_again() -> None:
    mutant = next(each for each in MUTANTS if each.name == "breaker_opens")
    noticed = first_seed_that_notices(mutant, range(8))
    assert noticed is not None
    seed, first = noticed.seed, noticed.violation
    again = run(f"python -m tests.simulation.mutation_gate --only {mutant.name} --seed {seed}")
    assert again.returncode == 1
    assert f"\n{first}\nseed {seed}; the last events:\n" in again.stdout
    assert replay_in(again.stdout.rstrip()) == " ".join(str(again.args).split())


def stuck(_: World) -> object:
    """Waits for what never comes, and nothing else is scheduled."""
    return asyncio.get_running_loop().create_future()


def asserts(_: World) -> object:
    raise AssertionError("a mistake of the simulation")


def cancels(_: World) -> object:
    raise asyncio.CancelledError


def ending(how: Callable[[World], Any]) -> Any:
    async def story(world: World) -> None:
        world.net.say("the last event")
        await how(world)

    return story


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (stuck, "Deadlock: nothing is scheduled"),
        (asserts, "AssertionError: a mistake of the simulation"),
        (cancels, "CancelledError"),
    ],
)
def test_whatever_ends_a_story_is_told_with_seed_events_and_command(
    monkeypatch: pytest.MonkeyPatch, how: Callable[[World], Any], said: str
) -> None:
    monkeypatch.setattr(World, "_story", ending(how))
    seeds: dict[str, int | Hunt | Altered] = {
        "python -m tests.simulation --seed 3 --trace": 3,
        "python -m tests.simulation --seed 3 --trace --set runs=2": Altered(3, {"runs": 2}),
        "python -m tests.simulation --seed 3 --trace --hunt '2'": Hunt(3, 2, ()),
    }
    for replay, seed in seeds.items():
        ended = outcome(seed)
        assert isinstance(ended, Violation)
        assert f"{said}\n" in str(ended)
        assert f"in {how.__name__ if how is asserts else 'play'}\n" in str(ended), "with the lines that it came from"
        assert "\nseed 3; the last events:\n     0.000  the last event\n" in str(ended)
        assert replay_in(str(ended)) == replay
        assert ended.trace[0] == "     0.000  the last event"
    _, problem = Shot("launching", 1).outcome()
    assert said in problem
    assert problem.endswith("replay: python -m tests.simulation.crash_points --scene 'launching' --seed 1 --at none")


def test_a_world_that_cannot_begin_is_told_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scenario, "fault_plan", asserts)
    ended = outcome(3)
    assert isinstance(ended, Breakdown)
    assert "AssertionError: a mistake of the simulation" in str(ended)
    assert replay_in(str(ended)) == "python -m tests.simulation --seed 3 --trace"


def test_an_error_in_a_callback_ends_the_story_which_asyncio_would_only_log(monkeypatch: pytest.MonkeyPatch) -> None:
    before = World._until_quiet

    def failing() -> None:
        raise LookupError("in a callback")

    async def story(world: World) -> None:
        world.loop.call_later(5, failing)
        await before(world)

    monkeypatch.setattr(World, "_until_quiet", story)
    violation = violation_of(3, **SHORT)
    assert str(violation).startswith("invariant 12: ")
    assert "LookupError: in a callback" in str(violation)


def test_a_mutant_that_breaks_the_simulation_has_not_been_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "_story", ending(stuck))
    with pytest.raises(Broken, match="the story broke off"):
        first_seed_that_notices(MUTANTS[0], range(1))


@pytest.mark.parametrize(
    "options",
    [each.options for each in MUTANTS if each.options]
    + [{"hunted": (next(iter(mixed(0).fault_plan().aims.values()))[0].cell,)}],
)
def test_the_command_says_every_option_of_every_scenario(options: dict[str, Any]) -> None:
    """As a shell reads it, and as the command does."""
    scenario = dataclasses.replace(mixed(5), replay="", **options)
    words = shlex.split(command(scenario))
    settings = dict(setting(words[number + 1]) for number, word in enumerate(words) if word == "--set")
    assert dataclasses.replace(mixed(5), replay="", **settings) == scenario
    assert set(settings) <= set(SETTINGS)


def test_a_scene_as_it_is_can_be_played_again_too() -> None:
    again = run("python -m tests.simulation.crash_points --scene 'launching' --seed 1 --at none")
    assert again.stdout.endswith("0 of 0 crashes were reached; nothing is violated\n")
    assert USUAL["runs"] == again.stdout.count("RUNNING -> SUCCEEDED")
