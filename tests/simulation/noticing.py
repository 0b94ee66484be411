"""By which invariant each mutant must be noticed: one that shows by something else only shows that something else is broken."""

from collections.abc import Mapping

LIVENESS = "liveness"
EXPECTED = "expected"
"""What the mutant's own scenario expects of the ends of its runs."""

NOTICES: Mapping[str, tuple[str, ...]] = {
    "1": (
        *("claim_checks_attempt", "claim_checks_arn", "claim_checks_cancel", "claim_checks_status"),
        "attempt_in_judgement",
    ),
    "2": (*("deterministic_token", "replay_only_young", "not_found_grace", "send_time_renewed", "looks_first"),),
    "3": (
        *("cause_before_stop", "timeout_before_stop", "two_scans", "orphan_grace", "orphan_reads_records"),
        *("orphan_reads_states", "orphan_cap", "orphan_share", "orphan_cut", "orphan_installation"),
        *("orphan_too_young", "orphan_launching", "runtime_is_true", "start_timeout_is_true", "lingering_is_true"),
    ),
    "4": ("version_condition", "terminal_guard"),
    "5": (
        "budgets_apart",
        "launch_tries_bounded",
        "infra_failures_bounded",
        "infra_counted_apart",
        "tries_counted_apart",
    ),
    "6": ("result_before_exit", "s3_unread_is_undecided", "rule_missing_result"),
    "7": (
        *("result_checks_cancel", "cancel_is_not_sent", "cancel_beats_s3", "rule_our_cause"),
        "rule_missing_cancelled",
    ),
    "8": ("own_organisation",),
    "9": ("limiter",),
    "10": (
        *("unresolved_send", "attempt_in_judgement", "refused_is_not_ended", "spot_before_exit_code", "young_missing"),
        *("intent_before_effect", "two_observations", "missing_share", "new_attempt_forgets", "rule_never_started"),
        *("rule_out_of_memory", "rule_no_result", "rule_exit_code", "intent_renewed", "shutdown_is_a_hint"),
        *("rule_infrastructure", "rule_shutdown", "rule_stopped_by_somebody"),
    ),
    "11": ("lost_is_final",),
    "13": (
        *("lease_check", "lease_two_thirds", "lease_whole", "lease_from_sending", "lease_condition"),
        *("effect_asks_lease", "effect_asks_drain", "lease_taken_in_time"),
    ),
    "14": ("op_id",),
    "15": ("retry_waits", "not_before"),
    "16": ("cancel_written_first", "launch_written_first"),
    LIVENESS: (
        *("stopped_only", "event_deleted_last", "body_failure_settles", "orphan_runtime", "orphan_run_over"),
        *("orphan_other_attempt", "orphan_no_record", "orphan_state_over", "orphan_other_task", "breaker_probes"),
        *("breaker_closes", "start_timeout", "cancel_enforced", "lingering", "lease_renewed_in_time"),
    ),
    EXPECTED: ("spot_fallback", "next_profile", "breaker_opens", "breaker_holds"),
}
"""By invariant, the mutants that it must notice. What a mutant breaks besides may show first in other seeds: the gate plays on."""


def of_mutant(name: str) -> frozenset[str]:
    """The invariants that must notice this mutant; any of them will do."""
    return frozenset(invariant for invariant, names in NOTICES.items() if name in names)


def of_violation(message: str) -> str:
    """Which invariant this is about: a number, or one of the words above."""
    kind = message.partition(":")[0]
    return kind.removeprefix("invariant ").strip()
