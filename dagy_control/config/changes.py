"""What an edit of the configuration changes, setting by setting. Pure."""

from collections.abc import Collection
from dataclasses import dataclass

from typing_extensions import override

from dagy_control.config.catalogue import settings_by_path
from dagy_control.config.explaining import value_text
from dagy_control.config.settings import Settings

HIDDEN = "(by reference)"


@dataclass(frozen=True, slots=True)
class Change:
    """A setting with another value. Texts for people, redacted; `restart`: it is read once at start, so the edit cannot take effect."""

    key: str
    before: str
    after: str
    restart: bool

    @override
    def __str__(self) -> str:
        """The change in one line."""
        return f"{self.key}: {self.before} -> {self.after}"


def find_changes(before: Settings, after: Settings, *, hidden: Collection[str] = ()) -> tuple[Change, ...]:
    """Every setting that differs, in the file's order. Values of the keys in `hidden` came by reference and are never shown."""
    old, new = before.model_dump(mode="json"), after.model_dump(mode="json")
    changes = []
    for path, setting in settings_by_path().items():
        was, is_now = (_at(old, path), _at(new, path))
        if was != is_now:
            shown = (
                (HIDDEN, HIDDEN) if setting.key in hidden else (value_text(setting, was), value_text(setting, is_now))
            )
            changes.append(Change(setting.key, *shown, restart=setting.restart))
    return tuple(changes)


def _at(values: object, path: tuple[str, ...]) -> object:
    for part in path:
        values = values[part] if isinstance(values, dict) else None
    return values
