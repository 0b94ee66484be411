"""From pydantic's errors to problems that name the place, the value and the remedy."""

import json
import re
from collections.abc import Iterator

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dagy_control.config.catalogue import Kind, Setting, groups, settings_by_path
from dagy_control.config.merging import DEFAULT, Draft, Location
from dagy_control.config.problems import Problem, nearest, shown, shown_of_unknown
from dagy_control.config.rules import Violation
from dagy_control.config.settings import RULES_BROKEN, Settings

_SUBJECT = re.compile(r"^(Input|String|Tuple|List|Dictionary|Value) should ")


def explain(error: ValidationError, draft: Draft, *, with_rules: bool) -> Iterator[Problem]:
    """Each problem of a failed validation of `draft`.

    The rules between settings are checked too, for the settings that are sound by themselves, unless `with_rules` is off
    (half of the values are unknown when the file could not be read).
    """
    details = [detail for detail in error.errors(include_url=False) if detail["type"] != RULES_BROKEN]
    for detail in details:
        yield _field_problem(detail, draft)
    if not with_rules:
        return
    wrong = frozenset(tuple(str(part) for part in detail["loc"][:2]) for detail in details)
    for violation in _violations(_revalidated(draft, wrong) if wrong else error):
        if wrong.isdisjoint({violation.at, *violation.others}):
            yield _rule_problem(violation, draft)


def value_text(setting: Setting, value: object) -> str:
    """A value as people read it."""
    return "unset" if value is None else shown(setting.key, value)


def expected(setting: Setting) -> str:
    """What a setting takes, in words."""
    return f"{setting.kind}, {setting.limits}" if setting.limits else str(setting.kind)


def _revalidated(draft: Draft, wrong: frozenset[tuple[str, ...]]) -> ValidationError | None:
    try:
        Settings(**draft.values(without=wrong))
    except ValidationError as error:
        return error
    return None


def _violations(error: ValidationError | None) -> tuple[Violation, ...]:
    for detail in error.errors(include_url=False) if error else ():
        if detail["type"] == RULES_BROKEN:
            found: tuple[Violation, ...] = detail["ctx"]["violations"]
            return found
    return ()


def _rule_problem(violation: Violation, draft: Draft) -> Problem:
    setting = settings_by_path()[violation.at]
    value: object = draft.values()
    for part in violation.at:
        value = value.get(part, setting.default) if isinstance(value, dict) else setting.default
    places = (draft.sources(place) for place in (violation.at, *violation.others))
    source = next(
        (place for place in places if place != DEFAULT), DEFAULT
    )  # a default breaks no rule: name the value that was set
    text = draft.reference(violation.at) or value_text(setting, value)
    referenced = any(draft.reference(place) for place in violation.others or (violation.at,))
    reason, remedy = violation.told(with_value=not referenced)
    return Problem(source, setting.key, text, reason, remedy)


def _field_problem(detail: ErrorDetails, draft: Draft) -> Problem:
    within = tuple(part for part in detail["loc"] if part != "[key]")
    location = draft.resolved_whole(within)  # what is named in there is not shown either
    key = _dotted(location)
    source = draft.source(location)
    given = draft.reference(location) or shown(key, detail["input"])
    if detail["type"] == "extra_forbidden" and location == within:
        remedy = _unknown_remedy(location)
        given = draft.reference(location) or shown_of_unknown(f"{key} {remedy}", detail["input"])
        return Problem(source, key, given, "is not a setting", remedy)
    setting = settings_by_path().get(tuple(str(part) for part in location[:2])) or settings_by_path().get(
        (str(location[0]),)
    )
    if setting is None:
        remedy = f"make it a table: a line [{key}], and its settings below"
        given = draft.reference(location) or shown_of_unknown(key, detail["input"])
        return Problem(source, key, given, "must be a table", remedy)
    member = next((each for each in setting.members if each.path == (str(location[-1]),)), None)
    if location != within or (detail["type"] == "value_error" and draft.reference(location)):
        return Problem(source, key, given, "does not stand for what this takes", _value_remedy(setting, source))
    if detail["type"] == "missing" and member is not None:
        return Problem(source, key, None, "is missing", f"add it: {_first_sentence(member)}")
    reason = _SUBJECT.sub("must ", detail["msg"])
    value = None if "[key]" in detail["loc"] else given  # a wrong name has been told by `key`
    return Problem(source, key, value, reason, _value_remedy(member or setting, source))


def _dotted(location: Location) -> str:
    """`orphans.state_tables[1].table`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _unknown_remedy(location: Location) -> str:
    """The nearest name among its siblings, else anywhere."""
    name = str(location[-1])
    setting = settings_by_path().get(tuple(str(part) for part in location[:2]))
    group = next((group for group in groups() if group.name == location[0] and len(location) > 1), None)
    if setting is not None and setting.members:
        siblings = [each.path[-1] for each in setting.members]
    elif group is not None:
        siblings = [each.path[-1] for each in group.settings]
    else:
        siblings = [
            name
            for group in groups()
            for name in ([group.name] if group.name else [each.key for each in group.settings])
        ]
    near = nearest(name, siblings)
    if near:
        return f"did you mean {_dotted((*location[:-1], near))}?"
    elsewhere = {each.path[-1]: each.key for each in settings_by_path().values()}
    near = nearest(name, elsewhere)
    return (
        f"did you mean {elsewhere[near]}?"
        if near
        else "take it out; `dagy-control config reference` lists the known ones"
    )


def _value_remedy(setting: Setting, source: str) -> str:
    default = "" if setting.required else f" (default: {value_text(setting, setting.default)})"
    if setting.kind in (Kind.TABLE, Kind.TABLES) and source.startswith("DAGY_"):
        return f"give JSON, as in {json.dumps(setting.default)}"
    return f"give {expected(setting)}{default}"


def _first_sentence(setting: Setting) -> str:
    return setting.description.split(". ")[0].rstrip(".")
