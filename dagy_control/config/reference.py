"""The texts that are made from the settings: the example file and the reference. Neither is written by hand."""

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from dagy_control.config.catalogue import Kind, Setting, groups
from dagy_control.config.environment import NOT_SETTINGS, STATE_TABLE_NAMES, names_of
from dagy_control.config.explaining import expected

_WIDTH = 110

_EXAMPLE_HEAD = """\
The configuration of dagy-control: every setting, with its default. A line that is commented out shows a setting without
a default. Copy what you change; leave out the rest.

An environment variable wins over this file. Check the result with `dagy-control config check FILE`.
This file is generated: `dagy-control config example > config.example.toml`.
"""

_REFERENCE_HEAD = """\
# Configuration

<!-- Generated: `dagy-control config reference > docs/configuration.md`. The text comes from the fields of `Settings`. -->

The configuration is a TOML file, named by `--config` or `DAGY_CONFIG`, with environment variables over it. In a container with
a read-only file system it may stand in AWS: `ssm:/path` or `s3://bucket/key` in the place of the file's name. Everything has
a default; `config.example.toml` holds all of them. `dagy-control config check [FILE]` tells what is wrong with a
configuration and what to do about it, `dagy-control config show` what is in effect and where each value came from.

**Order.** The last one wins: default, AWS's own `AWS_REGION` and `AWS_DEFAULT_REGION`, file, bare variable, `DAGY_*` variable.

**Variables.** A setting's variable is `DAGY_`, the section, `__` and the name, in capitals: `launching.interval_s` is
`DAGY_LAUNCHING__INTERVAL_S`. Other accepted names stand beside their setting. Lists are separated by commas or JSON; tables
are JSON. A variable that is set to nothing counts as not set. Two `DAGY_*` variables that contradict each other are an error.

**Mistakes.** An unknown key, an unknown `DAGY_*` variable, a wrong type or a value out of range is an error, never ignored.

**Tables.** A table or list of tables that is given replaces the default one as a whole.

**Edits.** A running daemon follows its file: within a few seconds of an edit, behind links (a Kubernetes ConfigMap) too; five more
where the file system tells nobody of changes; within half a minute where the file stands in SSM or S3. `SIGHUP` makes it look at
once, at references too. The whole file is checked first, and every loop takes its new settings between two ticks; switching a
loop off (`enabled = false`) gives its lease to another replica. An edit with any mistake, or with a change of a setting that
needs a restart, is refused as a whole with place, key and reason: the settings in effect stay, the daemon stays ready
(`/readyz` says `configuration: degraded` and why), and `dagy_config_last_reload_successful` is 0 until the file is good again.
The log says what each edit changes.

**Half a file.** A file is taken once it has stood unchanged for a second. Whether a writer that pauses for longer has ended cannot
be known, and half a file may be valid and mean something else: `[launching]` without its `enabled = false`. Write another file
and rename it over this one, as most editors do, and no half is ever seen. An empty file is refused.

**References.** `"ssm:/path"` in the place of a setting's value stands for a parameter of SSM Parameter Store, `"secret:id"` for a
secret of Secrets Manager, `"secret:id#key"` for one key of a secret that is a JSON object, in `aws.region`. What they stand for is
read as a variable's text is: `a,b` for a list, JSON for a table. Within a list or a table a reference stands for one text, not
for several, a number or a flag: there, give the whole setting by reference. A variable may hold a list of them (`ssm:/a,ssm:/b`).
The worker does not resolve references: the daemon tells it the values that it needs.

They are looked up when the process starts and, by a daemon with a file, again every five minutes. A value that has changed is taken
like an edit: a rotated `api.token` needs neither an edit nor a restart, and the old one is refused from then on. While AWS cannot
be asked, the values in effect stay.

What a reference stands for is not shown by `config show`, in the log of edits, or where it is refused. But names are shown where
they are used: `environment`, `installation`, `ecs.cluster_arn` and `telemetry.cloudwatch_namespace` stand in log lines, labels and
figures, and a value of `ecs` in each task. The one setting that is a secret, and treated as one everywhere, is `api.token`.

"Restart" marks a setting that is read once, at start. "Safe minimum" marks a value that may only be lower in the embedded cloud.
"""


def example_toml() -> str:
    """The text of `config.example.toml`."""
    lines = [f"# {line}".rstrip() for line in _EXAMPLE_HEAD.splitlines()]
    for group in groups():
        if group.name:
            lines += ["", "", *_comment(group.description), f"[{group.name}]"]
        for setting in sorted(group.settings, key=_has_tables):
            lines += ["", *_comment(setting.description), *_comment(_facts(setting)), *_assignment(setting)]
    return "\n".join(lines) + "\n"


