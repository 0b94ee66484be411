"""Laws of the orphan scan: whom it never touches, and when it touches nobody."""

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dagy_control.model.runs import RunStatus
from dagy_control.model.suspicions import Suspicion
from dagy_control.model.tasks import TaskIdentity
from dagy_control.orphans.criteria import Criteria, OwnRun, StateTable, Suspect, Verdict, judge
from dagy_control.orphans.decide import OrphanPolicy, ScanPlan, ScanSnapshot, decide
from dagy_control.orphans.report import scan_report
from tests.builders import ARN, INSTALLATION, NOW, OTHER_ARN, ago, running, task_of

TABLE = StateTable(
    name="retraining", table="R", key_attribute="model_name", task_tag="model_name", status_attribute="status",
    terminal_statuses=frozenset({"completed", "failed"}), arn_attribute="task_arn", check_arn=True,
)  # fmt: skip
CRITERIA = Criteria(installation=INSTALLATION, state_tables=(TABLE,), max_runtime_hours=6, grace_s=300)
ages = st.none() | st.floats(0, 600) | st.floats(0, 50_000)
times = ages.map(lambda age: None if age is None else ago(age))
own_runs = st.builds(
    OwnRun,
    run_id=st.just("r1"),
    status=st.sampled_from(RunStatus),
    attempt=st.integers(1, 3),
    external_id=st.sampled_from([None, ARN, OTHER_ARN]),
    completed_at=times,
)
records: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(["running", "completed", "failed"]),
        "task_arn": st.sampled_from([ARN, OTHER_ARN]),
    },
)


@st.composite
def suspects(draw: st.DrawFn, arn: str = ARN) -> Suspect:
    owner = draw(st.sampled_from(["run", "table", "nobody"]))
    return Suspect(
        task=task_of(running(), arn=arn, started_at=draw(times), created_at=draw(times)),
        identity=TaskIdentity(INSTALLATION, "r1", draw(st.integers(1, 3))) if owner == "run" else None,
        table=TABLE if owner == "table" else None,
        run=draw(st.none() | own_runs) if owner == "run" else None,
        record=draw(st.none() | records) if owner == "table" else None,
    )


@st.composite
def snapshots(draw: st.DrawFn) -> ScanSnapshot:
    arns = [f"{ARN}-{number}" for number in range(draw(st.integers(0, 15)))]
    noted = {
        arn: Suspicion(
            task_arn=arn,
            reason="r",
            first_seen=ago(draw(st.floats(0, 900))),
            last_seen=NOW,
            expires_at=NOW + timedelta(seconds=draw(st.floats(-900, 900))),
        )
        for arn in arns
        if draw(st.booleans())
    }
    return ScanSnapshot(suspects=[draw(suspects(arn)) for arn in arns], suspicions=noted)


policies = st.builds(
    OrphanPolicy,
    cluster=st.just("main"),
    environment=st.just("dev"),
    criteria=st.just(CRITERIA),
    dry_run=st.booleans(),
    max_stops_per_scan=st.integers(0, 10),
    max_stop_share=st.floats(0, 1),
    min_running_for_share=st.integers(0, 12),
)


@given(suspects())
def test_a_task_that_is_foreign_young_or_launching_is_never_an_orphan(suspect: Suspect) -> None:
    since = suspect.task.started_at or suspect.task.created_at
    foreign = suspect.identity is None and suspect.table is None
    young = since is None or NOW - since < timedelta(seconds=300)
    launching = (
        suspect.run is not None
        and suspect.identity is not None
        and suspect.run.status is RunStatus.LAUNCHING
        and suspect.run.attempt == suspect.identity.attempt
    )
    judgement = judge(suspect, CRITERIA, NOW)
    if foreign or young or launching:
        assert judgement.verdict is not Verdict.ORPHAN
    assert bool(judgement.reason) == (judgement.verdict is Verdict.ORPHAN)
    assert (judgement.runtime_hours is not None) == judgement.reason.startswith("Exceeded max runtime")


@given(suspects())
def test_the_healthy_task_of_a_running_run_is_touched_only_for_its_runtime(suspect: Suspect) -> None:
    run, identity = suspect.run, suspect.identity
    if run is None or identity is None or run.status is not RunStatus.RUNNING:
        return
    if (run.attempt, run.external_id) == (identity.attempt, suspect.task.arn):
        judgement = judge(suspect, CRITERIA, NOW)
        assert judgement.verdict is not Verdict.ORPHAN or judgement.runtime_hours is not None


@given(snapshots(), policies)
def test_stops_are_orphans_and_there_are_none_in_a_dry_run_or_over_the_cap(
    snapshot: ScanSnapshot, policy: OrphanPolicy
) -> None:
    plan: ScanPlan = decide(snapshot, policy, NOW)
    assert set(plan.stops) <= set(plan.orphans)
    if policy.dry_run or len(plan.orphans) > policy.max_stops_per_scan:
        assert not plan.stops
    if (
        plan.total_running >= policy.min_running_for_share
        and len(plan.orphans) > policy.max_stop_share * plan.total_running
    ):
        assert not plan.stops
    if not plan.stops and plan.orphans and not policy.dry_run:
        assert plan.refusal


@given(snapshots(), policies)
def test_what_needs_two_scans_is_stopped_only_on_a_suspicion_that_is_old_enough_and_alive(
    snapshot: ScanSnapshot, policy: OrphanPolicy
) -> None:
    plan = decide(snapshot, policy, NOW)
    by_arn = {suspect.task.arn: suspect for suspect in snapshot.suspects}
    for orphan in plan.orphans:
        if judge(by_arn[orphan.task_arn], CRITERIA, NOW).confirm:
            suspicion = snapshot.suspicions[orphan.task_arn]
            assert NOW - suspicion.first_seen >= timedelta(seconds=policy.criteria.grace_s)
            assert suspicion.expires_at >= NOW


@given(snapshots(), policies)
def test_every_task_has_one_verdict_and_the_report_adds_up(snapshot: ScanSnapshot, policy: OrphanPolicy) -> None:
    plan = decide(snapshot, policy, NOW)
    assert plan.verdicts.total() == plan.total_running == len(snapshot.suspects)
    report = scan_report(plan, policy, len(plan.stops))["data"]
    assert report["summary"]["orphans_found"] == len(report["orphans"]) == plan.verdicts[Verdict.ORPHAN]
