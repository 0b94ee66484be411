"""What ECS says of a task in words, and what those words name: an image, a secret, a file system."""

import re

from dagy_control.model.runs import FailureClass
from dagy_control.model.stop_kinds import StopKind
from dagy_control.model.tasks import SeenTask, unsigned

WORDS_MAX_CHARACTERS = 500
"""What a sentence quotes at most; the whole text is in the evidence."""

_IMAGE = re.compile(
    r"(?:\bref|\bfor|\brepository|\bimage) [\"']?([\w.-]+(?::\d+)?(?:/[\w.-]+)+(?::[\w.-]+)?(?:@sha256:\w+)?)"
)
_ARN = re.compile(r"arn:[\w-]+:(?:secretsmanager|ssm):[^\s\"',;)]+", re.IGNORECASE)
_PARAMETER = re.compile(r"invalid (?:ssm )?parameters: \[?([^\s\],]+)", re.IGNORECASE)
_FILE_SYSTEM = re.compile(r"\b(fs-\w+)")


def text_of(task: SeenTask) -> str:
    """Everything that ECS says in words, for the rules that must read words; a container is named where there are several."""
    several = len(task.containers) > 1
    reasons = [f"{each.name}: {each.reason}" if several else each.reason for each in task.containers if each.reason]
    return "; ".join(dict.fromkeys(filter(None, (task.stopped_reason.strip(), *reasons))))


def words_of(task: SeenTask) -> str:
    """The stop code and the words, for a sentence; cut."""
    said = unsigned(text_of(task))[:WORDS_MAX_CHARACTERS]
    return ": ".join(filter(None, (task.stop_code, said))) or "ECS gave no reason"


def thing_of(task: SeenTask, kind: StopKind, *, worker: str) -> str:
    """What could not be had: the image (and whose, if not the worker's), the secret, the file system; as far as ECS names it."""
    words = text_of(task)
    if kind.failure_class is FailureClass.RESOURCE_INITIALIZATION:
        found = _ARN.search(words) or _PARAMETER.search(words) or _FILE_SYSTEM.search(words)
        name = found[found.lastindex or 0] if found else "of the task definition"
        return name if name.endswith("...") else name.rstrip(":.")  # ECS marks so where it has cut
    told = [each for each in task.containers if kind.pattern.match(each.reason)]
    whose = told[0] if told else task.container(worker)
    named = _IMAGE.search(words)
    image = (whose.image if whose else "") or (named[1] if named else "") or "of the task definition"
    return image if whose is None or whose.name == worker else f"{image} (of the container {whose.name})"
