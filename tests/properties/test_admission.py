"""Laws of admission: within the limits, each run once, fair, and the same for the same queue."""

import zlib
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dagy_control.launching.admission import Admission, AdmissionLimits, admit
from dagy_control.launching.sample import QueueSample
from dagy_control.model.census import Census
from dagy_control.model.runs import ActiveRun
from tests.builders import NOW, a_run, ago

ORGS, FLOWS = ("a", "b", "c"), ("f", "g")


@st.composite
def queues(draw: st.DrawFn) -> list[ActiveRun]:
    shapes = draw(
        st.lists(
            st.tuples(st.sampled_from(ORGS), st.sampled_from(FLOWS), st.integers(0, 2), st.integers(0, 50)), max_size=40
        )
    )
    return [
        a_run(run_id=f"run-{number:02}", org_id=org, flow_name=flow, priority=priority, active_since=ago(age))
        for number, (org, flow, priority, age) in enumerate(shapes)
    ]


@st.composite
def censuses(draw: st.DrawFn) -> Census:
    census = Census()
    census.add(draw(queues()))
    return census


limits = st.builds(
    AdmissionLimits,
    max_concurrent_tasks=st.integers(0, 60),
    max_per_org=st.none() | st.integers(0, 15),
    max_per_flow=st.none() | st.integers(0, 8),
    max_admitted=st.integers(0, 30),
)


def after(census: Census, admission: Admission) -> Census:
    counted = Census(census.total, Counter(census.by_org), Counter(census.by_flow))
    counted.add(admission.admitted)
    return counted


@given(queues(), censuses(), limits)
def test_admission_never_exceeds_a_limit(queue: list[ActiveRun], census: Census, limit: AdmissionLimits) -> None:
    admission = admit(queue, census, limit)
    counted = after(census, admission)
    assert len(admission.admitted) <= limit.max_admitted
    if admission.admitted:
        assert counted.total <= limit.max_concurrent_tasks
    for run in admission.admitted:
        assert limit.max_per_org is None or counted.by_org[run.org_id] <= limit.max_per_org
        assert limit.max_per_flow is None or counted.by_flow[run.org_id, run.flow_name] <= limit.max_per_flow


@given(queues(), censuses(), limits)
def test_every_run_is_admitted_once_or_held_once(
    queue: list[ActiveRun], census: Census, limit: AdmissionLimits
) -> None:
    admission = admit(queue, census, limit)
    ids = [run.run_id for run in admission.admitted]
    assert len(ids) == len(set(ids))
    assert set(ids) <= {run.run_id for run in queue}
    assert {*ids, *admission.waiting} == {run.run_id for run in queue}
    assert len(ids) + len(admission.waiting) == len(queue)


@given(queues(), censuses(), limits)
def test_admission_stops_only_at_a_limit(queue: list[ActiveRun], census: Census, limit: AdmissionLimits) -> None:
    admission = admit(queue, census, limit)
    held = Counter(admission.waiting.values())
    if held["no_room"]:
        assert census.total + len(admission.admitted) >= limit.max_concurrent_tasks
    if held["next_tick"]:
        assert len(admission.admitted) == limit.max_admitted
    assert set(held) <= {"no_room", "next_tick", "org_limit", "flow_limit"}


@given(queues(), censuses(), st.integers(0, 30))
def test_admission_is_max_min_fair_between_organisations(
    queue: list[ActiveRun], census: Census, max_admitted: int
) -> None:
    admission = admit(queue, census, AdmissionLimits(max_concurrent_tasks=1000, max_admitted=max_admitted))
    counted = after(census, admission)
    served = {run.org_id for run in admission.admitted}
    waiting = {run.org_id for run in queue} - {
        org for org in ORGS if all(run in admission.admitted for run in queue if run.org_id == org)
    }
    for richer in served:
        for poorer in waiting:
            assert counted.by_org[richer] - 1 <= counted.by_org[poorer]


@given(queues(), censuses(), limits)
def test_within_a_flow_the_order_is_by_priority_and_then_age(
    queue: list[ActiveRun], census: Census, limit: AdmissionLimits
) -> None:
    admitted = admit(queue, census, limit).admitted
    for org in ORGS:
        for flow in FLOWS:
            order = [
                (-run.priority, run.active_since, run.run_id)
                for run in admitted
                if (run.org_id, run.flow_name) == (org, flow)
            ]
            assert order == sorted(order)


@given(queues(), censuses(), limits, st.randoms(use_true_random=False))
def test_the_order_of_the_pages_makes_no_difference(
    queue: list[ActiveRun], census: Census, limit: AdmissionLimits, random: object
) -> None:
    shuffled = list(queue)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # Hypothesis gives a random.Random
    assert admit(shuffled, census, limit) == admit(queue, census, limit)


@given(queues(), censuses(), limits, st.integers(1, 4), st.integers(1, 5))
def test_the_heads_of_the_shards_and_the_sample_admit_what_the_whole_queue_would(
    queue: list[ActiveRun], census: Census, limit: AdmissionLimits, head: int, page: int
) -> None:
    """Nothing hides behind a burst: a tick that has read a part of a long queue chooses as if it had read all of it."""
    oldest_first = sorted(queue, key=lambda run: run.active_since or NOW)
    shards = [[run for run in oldest_first if zlib.crc32(run.run_id.encode()) % 3 == shard] for shard in range(3)]
    sample = QueueSample(limit.max_admitted)
    for shard in shards:
        for start in range(0, len(shard), page):
            sample.add(shard[start : start + page], due_by=NOW)
    known = {run.run_id: run for run in [*sample.runs(), *(run for shard in shards for run in shard[:head])]}
    assert admit(known.values(), census, limit).admitted == admit(queue, census, limit).admitted
