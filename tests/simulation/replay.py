"""What is told of a story that ended badly: why, its seed, the last events, and the one command that plays it again."""

import argparse
import asyncio
import shlex
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

import msgspec

from tests.simulation.scenario import Scenario, mixed
from tests.simulation.violation import Violation

TRACE_SHOWN = 40
FRAMES_SHOWN = 12

ENDINGS = (Exception, asyncio.CancelledError)
"""What may end a story, but for Ctrl-C: a cancelled task is no `Exception`, and would end the command without a word."""

SETTINGS: Mapping[str, Any] = {
    name: kind for name, kind in get_type_hints(Scenario).items() if name not in ("seed", "plan", "replay")
}
"""What of a scenario can be set by the command, and its type."""


class Breakdown(Violation):
    """No invariant was violated, but the story broke off: a deadlock, an assertion, a mistake of the simulation's own."""


@dataclass(frozen=True)
class Altered:
    """A seed whose scenario is changed by these options."""

    seed: int
    options: Mapping[str, Any]


def told(error: BaseException, scenario: Scenario, trace: Sequence[str]) -> Violation:
    """Whatever has ended a story, as a violation with all that it takes to look at it and to play it again."""
    kind: type[Violation] = Violation
    why = str(error)
    if not isinstance(error, Violation):
        kind, why = Breakdown, f"the story broke off: {type(error).__name__}: {error}\n{frames(error)}"
    last = "\n".join(trace[-TRACE_SHOWN:])
    violation = kind(f"{why}\nseed {scenario.seed}; the last events:\n{last}\nreplay: {command(scenario)}")
    violation.trace = trace
    return violation


def frames(error: BaseException) -> str:
    """The lines of code that an error came from, the last ones."""
    return "".join(traceback.format_tb(error.__traceback__, limit=-FRAMES_SHOWN)).rstrip()


def command(scenario: Scenario) -> str:
    """The command of this scenario: its own, or the seed with whatever sets the scenario apart from the seed's."""
    if scenario.replay:
        return scenario.replay
    usual = mixed(scenario.seed)
    altered = {name: getattr(scenario, name) for name in SETTINGS if getattr(scenario, name) != getattr(usual, name)}
    words = ["python", "-m", "tests.simulation", "--seed", str(scenario.seed), "--trace"]
    for name, value in altered.items():
        words += ["--set", f"{name}={msgspec.json.encode(value).decode()}"]
    return shlex.join(words)


def setting(text: str) -> tuple[str, Any]:
    """NAME=JSON, as the command has it: an attribute of the scenario and its value."""
    name, _, value = text.partition("=")
    if name not in SETTINGS:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(SETTINGS)}")
    try:
        return name, msgspec.json.decode(value, type=SETTINGS[name])
    except msgspec.MsgspecError as error:
        raise argparse.ArgumentTypeError(f"{name} must be JSON of another form: {error}") from None