def reference_markdown() -> str:
    """The text of `docs/configuration.md`."""
    parts = [_REFERENCE_HEAD]
    for group in groups():
        title = f"[{group.name}]" if group.name else "Top level"
        parts.append(f"## {title}\n\n{group.description}\n\n{_table(group.settings)}")
        parts += [
            f"Each of `{setting.key}`:\n\n{_table(setting.members)}" for setting in group.settings if setting.members
        ]
    ignored = ", ".join(f"`{name}`" for name in sorted(NOT_SETTINGS))
    parts.append(
        f"## Variables that are no settings\n\n{ignored}: "
        "the path of the file, and what the worker is told about its run and its container.\n"
    )
    return "\n".join(parts)


def _has_tables(setting: Setting) -> bool:
    """Whether its default is written as tables: in TOML these end the section's own lines."""
    return setting.kind in (Kind.TABLE, Kind.TABLES) and bool(setting.default)


def _facts(setting: Setting) -> str:
    text = expected(setting)
    facts = [f"{text[0].upper()}{text[1:]}."]
    if setting.safe_minimum is not None:
        facts.append(f"Safe minimum {setting.safe_minimum}.")
    facts.append(f"Environment: {', '.join(names_of(setting.path))}.")
    if setting.restart:
        facts.append("Needs a restart.")
    return " ".join(facts)


def _comment(text: str) -> list[str]:
    return [
        f"# {line}"
        for line in textwrap.wrap(" ".join(text.split()), _WIDTH, break_long_words=False, break_on_hyphens=False)
    ]


def _assignment(setting: Setting) -> Iterator[str]:
    match setting.kind:
        case Kind.TABLE if setting.members:
            for name, entry in setting.default.items():
                yield f"[{setting.key}.{name}]"
                yield from _entry(setting, entry, commented=name == next(iter(setting.default)))
        case Kind.TABLE:
            yield f"[{setting.key}]"
            yield from (f"{name} = {toml_value(value)}" for name, value in setting.default.items())
        case Kind.TABLES if setting.default:
            for index, entry in enumerate(setting.default):
                yield f"[[{setting.key}]]"
                yield from _entry(setting, entry, commented=index == 0)
        case _:
            yield _line(setting, setting.default)


def _entry(setting: Setting, entry: dict[str, Any], *, commented: bool) -> Iterator[str]:
    """The lines of one table of several; only the first one's fields are explained."""
    for member in setting.members:
        if commented:
            yield from _comment(member.description)
        yield _line(member, entry[member.path[-1]])


def _line(setting: Setting, value: object) -> str:
    name = setting.path[-1]
    return f"# {name} = {toml_value(setting.example)}" if value is None else f"{name} = {toml_value(value)}"


def toml_value(value: object) -> str:
    """A flag, number, text or list of texts as TOML, which writes these as JSON does."""
    return json.dumps(value)


def _table(settings: tuple[Setting, ...]) -> str:
    rows = ["| Setting | Takes | Default | Meaning |", "|---|---|---|---|"]
    rows += [
        f"| `{each.path[-1]}` | {_cell(_takes(each))} | {_default(each)} | {_cell(_meaning(each))} |"
        for each in settings
    ]
    return "\n".join(rows) + "\n"


def _takes(setting: Setting) -> str:
    text, found, pattern = expected(setting).partition("matching ")
    return f"{text}{found}`{pattern}`" if found else text


def _default(setting: Setting) -> str:
    if setting.required:
        return "required"
    if setting.default is None:
        return "unset"
    return (
        "two tables" if setting.kind is Kind.TABLES and setting.default else f"`{_cell(toml_value(setting.default))}`"
    )


def _meaning(setting: Setting) -> str:
    facts = [" ".join(setting.description.split())]
    if setting.safe_minimum is not None:
        facts.append(f"Safe minimum: {setting.safe_minimum}.")
    if others := [name for name in names_of(setting.path) if name != setting.variable]:
        facts.append(f"Also {', '.join(f'`{name}`' for name in others)}.")
    if setting.kind is Kind.TABLES and setting.default:
        facts.append(f"Default: {', '.join(_state_tables(setting))}.")
    if setting.restart:
        facts.append("**Restart.**")
    return " ".join(facts)


def _state_tables(setting: Setting) -> Iterator[str]:
    variables = {table: variable for variable, table in STATE_TABLE_NAMES.items()}
    for entry in setting.default:
        yield f"`{entry['name']}` (key `{entry['key_attribute']}`, its table set by `{variables[entry['name']]}`)"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
