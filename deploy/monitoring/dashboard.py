"""Writes dashboard.json, Grafana's dashboard of the daemon, from the sections described here.

    python -m deploy.monitoring.dashboard > deploy/monitoring/dashboard.json

A test holds the file equal to this description. `$job` is the installation, chosen at the top of the dashboard; of gauges that only
the working replica keeps up to date, only its own are shown (`dagy:loop_acting`, recorded by rules/dagy.yml).
"""  # noqa: INP001 - a folder of files to deploy, with a script beside the file that it writes: no package

import json
import sys

from deploy.monitoring.grafana import Figure, Graph, Section, dashboard


def acting(metric: str, loop: str) -> str:
    """The metric of the replica that works in the loop: `m` or `m{label="x"}`."""
    return f'({selected(metric)} and on (job, instance) dagy:loop_acting{{job="$job", loop="{loop}"}})'


def selected(metric: str) -> str:
    """The metric of this installation."""
    name, _, labels = metric.partition("{")
    return f'{name}{{job="$job"' + (f", {labels}" if labels else "}")


def per_second(metric: str, by: str) -> str:
    """A counter's rate over all replicas."""
    return f"sum by ({by}) (rate({selected(metric)}[$__rate_interval]))"


def ever_counted(metric: str, by: str) -> str:
    """The same of a counter with very many series, most of which stay at 0: those that have ever counted."""
    return f"{per_second(metric, by)} and sum by ({by}) ({selected(metric)}) > 0"


def quantiles(metric: str, by: str = "") -> dict[str, str]:
    """The median and the 95th percentile of a histogram."""
    labels = f"le, {by}" if by else "le"
    rate = f"sum by ({labels}) (rate({selected(f'{metric}_bucket')}[$__rate_interval]))"
    legend = f" {{{{{by}}}}}" if by else ""
    return {
        f"histogram_quantile({share}, {rate})": f"{name}{legend}" for share, name in ((0.5, "median"), (0.95, "95 %"))
    }


GLANCE = Section(
    "At a glance",
    (
        Figure("Replicas", f"count({selected('dagy_build_info')})"),
        Figure(
            "Alerts",
            'count(ALERTS{job="$job", alertstate="firing"}) or vector(0)',
            alarming=1,
            tells="What fires: the alerts of rules/dagy.yml.",
        ),
        Figure("Active runs", f"sum({acting('dagy_active_runs', 'launching')})", tells="LAUNCHING and RUNNING."),
        Figure(
            "Waiting runs",
            f"sum({acting('dagy_queue_held', 'launching')}) or vector(0)",
            tells="QUEUED, and not taken up by the last tick.",
        ),
        Figure("Reconcile lag", f"max({acting('dagy_reconcile_lag_seconds', 'reconciling')})", "s", alarming=300),
        Figure(
            "Launch breaker",
            f"max({acting('dagy_launch_breaker_open', 'launching')})",
            "bool_yes_no",
            "Open: ECS refuses every run.",
            1,
        ),
        Graph(
            "Since each loop's last success",
            {f"time() - max by (loop) ({selected('dagy_loop_last_success_timestamp_seconds')})": "{{loop}}"},
            "s",
            "Of the replica that did it last. DagyLoopStalled fires at three intervals and five minutes.",
        ),
        Graph("Active runs by status", {f"sum by (status) ({acting('dagy_runs', 'launching')})": "{{status}}"}),
        Graph(
            "Runs ended by the daemon",
            {ever_counted("dagy_runs_ended_total", "status, failure_class"): "{{status}} {{failure_class}}"},
            "ops",
            "Most runs are ended by their own worker, which nobody scrapes.",
        ),
    ),
)

