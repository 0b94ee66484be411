"""From a file and an environment to `Settings`: a pure function of both, so that a running service can do it again.

Order, the last one wins: default, AWS's own region variable, file, bare variable, `DAGY_*` variable.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from dagy_control.config.catalogue import settings_by_path
from dagy_control.config.environment import read_environment
from dagy_control.config.explaining import explain
from dagy_control.config.merging import Draft
from dagy_control.config.problems import ConfigError, Problem
from dagy_control.config.settings import Settings
from dagy_control.config.toml_file import ConfigText, FileValues, parse_bytes, read_bytes

CONFIG_VARIABLE = "DAGY_CONFIG"
"""The environment variable that names the configuration file."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and where they came from.

    `sources`: for each dotted key the variable, the place in the file, or `default`. `unused`: variables that another one
    overrides, with that other one.
    """

    settings: Settings
    sources: Mapping[str, str]
    unused: Mapping[str, str]


def config_path(environ: Mapping[str, str]) -> Path | None:
    """The file that DAGY_CONFIG names; None when it names none."""
    name = environ.get(CONFIG_VARIABLE, "").strip()
    return Path(name) if name else None


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """The settings of the file at `path` (None: no file) with `environ` over it.

    Raises `ConfigError` with every problem that could be found. Reads nothing but that file and its arguments.
    """
    return load_with_sources(path, environ).settings


def load_with_sources(file: Path | ConfigText | None, environ: Mapping[str, str]) -> Loaded:
    """Like `load_settings`, with the source of each value; also of a file that has been read already."""
    file_values, problems = _read(file)
    unread = bool(problems)
    environment = read_environment(environ)
    draft = Draft(file_values, environment)
    problems += (*environment.problems, *draft.problems)
    try:
        settings = Settings(**draft.values())
    except ValidationError as error:
        raise ConfigError((*problems, *explain(error, draft, with_rules=not unread))) from None
    if problems:
        raise ConfigError(problems)
    return Loaded(
        settings, {setting.key: draft.sources(path) for path, setting in settings_by_path().items()}, environment.unused
    )


def _read(file: Path | ConfigText | None) -> tuple[FileValues | None, tuple[Problem, ...]]:
    if file is None:
        return None, ()
    try:
        return parse_bytes(read_bytes(file) if isinstance(file, Path) else file), ()
    except ConfigError as error:
        return None, error.problems
