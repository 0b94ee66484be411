"""The environment's part of the configuration: which variables are settings, and what their text means.

`DAGY_` and the setting's name, `__` between section and name; the runbook's names; and the bare names of the orphan
scanner's document. A `DAGY_*` name wins over a bare one. A variable that is set to nothing counts as not set.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from dagy_control.config.bounds import find_excess
from dagy_control.config.catalogue import PREFIX, Kind, Setting, settings_by_path
from dagy_control.config.problems import REDACTED, Problem, nearest, shown
from dagy_control.config.references import Store

Path = tuple[str, ...]

RUNBOOK_NAMES: Mapping[str, Path] = {
    "DAGY_ECS_CLUSTER_ARN": ("ecs", "cluster_arn"),
    "DAGY_ECS_EXECUTION_ROLE_ARN": ("ecs", "execution_role_arn"),
    "DAGY_ECS_TASK_ROLE_ARN": ("ecs", "task_role_arn"),
    "DAGY_ECS_SUBNETS": ("ecs", "subnets"),
    "DAGY_ECS_SECURITY_GROUPS": ("ecs", "security_groups"),
    "DAGY_ECS_WORKER_IMAGE": ("ecs", "worker_image"),
}
"""Names from the operations runbook, beside the regular ones."""

BARE_NAMES: Mapping[str, Path] = {
    "ECS_CLUSTER": ("ecs", "cluster_arn"),
    "MAX_TASK_RUNTIME_HOURS": ("orphans", "max_runtime_hours"),
    "DRY_RUN": ("orphans", "dry_run"),
    "ENVIRONMENT": ("environment",),
}
"""Names from the orphan scanner's document. Any `DAGY_*` name of the same setting wins."""

STATE_TABLES: Path = ("orphans", "state_tables")
STATE_TABLE_NAMES: Mapping[str, str] = {"RETRAINING_STATE_TABLE": "retraining", "TRADING_STATE_TABLE": "trading"}
"""Variables of the orphan scanner's document that set `table` of the state table of that name."""

FALLBACK_NAMES: Mapping[str, Path] = {"AWS_REGION": ("aws", "region"), "AWS_DEFAULT_REGION": ("aws", "region")}
"""AWS's own names: used only when neither the file nor a `DAGY_*` variable says anything. The first one wins."""

NOT_SETTINGS = frozenset({"DAGY_RUN_ID", "DAGY_ATTEMPT", "DAGY_CORRELATION_ID", "DAGY_CONFIG", "DAGY_CGROUP_DIR"})
"""What the worker is told about its run and its container, and the path of the configuration file."""


@dataclass(frozen=True, slots=True)
class Given:
    """A value and the variable that it came from."""

    name: str
    value: object


@dataclass(frozen=True, slots=True)
class EnvironmentValues:
    """What the environment says. `state_tables`: table names by state table. `unused`: variables that another one overrides."""

    values: Mapping[Path, Given]
    fallbacks: Mapping[Path, Given]
    state_tables: Mapping[str, Given]
    unused: Mapping[str, str]
    problems: tuple[Problem, ...]


@cache
def variable_names() -> Mapping[str, Path]:
    """Every `DAGY_*` variable that is a setting."""
    return {setting.variable: path for path, setting in settings_by_path().items()} | dict(RUNBOOK_NAMES)


def names_of(path: Path) -> tuple[str, ...]:
    """Every variable that sets the setting at `path`, the regular one first."""
    known = (*variable_names().items(), *BARE_NAMES.items(), *FALLBACK_NAMES.items())
    return tuple(name for name, target in known if target == path) + (
        tuple(STATE_TABLE_NAMES) if path == STATE_TABLES else ()
    )


def read_environment(environ: Mapping[str, str]) -> EnvironmentValues:
    """The settings in `environ`. Values are not validated yet: text that is not of its setting's kind stays text."""
    present = {name: text.strip() for name, text in environ.items() if text.strip()}
    values: dict[Path, Given] = {}
    unused: dict[str, str] = {}
    problems = [_unknown(name, environ[name]) for name in sorted(environ) if _is_unknown(name)]
    for name, path in variable_names().items():
        if name not in present:
            continue
        given = Given(name, parsed(settings_by_path()[path], present[name]))
        other = values.setdefault(path, given)
        if other.value != given.value:
            problems.append(_contradiction(given, other, ".".join(path)))
    for name, path in BARE_NAMES.items():
        if name in present:
            given = Given(name, parsed(settings_by_path()[path], present[name]))
            winner = values.setdefault(path, given)
            if winner is not given:
                unused[name] = winner.name
    fallbacks: dict[Path, Given] = {}
    for name, path in FALLBACK_NAMES.items():
        if name in present:
            fallbacks.setdefault(path, Given(name, present[name]))
    state_tables = {table: Given(name, present[name]) for name, table in STATE_TABLE_NAMES.items() if name in present}
    if STATE_TABLES in values:
        unused |= {given.name: values[STATE_TABLES].name for given in state_tables.values()}
        state_tables = {}
    return EnvironmentValues(values, fallbacks, state_tables, unused, tuple(problems))


def _is_unknown(name: str) -> bool:
    return name.startswith(PREFIX) and name not in variable_names() and name not in NOT_SETTINGS


def _unknown(name: str, text: str) -> Problem:
    near = nearest(name, variable_names())
    remedy = f"did you mean {near}?" if near else "unset it; `dagy-control config reference` lists the known ones"
    value = text if text.isdecimal() or not text else REDACTED
    return Problem(name, name, shown(f"{name} {remedy}", value), "is not a setting", remedy)


def _contradiction(given: Given, other: Given, key: str) -> Problem:
    reason = f"contradicts {other.name}, which says {shown(key, other.value)} for the same setting"
    return Problem(given.name, key, shown(key, given.value), reason, f"unset one of {given.name} and {other.name}")


REFERENCES = tuple(f"{store}:" for store in Store)
"""How the text of a reference begins."""

_FLAGS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def parsed(setting: Setting, text: str) -> object:
    """The text as a value of the setting's kind; unchanged when it is none, so that validation refuses it by name.

    A reference stays what it is, whatever the kind: it is read when it has been resolved. Several are a list of them.
    """
    if text.startswith(REFERENCES) and not (setting.kind is Kind.LIST and "," in text):
        return text
    try:
        value = _read(setting.kind, text)
        json.dumps(value, ensure_ascii=False).encode()  # half of a UTF-16 pair is JSON, and cannot be printed
    except (ValueError, RecursionError):
        return text
    return text if find_excess(value) else value


def _read(kind: Kind, text: str) -> object:
    match kind:
        case Kind.TEXT:
            return text
        case Kind.FLAG:
            return _FLAGS.get(text.lower(), text)
        case Kind.COUNT:
            return int(text)
        case Kind.NUMBER:
            return float(text)
        case Kind.LIST if not text.startswith("["):
            return [item.strip() for item in text.split(",") if item.strip()]
        case _:
            return json.loads(text)