LAUNCHING = Section(
    "Launching",
    (
        Graph("Launches by result", {per_second("dagy_launches_total", "result"): "{{result}}"}, "ops"),
        Graph("Runs held, by reason", {f"sum by (reason) ({acting('dagy_queue_held', 'launching')})": "{{reason}}"}),
        Graph(
            "Active runs of named organisations",
            {f"sum by (org, status) ({acting('dagy_org_runs', 'launching')})": "{{org}} {{status}}"},
            tells="Those of launching.labelled_orgs.",
        ),
        Graph(
            "Active runs of named flows",
            {f"sum by (org, flow, status) ({acting('dagy_flow_runs', 'launching')})": "{{org}} {{flow}} {{status}}"},
            tells="Those of launching.labelled_flows.",
        ),
        Graph(
            "Longest wait in the queue",
            {f"max({acting('dagy_queue_oldest_wait_seconds', 'launching')})": "oldest"},
            "s",
            "Of a run that could have been launched already.",
        ),
        Graph(
            "Wait in the queue",
            quantiles("dagy_queue_wait_seconds"),
            "s",
            "From when a run could be launched to the claim of its launch.",
        ),
        Graph(
            "Start of a worker", quantiles("dagy_launch_start_seconds"), "s", "From RunTask to the claim by its worker."
        ),
        Graph(
            "Launch breaker, by cause",
            {f"max by (cause) ({acting('dagy_launch_breaker_open', 'launching')})": "{{cause}}"},
            "bool_yes_no",
        ),
    ),
)

RECONCILING = Section(
    "Reconciling and events",
    (
        Graph(
            "Lag",
            {f"max({acting('dagy_reconcile_lag_seconds', 'reconciling')})": "lag"},
            "s",
            "What a lost event costs at most.",
        ),
        Graph("Duration of a pass", quantiles("dagy_reconcile_pass_duration_seconds"), "s"),
        Graph(
            "Runs compared, tasks stopped, errors",
            {
                per_second("dagy_reconcile_checked_total", "job"): "compared",
                per_second("dagy_reconcile_stopped_total", "job"): "stopped",
                per_second("dagy_reconcile_errors_total", "job"): "errors",
            },
            "ops",
        ),
        Graph("Attempts ended by passes", {per_second("dagy_reconcile_ended_total", "outcome"): "{{outcome}}"}, "ops"),
        Graph("From a stop to its end on record, by passes", quantiles("dagy_reconcile_end_age_seconds"), "s"),
        Graph("From a stop to its end on record, by events", quantiles("dagy_event_age_seconds"), "s"),
        Graph(
            "Missing tasks",
            {
                f"max({acting('dagy_reconcile_missing', 'reconciling')})": "missing",
                f"max({acting('dagy_reconcile_held', 'reconciling')})": "held (1: ends no lost run)",
            },
        ),
        Graph("Events by result", {per_second("dagy_events_total", "result"): "{{result}}"}, "ops"),
        Graph(
            "Event queue",
            {
                f"min({acting('dagy_events_queue_available', 'events')})": "available in every replica",
                f"max({selected('dagy_events_dead_letters')})": "dead letters",
            },
        ),
    ),
)

ORPHANS = Section(
    "Orphans",
    (
        Graph(
            "Running tasks",
            {
                f"max({acting('dagy_orphans_running_tasks', 'orphans')})": "running",
                f"max({acting('dagy_orphans_runs_without_task', 'orphans')})": "runs without a task",
            },
        ),
        Graph("Tasks by verdict", {f"sum by (verdict) ({acting('dagy_orphans_tasks', 'orphans')})": "{{verdict}}"}),
        Graph(
            "Stops, scans, alerts",
            {
                per_second("dagy_orphans_stopped_total", "job"): "stopped",
                per_second("dagy_orphans_stop_failures_total", "job"): "stop failed",
                per_second("dagy_orphans_alerts_total", "outcome"): "alert {{outcome}}",
                f"max({acting('dagy_orphans_refused', 'orphans')})": "refused (1: over the cap)",
                f"max({acting('dagy_orphans_incomplete', 'orphans')})": "incomplete (1: not every task)",
            },
        ),
    ),
)

