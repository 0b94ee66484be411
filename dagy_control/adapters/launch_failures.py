"""What a RunTask that made no task means: ordered rules, first match wins. Pure.

Sources: RunTask in the Amazon ECS API Reference (errors; `failures[]` in an answer of HTTP 200) and "API failure reasons" in
its Developer Guide.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dagy_control.errors import Permanent
from dagy_control.model.lifecycle import LaunchFailure, LaunchFailureKind
from dagy_control.model.runs import FailureClass


@dataclass(frozen=True, slots=True)
class _Rule:
    """Codes (any, when empty) and words (any, when empty) that must both match."""

    codes: frozenset[str]
    words: re.Pattern[str]
    kind: LaunchFailureKind
    failure_class: FailureClass


_ANY = frozenset[str]()
_CAPACITY = re.compile(
    r"RESOURCE:|capacity is unavailable|insufficient|no capacity|reached the limit|limit exceeded", re.IGNORECASE
)
_PERMISSION = re.compile(r"PassRole|not authorized|unable to assume|service linked role", re.IGNORECASE)

_REFUSALS = (
    # Said of the caller's or the roles' permissions, under whatever code.
    _Rule(frozenset({"AccessDeniedException", "AccessDenied", "BlockedException", "UnauthorizedOperation"}), re.compile(""),
          LaunchFailureKind.PERMANENT, FailureClass.LAUNCH_PERMISSION),
    _Rule(_ANY, _PERMISSION, LaunchFailureKind.PERMANENT, FailureClass.LAUNCH_PERMISSION),
    # Quotas and capacity come as ClientException or InvalidParameterException too, told only by their words; they pass.
    _Rule(_ANY, _CAPACITY, LaunchFailureKind.RETRYABLE, FailureClass.CAPACITY),
    _Rule(frozenset({"LimitExceededException"}), re.compile(""), LaunchFailureKind.RETRYABLE, FailureClass.CAPACITY),
    # Everything else is about the request: it would be refused again.
    _Rule(_ANY, re.compile(""), LaunchFailureKind.PERMANENT, FailureClass.LAUNCH_CONFIGURATION),
)  # fmt: skip


def judge_refusal(error: Permanent) -> LaunchFailure:
    """RunTask raised a definite refusal: of this send, whatever an earlier one with the same token did."""
    text = str(error)
    rule = next(rule for rule in _REFUSALS if (not rule.codes or error.code in rule.codes) and rule.words.search(text))
    return LaunchFailure(kind=rule.kind, failure_class=rule.failure_class, message=text)


def judge_failures(failures: Sequence[Mapping[str, Any]]) -> LaunchFailure:
    """RunTask answered 200 without a task: always retryable, and never as a throttle.

    It is the token's answer (`LaunchFailure.settles_token`). The same token may replay these failures, so only a new one (the
    next launch try) can get another answer.
    """
    text = "; ".join(": ".join(filter(None, (each.get("reason"), each.get("detail")))) for each in failures)
    failure_class = FailureClass.CAPACITY if _CAPACITY.search(text) else FailureClass.INFRASTRUCTURE
    return LaunchFailure(
        kind=LaunchFailureKind.RETRYABLE,
        failure_class=failure_class,
        message=text or "no reason given",
        settles_token=True,
    )
