"""What a RunTask that made no task means: ordered rules, first match wins. Pure.

Sources: RunTask in the Amazon ECS API Reference (errors; `failures[]` in an answer of HTTP 200), "API failure reasons" and "Invalid
CPU or memory value specified" in its Developer Guide, and the runbook's "Task Launch Failures".
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dagy_control.errors import Permanent
from dagy_control.model.launch_failure import LaunchCause, LaunchFailure, LaunchFailureKind
from dagy_control.model.runs import FailureClass


@dataclass(frozen=True, slots=True)
class _Rule:
    """A code or words, of which one must match, and what the refusal then is. No cause: it passes, another try is worth it."""

    codes: frozenset[str]
    words: re.Pattern[str]
    failure_class: FailureClass
    cause: LaunchCause | None = None

    def matches(self, code: str, text: str) -> bool:
        return code in self.codes or self.words.search(text) is not None


def _rule(codes: str, words: str, failure_class: FailureClass, cause: LaunchCause | None = None) -> _Rule:
    return _Rule(frozenset(codes.split()), re.compile(words or r"(?!)", re.IGNORECASE), failure_class, cause)


_CAPACITY = re.compile(
    r"RESOURCE:|capacity is unavailable|insufficient|no capacity|reached the limit|limit exceeded", re.IGNORECASE
)
_IMAGE = re.compile(r"CannotPull|image manifest|image .*(not found|does not exist)", re.IGNORECASE)
_CONFIGURATION, _PERMISSION = FailureClass.LAUNCH_CONFIGURATION, FailureClass.LAUNCH_PERMISSION

_REFUSALS = (
    _rule("BlockedException UnsupportedFeatureException", "", _PERMISSION, LaunchCause.ACCOUNT),
    # Said of the caller's or the roles' permissions, under whatever code.
    _rule("AccessDeniedException AccessDenied UnauthorizedOperation",
          r"PassRole|not authorized|unable to assume|service linked role", _PERMISSION, LaunchCause.PERMISSION),
    # Quotas and capacity come as ClientException or InvalidParameterException too, told only by their words; they pass.
    _rule("LimitExceededException", _CAPACITY.pattern, FailureClass.CAPACITY),
    _rule("", _IMAGE.pattern, FailureClass.IMAGE_PULL),
    # Of this run only: its size, its overrides, its tags.
    _rule("", r"No Fargate configuration|'(cpu|memory)' setting|overrides? length|Unknown parameter in overrides|"
          r"ephemeral ?storage|\btag (keys?|values?)\b|number of tags|startedBy|clientToken",
          _CONFIGURATION, LaunchCause.RUN),
    # Of the target that every run is launched to.
    _rule("ClusterNotFoundException", r"\bcluster (was |is )?(not found|inactive)|capacity provider",
          _CONFIGURATION, LaunchCause.CLUSTER),
    _rule("PlatformUnknownException PlatformTaskDefinitionIncompatibilityException", r"task ?definition|family",
          _CONFIGURATION, LaunchCause.TASK_DEFINITION),
    _rule("", r"subnet|security ?group|network ?configuration|\bvpc\b", _CONFIGURATION, LaunchCause.NETWORK),
    _rule("", r"\brole\b", _PERMISSION, LaunchCause.PERMISSION),
)  # fmt: skip
_ANYTHING_ELSE = _rule("", "", _CONFIGURATION, LaunchCause.UNKNOWN)
"""It is about the request, and would be refused again; whose fault it is, only further runs can tell."""


def judge_refusal(error: Permanent) -> LaunchFailure:
    """RunTask raised a definite refusal: of this send, whatever an earlier one with the same token did."""
    text = str(error)
    rule = next((rule for rule in _REFUSALS if rule.matches(error.code, text)), _ANYTHING_ELSE)
    kind = LaunchFailureKind.RETRYABLE if rule.cause is None else LaunchFailureKind.PERMANENT
    return LaunchFailure(kind=kind, failure_class=rule.failure_class, message=text, cause=rule.cause)


def judge_failures(failures: Sequence[Mapping[str, Any]]) -> LaunchFailure:
    """RunTask answered 200 without a task: always retryable, and never as a throttle.

    It is the token's answer (`LaunchFailure.settles_token`). The same token may replay these failures, so only a new one (the
    next launch try) can get another answer.
    """
    text = "; ".join(": ".join(filter(None, (each.get("reason"), each.get("detail")))) for each in failures)
    failure_class = FailureClass.INFRASTRUCTURE
    if _CAPACITY.search(text):
        failure_class = FailureClass.CAPACITY
    elif _IMAGE.search(text):
        failure_class = FailureClass.IMAGE_PULL
    return LaunchFailure(
        kind=LaunchFailureKind.RETRYABLE,
        failure_class=failure_class,
        message=text or "no reason given",
        settles_token=True,
    )