BUDGET = Section(
    "API budget",
    (
        Graph("Calls by operation", {per_second("dagy_aws_calls_total", "operation"): "{{operation}}"}, "ops"),
        Graph(
            "Calls that failed",
            {
                ever_counted(
                    'dagy_aws_calls_total{outcome!~"ok|conflict"}', "operation, outcome"
                ): "{{operation}} {{outcome}}"
            },
            "ops",
        ),
        Graph("Throttles", {per_second("dagy_aws_throttles_total", "operation"): "{{operation}}"}, "ops"),
        Graph(
            "Duration of a call, 95 %",
            dict([list(quantiles("dagy_aws_call_duration_seconds", "operation").items())[1]]),
            "s",
        ),
        Graph(
            "Room in the buckets",
            {f"sum by (bucket) ({selected('dagy_limiter_tokens')})": "{{bucket}}"},
            tells="Calls that could be made at once.",
        ),
        Graph(
            "Rate of the buckets",
            {
                f"max by (bucket) ({selected('dagy_limiter_rate')})": "{{bucket}}",
                f"sum({selected('dagy_limiter_waiting')})": "calls that wait",
            },
            tells="Calls a second; lower after a throttle.",
        ),
    ),
)

PROCESS = Section(
    "Leases, configuration, process",
    (
        Graph(
            "Who holds the leases",
            {f"{selected('dagy_lease_held')} == 1": "{{lease}} {{instance}}"},
            tells="One replica for each loop. A gap: nobody.",
        ),
        Graph(
            "Leases lost and taken",
            {
                per_second("dagy_lease_lost_total", "lease"): "lost {{lease}}",
                per_second("dagy_lease_takeovers_total", "lease, from"): "taken {{lease}}, was {{from}}",
                f"max by (lease) ({selected('dagy_lease_epoch')})": "epoch {{lease}}",
            },
        ),
        Graph(
            "Configuration",
            {
                f"min by (instance) ({selected('dagy_config_last_reload_successful')})": "in effect {{instance}}",
                f'count(count_values("hash", {selected("dagy_config_hash")}))': "different configurations",
                per_second("dagy_config_reloads_total", "result"): "edits {{result}}",
            },
        ),
        Graph(
            "Age of the configuration",
            {f"time() - {selected('dagy_config_last_reload_success_timestamp_seconds')}": "{{instance}}"},
            "s",
        ),
        Graph(
            "Ticks by outcome", {ever_counted("dagy_loop_ticks_total", "loop, outcome"): "{{loop}} {{outcome}}"}, "ops"
        ),
        Graph(
            "Duration of a tick, 95 %",
            dict([list(quantiles("dagy_loop_tick_duration_seconds", "loop").items())[1]]),
            "s",
        ),
        Graph(
            "Loops in trouble",
            {
                f"max by (loop) ({selected('dagy_loop_consecutive_errors')})": "failed ticks in a row {{loop}}",
                per_second("dagy_loop_overruns_total", "loop"): "overruns a second {{loop}}",
            },
        ),
        Graph(
            "Loops switched on",
            {
                f"sum by (loop) ({selected('dagy_loop_enabled')})": "replicas {{loop}}",
                f"max by (loop) ({selected('dagy_loop_interval_seconds')})": "interval (s) {{loop}}",
            },
        ),
        Graph(
            "Lag of the event loop",
            {selected("dagy_event_loop_lag_seconds"): "{{instance}}"},
            "s",
            "Above a second: too little CPU.",
        ),
        Graph("Memory", {selected("process_resident_memory_bytes"): "{{instance}}"}, "bytes"),
        Graph(
            "CPU", {f"rate({selected('process_cpu_seconds_total')}[$__rate_interval])": "{{instance}}"}, "percentunit"
        ),
        Graph("Open files", {selected("process_open_fds"): "{{instance}}"}),
    ),
)

SECTIONS = (GLANCE, LAUNCHING, RECONCILING, ORPHANS, BUDGET, PROCESS)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(dashboard(SECTIONS), indent=1) + "\n")
