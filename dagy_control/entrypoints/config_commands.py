"""`dagy-control config`: check a configuration, show what is in effect, print the reference."""

import json
import os
from typing import Annotated

import typer

from dagy_control.config import (
    ConfigError,
    Loaded,
    Problem,
    config_location,
    example_toml,
    find_advice,
    reference_markdown,
)
from dagy_control.config.catalogue import settings_by_path
from dagy_control.config.problems import redacted, shown
from dagy_control.entrypoints.command import errors_as_sentences
from dagy_control.entrypoints.configuration import read_configuration

app = typer.Typer(name="config", help="Check and show the configuration.", no_args_is_help=True)

File = Annotated[
    str | None,
    typer.Argument(
        help="The TOML file (or ssm:/path, s3://bucket/key). Default: the one that DAGY_CONFIG names, or none.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@app.command()
def check(file: File = None, as_json: Json = False) -> None:
    """Say whether the file, with the environment over it, is a valid configuration; exit 1 if it is not."""
    path = file or config_location(os.environ)
    loaded = _loaded(path, as_json=as_json)
    advice = find_advice(loaded)
    if as_json:
        print(json.dumps({"ok": True, "file": path, "problems": [], "warnings": list(advice)}, indent=2))
        return
    print(f"OK: {_what_was_read(path, loaded)}")
    for sentence in advice:
        print(f"warning: {sentence}")


@app.command()
def show(file: File = None, as_json: Json = False) -> None:
    """Print every setting that is in effect, and where its value came from."""
    path = file or config_location(os.environ)
    loaded = _loaded(path, as_json=as_json)
    values = _values(loaded)
    if as_json:
        print(
            json.dumps(
                {
                    key: {"value": loaded.references.get(key, redacted(key, value)), "source": loaded.sources[key]}
                    for key, value in values.items()
                },
                indent=2,
            )
        )
        return
    for key, value in values.items():
        text = loaded.references.get(key) or ("unset" if value is None else shown(key, value))
        print(f"{key} = {text}  [{loaded.sources[key]}]")


@app.command()
def reference() -> None:
    """Print the reference of all settings, in Markdown (docs/configuration.md)."""
    print(reference_markdown(), end="")


@app.command()
def example() -> None:
    """Print an example file with every setting and its default (config.example.toml)."""
    print(example_toml(), end="")


def _loaded(path: str | None, *, as_json: bool) -> Loaded:
    """The configuration; or every problem on standard output, and exit 1."""
    with errors_as_sentences():
        try:
            return read_configuration(path, os.environ)[0]
        except ConfigError as error:
            print(_problems_json(path, error.problems) if as_json else _problems_text(error.problems))
            raise typer.Exit(1) from None


def _values(loaded: Loaded) -> dict[str, object]:
    """Every setting's value as JSON data, by its dotted key."""
    data = loaded.settings.model_dump(mode="json")
    return {
        setting.key: data[path[0]] if len(path) == 1 else data[path[0]][path[1]]
        for path, setting in settings_by_path().items()
    }


def _what_was_read(path: str | None, loaded: Loaded) -> str:
    names = {name for source in loaded.sources.values() for name in source.split(", ") if name in os.environ}
    variables = f"{len(names)} environment variable{'' if len(names) == 1 else 's'}"
    listed = f" ({', '.join(sorted(names))})" if names else ""
    return f"{path or 'no file'}, {variables}{listed}, defaults for the rest"


def _problems_text(problems: tuple[Problem, ...]) -> str:
    blocks = []
    for problem in problems:
        lines = [problem.source]
        if problem.key:
            lines.append(f"  key:    {problem.key}")
        if problem.value is not None:
            lines.append(f"  value:  {problem.value}")
        blocks.append("\n".join([*lines, f"  reason: {problem.reason}", f"  remedy: {problem.remedy}"]))
    return "\n".join([*blocks, f"{len(problems)} problem{'' if len(problems) == 1 else 's'} found"])


def _problems_json(path: str | None, problems: tuple[Problem, ...]) -> str:
    names = ("source", "key", "value", "reason", "remedy")
    listed = [{name: getattr(problem, name) for name in names} for problem in problems]
    return json.dumps({"ok": False, "file": path, "problems": listed, "warnings": []}, indent=2)
