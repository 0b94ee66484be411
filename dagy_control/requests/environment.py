"""What a run's environment may hold. Pure."""

import re
from collections.abc import Mapping, Sequence

from dagy_control.model.resources import PROVIDER_VARIABLE
from dagy_control.requests.refusals import RequestRefused

VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")

LOG_LEVEL = "DAGY_LOG_LEVEL"
"""The only variable of our own that a run's environment may set."""
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
"""A worker refuses to start with any other, and would be started again and again."""


def check_environment(environment: Mapping[str, str], providers: Sequence[str]) -> None:
    """Refuse what no worker could be started with, and what is ours. Its length is judged with all that is overridden."""
    for name in environment:
        if not VARIABLE_NAME.fullmatch(name):
            raise _refused(f"{name!r} is no name of an environment variable")
        if name.startswith("DAGY_") and name != LOG_LEVEL:
            raise _refused(f"{name} belongs to dagy_control; a run may set only {LOG_LEVEL}")
    level, provider = environment.get(LOG_LEVEL), environment.get(PROVIDER_VARIABLE)
    if level is not None and level.upper() not in LOG_LEVELS:
        raise _refused(f"{LOG_LEVEL} must be one of {', '.join(LOG_LEVELS)}, not {level!r}")
    if provider is not None and provider not in providers:
        raise _refused(f"{PROVIDER_VARIABLE} must be one of {', '.join(providers)}, not {provider!r}")


def _refused(message: str) -> RequestRefused:
    return RequestRefused("extra_env_vars", message)
