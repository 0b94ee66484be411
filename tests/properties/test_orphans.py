"""Laws of the orphan scan: whom it never touches, and when it touches nobody."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dagy_control.model.runs import RunGlance, RunStatus
from dagy_control.model.suspicions import Suspicion
from dagy_control.model.tasks import TaskIdentity
from dagy_control.orphans.criteria import (
    Criteria,
    RunningTask,
    RuntimeLimit,
    StateKey,
    StateRecord,
    StateTable,
    Suspect,
    Verdict,
    judge,
)
from dagy_control.orphans.decide import OrphanPolicy, Review, ScanPlan, ScanSnapshot, decide, review
from dagy_control.orphans.mapping import map_task
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
    RunGlance,
    run_id=st.just("r1"),
    status=st.sampled_from(RunStatus),
    attempt=st.integers(1, 3),
    external_id=st.sampled_from([None, ARN, OTHER_ARN]),
    completed_at=times,
)
records: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(["running", "completed", "failed", 7, None, ["completed"], {"a": "b"}]),
        "task_arn": st.sampled_from([ARN, OTHER_ARN, "aaaa", "", 7, None, [ARN]]),
    },
)


@st.composite
def suspects(draw: st.DrawFn, arn: str = ARN) -> Suspect:
    owner = draw(st.sampled_from(["run", "table", "family", "nobody"]))
    return Suspect(
        task=RunningTask(
            arn=arn,
            started_at=draw(times),
            created_at=draw(times),
            max_runtime_hours=draw(st.sampled_from([0.5, 6.0])),
            identity=TaskIdentity(INSTALLATION, "r1", draw(st.integers(1, 3))) if owner == "run" else None,
            states=(StateKey(TABLE, "key"),) if owner == "table" else (),
            of_family=owner == "family",
            stopping=draw(st.booleans()),
            keep_until=draw(st.none() | st.floats(-600, 600).map(ago)),
            keep_unclear=draw(st.booleans()),
        ),
        run=draw(st.none() | own_runs) if owner == "run" else None,
        states=(StateRecord(TABLE, draw(st.none() | records)),) if owner == "table" else (),
        unread=draw(st.booleans()),
    )


@dataclass(frozen=True)
class Scene:
    """What a scan found."""

    suspects: Sequence[Suspect]
    suspicions: Mapping[str, Suspicion]
    cut: str

    def snapshot(self) -> ScanSnapshot:
        judged = Review()
        review(self.suspects, CRITERIA, NOW, judged)
        return ScanSnapshot(review=judged, suspicions=self.suspicions, cut=self.cut)


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    arns = [f"{ARN}-{number}" for number in range(draw(st.integers(0, 15)))]
    noted = {
        arn: Suspicion(
            task_arn=arn,
            reason=draw(st.sampled_from(["No state record for a running task", "State points to a different task"])),
            first_seen=ago(draw(st.floats(0, 900))),
            last_seen=NOW,
            expires_at=NOW + timedelta(seconds=draw(st.floats(-900, 900))),
        )
        for arn in arns
        if draw(st.booleans())
    }
    return Scene([draw(suspects(arn)) for arn in arns], noted, draw(st.sampled_from(["", "too late"])))


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
def test_a_task_that_is_foreign_young_launching_unread_exempt_or_stopped_already_is_never_an_orphan(
    suspect: Suspect,
) -> None:
    task = suspect.task
    since = task.started_at or task.created_at
    foreign = task.identity is None and not task.states and not task.of_family
    young = since is None or NOW - since < timedelta(seconds=300)
    exempt = task.keep_unclear or (task.keep_until is not None and task.keep_until > NOW)
    launching = (
        suspect.run is not None
        and task.identity is not None
        and suspect.run.status is RunStatus.LAUNCHING
        and suspect.run.attempt == task.identity.attempt
    )
    judgement = judge(suspect, CRITERIA, NOW)
    if foreign or young or launching or exempt or suspect.unread or task.stopping:
        assert judgement.verdict is not Verdict.ORPHAN
    assert bool(judgement.reason) == (judgement.verdict is Verdict.ORPHAN)
    assert (judgement.runtime_hours is not None) == judgement.reason.startswith("Exceeded max runtime")


tags = st.dictionaries(
    st.sampled_from(["model_name", "flow_name", "team", "dagy:keep"]),
    st.text(max_size=12) | st.sampled_from(["etl", "ml", "2026-01-02", "9999-12-31", "0001-01-01T00:00+14:00"]),
)
started_bys = st.text(max_size=12) | st.sampled_from([f"{INSTALLATION}/r1/1", "other/r1/1", "ecs-svc/1", ""])


@given(tags, started_bys)
def test_whatever_tags_and_started_by_say_a_task_is_mapped_and_a_stranger_stays_one(
    tags: dict[str, str], started_by: str
) -> None:
    criteria = Criteria(
        installation=INSTALLATION,
        state_tables=(TABLE,),
        runtime_limits=(RuntimeLimit(hours=1, flow="etl"), RuntimeLimit(hours=2, tag="team", value="ml")),
    )
    mapped = map_task(task_of(running(), tags=tags, started_by=started_by), criteria)
    assert (mapped.identity is not None) == started_by.startswith(f"{INSTALLATION}/r1/")
    assert bool(mapped.states) == (bool(tags.get("model_name")) and mapped.identity is None)
    assert mapped.max_runtime_hours in (1, 2, 6)


@given(suspects())
def test_the_healthy_task_of_a_running_run_is_touched_only_for_its_runtime(suspect: Suspect) -> None:
    run, identity = suspect.run, suspect.task.identity
    if run is None or identity is None or run.status is not RunStatus.RUNNING:
        return
    if (run.attempt, run.external_id) == (identity.attempt, suspect.task.arn):
        judgement = judge(suspect, CRITERIA, NOW)
        assert judgement.verdict is not Verdict.ORPHAN or judgement.runtime_hours is not None


@given(scenes(), policies)
def test_stops_are_orphans_and_there_are_none_in_a_dry_run_or_over_the_cap(scene: Scene, policy: OrphanPolicy) -> None:
    plan: ScanPlan = decide(scene.snapshot(), policy, NOW)
    assert set(plan.stops) <= set(plan.orphans)
    judged = plan.total_running - plan.unread
    if policy.dry_run or scene.cut or len(plan.orphans) > policy.max_stops_per_scan:
        assert not plan.stops
    if judged >= policy.min_running_for_share and len(plan.orphans) > policy.max_stop_share * judged:
        assert not plan.stops
    if not plan.stops and plan.orphans and not policy.dry_run:
        assert plan.refusal or plan.cut


@given(scenes(), policies)
def test_what_needs_two_scans_is_stopped_only_on_a_suspicion_that_is_old_enough_and_alive(
    scene: Scene, policy: OrphanPolicy
) -> None:
    plan = decide(scene.snapshot(), policy, NOW)
    by_arn = {suspect.task.arn: suspect for suspect in scene.suspects}
    for orphan in plan.orphans:
        if judge(by_arn[orphan.task_arn], CRITERIA, NOW).confirm:
            suspicion = scene.suspicions[orphan.task_arn]
            assert NOW - suspicion.first_seen >= timedelta(seconds=policy.criteria.grace_s)
            assert suspicion.expires_at >= NOW
            assert suspicion.reason == orphan.reason


@given(scenes(), policies)
def test_every_task_has_one_verdict_and_the_report_adds_up(scene: Scene, policy: OrphanPolicy) -> None:
    plan = decide(scene.snapshot(), policy, NOW)
    assert plan.verdicts.total() == plan.total_running == len(scene.suspects)
    report = scan_report(plan, policy, len(plan.stops))["data"]
    assert report["summary"]["orphans_found"] == len(report["orphans"]) == plan.verdicts[Verdict.ORPHAN]
