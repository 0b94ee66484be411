"""Which executors can run a flow. An executor that is not available is refused at once; there is never a fallback."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dagy_control.requests.refusals import RequestRefused


@dataclass(frozen=True, slots=True)
class Executor:
    """An executor by name, and the settings (as environment variables) that it still lacks; none: it is available."""

    name: str
    missing_settings: Sequence[str] = ()


def check_executor(executors: Mapping[str, Executor], name: str) -> None:
    """Refuse, in the runbook's words, an executor that is not available, naming what is missing."""
    executor = executors.get(name)
    if executor is None:
        known = ", ".join(sorted(executors)) or "none"
        raise RequestRefused("executor", f"Requested backend '{name}' is not available. Known backends: {known}.")
    if executor.missing_settings:
        raise RequestRefused(
            "executor",
            f"Requested backend '{name}' is not available. Ensure {executor.missing_settings[0]} is set. "
            f"Missing settings: {', '.join(executor.missing_settings)}.",
        )
