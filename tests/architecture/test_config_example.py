"""`config.example.toml` and `docs/configuration.md` say what `Settings` says."""

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from dagy_control.config import Settings, example_toml, load_settings, reference_markdown

_ROOT = Path(__file__).parents[2]
_EXAMPLE = _ROOT / "config.example.toml"
_REFERENCE = _ROOT / "docs" / "configuration.md"
_REGENERATE = "run `dagy-control config example > config.example.toml` and `dagy-control config reference > docs/configuration.md`"
_UNSET = re.compile(r"^# (\w+ = .+)$", re.MULTILINE)


def every_field() -> list[tuple[str, str, str]]:
    """(section, name, description) of every field, straight from the models."""
    found = []
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            found += [(name, inner, each.description or "") for inner, each in section.model_fields.items()]
        else:
            found.append(("", name, field.description or ""))
    return found


def comment_before(text: str, section: str, name: str) -> str:
    """The comment lines directly above a setting or, for a table, above its header; as one line."""
    start = text.index(f"\n[{section}]\n") if section else 0
    place = re.compile(rf"^(?:(?:# )?{name} = |\[\[?{section}\.{name}[.\]])", re.MULTILINE).search(text, start)
    assert place is not None, f"{section}.{name} is not in the example"
    lines: list[str] = []
    for line in reversed(text[: place.start()].splitlines()):
        if not line.startswith("#"):
            break
        lines.insert(0, line.removeprefix("#").strip())
    return " ".join(lines)


def test_the_example_file_is_the_generated_one() -> None:
    assert _EXAMPLE.read_text(encoding="utf-8") == example_toml(), _REGENERATE


def test_the_reference_is_the_generated_one() -> None:
    assert _REFERENCE.read_text(encoding="utf-8") == reference_markdown(), _REGENERATE


def test_the_example_file_loads_as_the_defaults() -> None:
    assert load_settings(_EXAMPLE, {}) == Settings()


def test_the_example_file_names_every_setting_and_no_other() -> None:
    text = _EXAMPLE.read_text(encoding="utf-8")
    values = tomllib.loads(_UNSET.sub(r"\1", text))
    named = {(key, inner) for key, value in values.items() if isinstance(value, dict) for inner in value}
    named |= {("", key) for key, value in values.items() if not isinstance(value, dict)}
    assert named == {(section, name) for section, name, _ in every_field()}


def test_a_line_that_is_commented_out_is_a_setting_that_is_unset() -> None:
    named = set(_UNSET.findall(_EXAMPLE.read_text(encoding="utf-8")))
    optional = {
        name
        for section, name, _ in every_field()
        if getattr(getattr(Settings(), section) if section else Settings(), name) is None
    }
    assert {line.split(" = ")[0] for line in named} == optional | {"table"}


def test_the_examples_of_unset_settings_are_valid(tmp_path: Path) -> None:
    path = tmp_path / "all.toml"
    path.write_text(_UNSET.sub(r"\1", _EXAMPLE.read_text(encoding="utf-8")), encoding="utf-8")
    settings = load_settings(path, {})
    assert settings.ecs.cluster_arn == "dagy"
    assert all(
        getattr(getattr(settings, section) if section else settings, name) is not None
        for section, name, _ in every_field()
    )


@pytest.mark.parametrize(
    ("section", "name", "description"),
    [pytest.param(*each, id=".".join(each[:2]).strip(".")) for each in every_field()],
)
def test_each_setting_is_described(section: str, name: str, description: str) -> None:
    """By its field's own docstring, which is a sentence or more, in the example and in the reference."""
    words = " ".join(description.split())
    assert words.endswith(".")
    assert comment_before(_EXAMPLE.read_text(encoding="utf-8"), section, name).startswith(words)
    assert words.replace("|", "\\|") in _REFERENCE.read_text(encoding="utf-8")
