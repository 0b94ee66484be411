"""Organisations and flows that the configuration names have their active runs in the metrics, and no other has."""

from dataclasses import replace

from tests.builders import a_run, running
from tests.launch_bed import LaunchBed


def of_orgs(bed: LaunchBed) -> dict[tuple[str, ...], float]:
    """Each series of the two gauges: its labels' values, and its own."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in bed.metrics.collect()
        if family.name in {"dagy_org_runs", "dagy_flow_runs"}
        for sample in family.samples
    }


def a_bed() -> LaunchBed:
    runs = [
        a_run(run_id="r1", org_id="acme"),
        a_run(run_id="r2", org_id="acme", flow_name="report"),
        a_run(run_id="r3", org_id="globex"),
        running(run_id="r4", org_id="acme"),
        running(run_id="r5", org_id="globex"),
    ]
    named = {"labelled_orgs": ("acme", "nobody"), "labelled_flows": (("acme", "etl"),)}
    return LaunchBed(*runs, **named)


async def test_the_active_runs_of_what_is_named_are_counted_by_status() -> None:
    bed = a_bed()
    await bed.tick()
    assert of_orgs(bed) == {
        ("acme", "QUEUED"): 2,
        ("acme", "LAUNCHING"): 0,
        ("acme", "RUNNING"): 1,
        ("nobody", "QUEUED"): 0,
        ("nobody", "LAUNCHING"): 0,
        ("nobody", "RUNNING"): 0,
        ("acme", "etl", "QUEUED"): 1,
        ("acme", "etl", "LAUNCHING"): 0,
        ("acme", "etl", "RUNNING"): 1,
    }
    assert bed.metrics.get_sample_value("dagy_runs", {"status": "QUEUED"}) == 3


async def test_a_name_that_an_edit_takes_out_is_no_series_any_more() -> None:
    bed = a_bed()
    await bed.tick()
    bed.loop.policy = replace(bed.policy, labelled_orgs=("globex",), labelled_flows=())
    await bed.tick()
    assert {labels[0] for labels in of_orgs(bed)} == {"globex"}


async def test_of_a_long_queue_all_runs_of_a_name_are_counted() -> None:
    queue = [a_run(run_id=f"r{number}", org_id="acme" if number % 2 else "globex") for number in range(60)]
    bed = LaunchBed(*queue, labelled_orgs=("acme",), queue_page_limit=1)
    await bed.tick()
    assert of_orgs(bed)["acme", "QUEUED"] == 30
