"""From a file and an environment to `Settings`: a pure function of both, so that a running service can do it again.

Order, the last one wins: default, AWS's own region variable, file, bare variable, `DAGY_*` variable.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from dagy_control.config.catalogue import settings_by_path
from dagy_control.config.environment import read_environment
from dagy_control.config.explaining import explain
from dagy_control.config.merging import Draft
from dagy_control.config.problems import ConfigError, Problem
from dagy_control.config.references import References, Resolved
from dagy_control.config.settings import Settings
from dagy_control.config.toml_file import ConfigText, FileValues, parse_bytes, read_bytes

NOTHING_RESOLVED: Resolved = MappingProxyType({})

CONFIG_VARIABLE = "DAGY_CONFIG"
"""The environment variable that names the configuration file."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and where they came from.

    `sources`: for each dotted key the variable, the place in the file, or `default`. `unused`: variables that another one
    overrides, with that other one. `references`: for each key whose value, or a part of it, came by reference, that reference;
    such a value is never shown.
    """

    settings: Settings
    sources: Mapping[str, str]
    unused: Mapping[str, str]
    references: Mapping[str, str]


def config_location(environ: Mapping[str, str]) -> str | None:
    """What DAGY_CONFIG names: a file's path, `ssm:/path` or `s3://bucket/key`; None when it names nothing."""
    return environ.get(CONFIG_VARIABLE, "").strip() or None


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """The settings of the file at `path` (None: no file) with `environ` over it.

    Raises `ConfigError` with every problem that could be found. Reads nothing but that file and its arguments.
    """
    return load_with_sources(path, environ).settings


def load_with_sources(
    file: Path | ConfigText | None, environ: Mapping[str, str], resolved: Resolved = NOTHING_RESOLVED
) -> Loaded:
    """Like `load_settings`, with the source of each value; also of a file that has been read already.

    `resolved`: what `references_in` the same file and environment stand for.
    """
    file_values, problems = _read(file)
    unread = bool(problems)
    environment = read_environment(environ)
    draft = Draft(file_values, environment)
    draft.resolve(resolved)
    problems += (*environment.problems, *draft.problems)
    try:
        settings = Settings(**draft.values())
    except ValidationError as error:
        raise ConfigError((*problems, *explain(error, draft, with_rules=not unread))) from None
    if problems:
        raise ConfigError(problems)
    by_path = settings_by_path().items()
    references = {setting.key: draft.reference(path) for path, setting in by_path}
    return Loaded(
        settings,
        {setting.key: draft.sources(path) for path, setting in by_path},
        environment.unused,
        {key: text for key, text in references.items() if text is not None},
    )


def references_in(file: Path | ConfigText | None, environ: Mapping[str, str]) -> References:
    """The references in a file and environment, to be resolved before they are loaded. None in a file that is no TOML."""
    return Draft(_read(file)[0], read_environment(environ)).references()


def _read(file: Path | ConfigText | None) -> tuple[FileValues | None, tuple[Problem, ...]]:
    if file is None:
        return None, ()
    try:
        return parse_bytes(read_bytes(file) if isinstance(file, Path) else file), ()
    except ConfigError as error:
        return None, error.problems
