"""The scanner's documented input: what a command, an HTTP request or a schedule's rule may ask of one scan. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite

from dagy_control.errors import Permanent
from dagy_control.orphans.decide import OrphanPolicy

HOURS_MAX = 8760.0
"""A year: a longer runtime is a slip of the pen."""


class BadInput(Permanent):
    """The input of a scan is not the documented one; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class ScanInput:
    """What one scan is asked for; None: as configured."""

    dry_run: bool | None = None
    max_runtime_hours: float | None = None

    def applied(self, policy: OrphanPolicy) -> OrphanPolicy:
        """The policy of this scan. Limits that are for some tasks only stay as they are."""
        hours = policy.criteria.max_runtime_hours if self.max_runtime_hours is None else self.max_runtime_hours
        return replace(
            policy,
            dry_run=policy.dry_run if self.dry_run is None else self.dry_run,
            criteria=replace(policy.criteria, max_runtime_hours=hours),
        )


def read_input(document: object) -> ScanInput:
    """The input in a JSON document. Text for a number or a flag is taken too: some schedulers send nothing else.

    Raises `BadInput`, for a name that is not known as well: a misspelt `dry_run` must not be overlooked.
    """
    if not isinstance(document, Mapping):
        raise BadInput('the input must be a JSON object, as {"dry_run": true, "max_runtime_hours": 6}')
    if strange := sorted(set(map(str, document)) - {"dry_run", "max_runtime_hours"}):
        raise BadInput(f"the input knows dry_run and max_runtime_hours, not {', '.join(map(repr, strange))}")
    return ScanInput(_flag(document.get("dry_run")), _hours(document.get("max_runtime_hours")))


def _flag(value: object) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise BadInput(f"dry_run must be true or false, not {value!r:.80}")


def _hours(value: object) -> float | None:
    if value is None:
        return None
    try:
        hours = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else 0.0
    except (ValueError, OverflowError):
        hours = 0.0
    if not isfinite(hours) or not 0 < hours <= HOURS_MAX:
        raise BadInput(f"max_runtime_hours must be a number above 0, {HOURS_MAX:g} at most, not {value!r:.80}")
    return hours
