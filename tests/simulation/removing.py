"""How a safeguard is taken away: a mutant replaces attributes of the shipped modules for as long as its `with` lasts."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from dagy_control.model import outcomes
from dagy_control.orphans import criteria
from tests.simulation import scenario
from tests.simulation.conduct import Conduct
from tests.simulation.versions import NOW, product


@dataclass(frozen=True, slots=True)
class Mutant:
    """A safeguard's name, what it is for, and how to remove it."""

    name: str
    guards: str
    apply: Callable[[], Any]
    options: dict[str, Any] = field(default_factory=dict)
    """What the scenario needs for the safeguard to be needed; without the mutant it must be green too."""


@contextmanager
def replaced(owner: object, name: str, value: object) -> Iterator[None]:
    """`owner.name` is `value`; a function of a module is replaced wherever another module has imported it."""
    product(NOW)  # all of it, first: a module that was imported under a mutant would keep it
    old = getattr(owner, name)
    holders = [owner]
    if callable(old) and not isinstance(owner, type):
        modules = [
            module for key, module in sys.modules.items() if key.startswith(("dagy_control", "tests.simulation"))
        ]
        holders += [module for module in modules if getattr(module, name, None) is old and module is not owner]
    for holder in holders:
        setattr(holder, name, value)
    try:
        yield
    finally:
        for holder in holders:
            setattr(holder, name, old)


def without_criterion(rule: Any) -> Callable[[], Any]:
    """The orphan scanner without one of its rules."""
    return lambda: replaced(criteria, "RULES", tuple(each for each in criteria.RULES if each is not rule))


def without_rule(rules: str, *names: str) -> Callable[[], Any]:
    """The judgement of a task without some of its rules."""

    def apply() -> Any:
        kept = tuple(rule for rule in getattr(outcomes, rules) if rule[0] not in names)
        return replaced(outcomes, rules, kept)

    return apply


def policies(name: str, **values: Any) -> Callable[[], Any]:
    """One of the scenario's policies with other values."""
    return lambda: replaced(scenario, name, replace(getattr(scenario, name), **values))


def always(*_: Any) -> bool:
    """Yes, whatever is asked."""
    return True


@contextmanager
def both(*contexts: Any) -> Iterator[None]:
    """All of them at once."""
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield


CALM: dict[str, Any] = {"chaos": False, "fault_rate": 0.0, "aims": 0, "acts": (), "cancels": 0.0, "slow": ()}
"""Nothing goes wrong but what a scenario orders."""
NEVER_STARTED: dict[str, Any] = {
    **CALM,
    "runs": 4,
    "burst": True,
    "conducts": ((1.0, Conduct.NEVER_START),),
    "with_trainer": False,
    "with_earlier_version": False,
}
"""No image can be pulled."""

BURST: dict[str, Any] = {**CALM, "burst": True, "conducts": ((1.0, Conduct.SUCCEED),), "slow_share": 0.0}
"""All runs are there from the start, and all of them succeed: were a twentieth to hang, they would be half of what runs at last.

No call is slow: a call let go in time that arrives two seconds later, among those of then, may be one too many for the account's
buckets. The limiter's margin is not for that, but its answer to a throttle is.
"""
