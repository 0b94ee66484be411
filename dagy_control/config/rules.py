"""Rules that hold between settings. Each that is broken is one violation; all of them are reported at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dagy_control.config.fields import SAFE_MINIMUM, Section

if TYPE_CHECKING:
    from dagy_control.config.settings import Settings

Path = tuple[str, ...]
"""A setting: its section and its name; a root setting has its name only."""


VALUE = "{value}"
NOT_SHOWN = "…"


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken rule. `at`: the setting to change; `others`: those it was compared with; `reason` and `remedy`: sentences.

    `VALUE` in them stands for `value`, which those others have, or `at` where there are none: it may have come by a reference, and must
    not be told then.
    """

    at: Path
    others: tuple[Path, ...]
    reason: str
    remedy: str
    value: str = ""

    def told(self, *, with_value: bool) -> tuple[str, str]:
        """The reason and the remedy."""
        value = self.value if with_value else NOT_SHOWN
        return self.reason.replace(VALUE, value), self.remedy.replace(VALUE, value)


def find_violations(settings: "Settings") -> tuple[Violation, ...]:
    """Every broken rule of `settings`, in a fixed order."""
    return (
        *_time_order(settings),
        *_unsafe_graces(settings),
        *_enough_to_judge(settings),
        *_two_queues(settings),
        *_profile_exists(settings),
        *_distinct(settings, "tables", tuple(type(settings.tables).model_fields)),
        *_distinct(settings, "storage", _prefixes_of_one_bucket(settings)),
        *_state_table_names(settings),
        *_alert_topic(settings),
    )


_ABOVE: tuple[tuple[Path, Path, bool, str], ...] = (
    (
        ("launching", "reply_timeout_s"),
        ("aws", "read_timeout_s"),
        True,
        "a launch still waiting for its reply would be sent again",
    ),
    (
        ("launching", "token_replay_max_age_s"),
        ("launching", "reply_timeout_s"),
        True,
        "no lost launch could ever be replayed",
    ),
    (("launching", "retry_delay_max_s"), ("launching", "retry_delay_s"), False, "it is the upper bound of the delay"),
    (
        ("reconciling", "infra_retry_delay_max_s"),
        ("reconciling", "infra_retry_delay_s"),
        False,
        "it is the upper bound of the delay",
    ),
    (
        ("launching", "breaker_probe_delay_max_s"),
        ("launching", "breaker_probe_delay_s"),
        False,
        "it is the upper bound of the delay",
    ),
    (("aws", "read_timeout_s"), ("events", "wait_s"), True, "every empty receive call would time out"),
)
"""(greater, smaller, strictly, why): the first must be above (or, not strictly, at least) the second."""


def _value(settings: "Settings", path: Path) -> float:
    section, name = path
    return float(getattr(getattr(settings, section), name))


def _time_order(settings: "Settings") -> Iterator[Violation]:
    for greater, smaller, strictly, why in _ABOVE:
        high, low = _value(settings, greater), _value(settings, smaller)
        if high < low or (strictly and high == low):
            relation = "above" if strictly else "at least"
            yield Violation(
                greater,
                (smaller,),
                f"must be {relation} {'.'.join(smaller)}, which is {VALUE}: {why}",
                f"raise {'.'.join(greater)}, or lower {'.'.join(smaller)}",
                f"{low:g}",
            )


def _unsafe_graces(settings: "Settings") -> Iterator[Violation]:
    """Graces exist because ECS is eventually consistent for minutes after RunTask; the embedded cloud is not."""
    if settings.embedded_cloud:
        return
    for section_name, section in settings:
        if not isinstance(section, Section):
            continue
        for name, field in type(section).model_fields.items():
            extra = field.json_schema_extra
            if not isinstance(extra, dict) or SAFE_MINIMUM not in extra:
                continue
            least = float(str(extra[SAFE_MINIMUM]))
            if getattr(section, name) < least:
                yield Violation(
                    (section_name, name),
                    (("embedded_cloud",),),
                    f"is below its safe minimum of {least:g}: shorter is safe only in the embedded cloud (embedded_cloud = true)",
                    f"set it to {least:g} or more",
                )


def _enough_to_judge(settings: "Settings") -> Iterator[Violation]:
    reconciling = settings.reconciling
    if 0 < reconciling.max_runs < reconciling.missing_share_min_tasks:
        yield Violation(
            ("reconciling", "max_runs"),
            (("reconciling", "missing_share_min_tasks"),),
            f"is below reconciling.missing_share_min_tasks, which is {VALUE}: "
            "a pass too small to tell a lost task from a wrong cluster would end none",
            "raise it, or set it to 0 for all runs",
            str(reconciling.missing_share_min_tasks),
        )


def _two_queues(settings: "Settings") -> Iterator[Violation]:
    events = settings.events
    if events.queue_url is not None and events.dead_letter_queue_url == events.queue_url:
        yield Violation(
            ("events", "dead_letter_queue_url"),
            (("events", "queue_url"),),
            "is the same as events.queue_url: what is set aside would come again",
            "name another queue, or none",
        )


def _profile_exists(settings: "Settings") -> Iterator[Violation]:
    if settings.ecs.default_profile not in settings.ecs.profiles:
        yield Violation(
            ("ecs", "default_profile"),
            (("ecs", "profiles"),),
            f"is not one of ecs.profiles ({VALUE})",
            f"name one of {VALUE}, or add the profile (naming any profile replaces the default ones)",
            ", ".join(settings.ecs.profiles),
        )


def _prefixes_of_one_bucket(settings: "Settings") -> tuple[str, ...]:
    """Traces may have a bucket of their own; the other three share one."""
    shared = ("result_prefix", "artifact_prefix", "dep_package_prefix")
    own = settings.storage.trace_bucket not in (None, settings.storage.artifact_bucket)
    return shared if own else (*shared, "trace_prefix")


def _distinct(settings: "Settings", section: str, names: tuple[str, ...]) -> Iterator[Violation]:
    seen: dict[str, str] = {}
    for name in names:
        first = seen.setdefault(getattr(getattr(settings, section), name), name)
        if first != name:
            yield Violation(
                (section, name),
                ((section, first),),
                f"is the same as {section}.{first}: their contents would mix",
                "give each its own name",
            )


def _state_table_names(settings: "Settings") -> Iterator[Violation]:
    tables = settings.orphans.state_tables
    for attribute, why in (
        ("name", "reports could not tell them apart"),
        ("task_tag", "a task would have two records"),
    ):
        values = [getattr(table, attribute) for table in tables]
        for value in sorted({value for value in values if values.count(value) > 1}):
            yield Violation(
                ("orphans", "state_tables"),
                (),
                f"two of them have the {attribute} '{VALUE}': {why}",
                f"give each its own {attribute}",
                value,
            )


def _alert_topic(settings: "Settings") -> Iterator[Violation]:
    if settings.orphans.alert_publisher and settings.orphans.alert_topic_arn is None:
        yield Violation(
            ("orphans", "alert_topic_arn"),
            (("orphans", "alert_publisher"),),
            "is not set, and orphans.alert_publisher is on",
            "name the topic, or switch alert_publisher off",
        )
