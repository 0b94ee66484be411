"""What several commands are given in the same way: NAME=VALUE pairs, and JSON values in them."""

import json
from collections.abc import Sequence

from dagy_control.model.flow_templates import Json
from dagy_control.requests.refusals import RequestRefused


def parameters_of(texts: Sequence[str]) -> dict[str, Json]:
    """The `--param` options: values are JSON, else text."""
    return {name: _value(value) for name, value in pairs_of(texts, "--param").items()}


def pairs_of(texts: Sequence[str], option: str) -> dict[str, str]:
    """Each name once: a second value is a slip of the pen, and either could be meant."""
    pairs: dict[str, str] = {}
    for name, value in (_pair(text, option) for text in texts):
        if name in pairs:
            raise RequestRefused(option, f"{option} gives {name!r} twice, {pairs[name]!r} and {value!r}; give it once")
        pairs[name] = value
    return pairs


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise RequestRefused(option, f"{option} {text!r} must look like NAME=VALUE")
    return name, value


def _value(text: str) -> Json:
    try:
        value: Json = json.loads(text)
    except ValueError:
        return text
    return value
