"""Calls to AWS as Prometheus reads them."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.samples import Sample

from dagy_control.kernel.call_metrics import UP_TO_S, ApiCallMetrics

SERVICES = st.sampled_from(["ecs", "dynamodb"])
OPERATIONS = st.sampled_from(["RunTask", "Query"])
OUTCOMES = st.sampled_from(["ok", "throttled", "transient"])
DURATIONS = st.one_of(st.sampled_from(UP_TO_S), st.floats(min_value=0, max_value=100))


def samples(registry: CollectorRegistry) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Each series and its value, without when it was made."""
    found: list[Sample] = [each for family in registry.collect() for each in family.samples]
    return {(each.name, frozenset(each.labels.items())): each.value for each in found if "_created" not in each.name}


@given(st.lists(st.tuples(SERVICES, OPERATIONS, OUTCOMES, DURATIONS), max_size=30))
def test_the_series_are_those_that_the_librarys_own_objects_give(calls: list[tuple[str, str, str, float]]) -> None:
    theirs = CollectorRegistry()
    counted = Counter("dagy_aws_calls_total", "c", ["service", "operation", "outcome"], registry=theirs)
    timed = Histogram("dagy_aws_call_duration_seconds", "d", ["service", "operation"], registry=theirs, buckets=UP_TO_S)
    throttles = Counter("dagy_aws_throttles_total", "t", ["operation"], registry=theirs)
    ours = CollectorRegistry()
    metrics = ApiCallMetrics(ours)
    for service, operation, outcome, duration_s in calls:
        metrics.record(service=service, operation=operation, outcome=outcome, duration_s=duration_s)
        counted.labels(service, operation, "throttled")
        counted.labels(service, operation, outcome).inc()
        timed.labels(service, operation).observe(duration_s)
        throttles.labels(operation).inc(outcome == "throttled")
    assert samples(ours) == samples(theirs)


def test_calls_are_told_without_when_their_series_were_made() -> None:
    """As docs/metrics.md says: the one exception among counters and histograms."""
    registry = CollectorRegistry()
    ApiCallMetrics(registry).record(service="ecs", operation="RunTask", outcome="ok", duration_s=0.1)
    assert not any("_created" in sample.name for family in registry.collect() for sample in family.samples)


def test_what_is_called_has_been_throttled_0_times_before_the_first_throttle() -> None:
    """Prometheus sees no increase in the first sample of a series."""
    registry = CollectorRegistry()
    ApiCallMetrics(registry).record(service="ecs", operation="RunTask", outcome="ok", duration_s=0.1)
    labels = {"service": "ecs", "operation": "RunTask", "outcome": "throttled"}
    assert registry.get_sample_value("dagy_aws_calls_total", labels) == 0
    assert registry.get_sample_value("dagy_aws_throttles_total", {"operation": "RunTask"}) == 0


def test_a_throttled_call_counts_as_a_call_and_as_a_throttle() -> None:
    registry = CollectorRegistry()
    metrics = ApiCallMetrics(registry)
    metrics.record(service="ecs", operation="RunTask", outcome="ok", duration_s=0.1)
    metrics.record(service="ecs", operation="RunTask", outcome="throttled", duration_s=0.1)
    labels = {"service": "ecs", "operation": "RunTask"}
    assert registry.get_sample_value("dagy_aws_calls_total", {**labels, "outcome": "throttled"}) == 1
    assert registry.get_sample_value("dagy_aws_call_duration_seconds_count", labels) == 2
    assert registry.get_sample_value("dagy_aws_throttles_total", {"operation": "RunTask"}) == 1
