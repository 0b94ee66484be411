"""The sections that say how the loops, the HTTP face and the worker behave."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from dagy_control.config.fields import RESTART, Count, DynamoDBTable, Flag, Number, Section, safe_minimum
from dagy_control.model.failures import RETRIED_AS_INFRASTRUCTURE

TaskFamily = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,255}$")]
InfraClass = Annotated[str, Field(pattern=rf"^({'|'.join(sorted(RETRIED_AS_INFRASTRUCTURE))})$")]
LabelledOrg = Annotated[str, Field(min_length=1, max_length=128)]
LabelledFlow = Annotated[str, Field(pattern=r"^[^/]{1,128}/.{1,128}$")]


class LaunchingSettings(Section):
    """The loop that turns queued runs into tasks."""

    enabled: Flag = True
    """Whether this process launches runs."""
    interval_s: Number = Field(1.0, gt=0, le=3600)
    """Seconds between two launching passes. Short: a new run waits for half of it on average."""
    census_interval_s: Number = Field(10, gt=0, le=3600)
    """Seconds between two full counts of the active runs, by which the limits below are kept. Own claims are counted at once."""
    max_in_flight: Count = Field(32, ge=1, le=1000)
    """RunTask calls that wait for a reply at the same time. The API rate is kept apart, by the limiter."""
    max_claims_per_tick: Count = Field(100, ge=1, le=10000)
    """Runs claimed in one pass at most; the next one follows at once. 100 take five seconds at Fargate's usual rate.

    So long may an organisation's first run wait for a pass under way, full of another's."""
    max_concurrent_tasks: Count = Field(1000, ge=1)
    """Tasks in the cluster at the same time at most. 1000 is the quota of a usual account."""
    max_queued_runs: Count = Field(100_000, ge=1)
    """Runs that may wait in the queue; a launch beyond is refused. Soft, and above 1600 judged by a sample.

    100000 is an hour and a half of launching at Fargate's usual rate of 20 tasks a second."""
    max_per_org: Count | None = Field(None, ge=1, examples=[200])
    """Runs of one organisation at the same time at most. Unset: no limit of its own."""
    max_per_flow: Count | None = Field(None, ge=1, examples=[50])
    """Runs of one flow at the same time at most. Unset: no limit of its own."""
    reply_timeout_s: Number = Field(45, gt=0, le=3600)
    """Seconds after which a LAUNCHING run without a reply is taken up again.

    Must be above aws.read_timeout_s, or a call under way is repeated."""
    token_replay_max_age_s: Number = Field(3300, gt=0, le=3300)
    """Seconds for which a launch token may be replayed. ECS keeps tokens for an hour at least after a task's end; 3300 leaves a margin."""
    not_found_grace_s: Number = Field(600, ge=0, le=86400, json_schema_extra=safe_minimum(300))
    """Seconds since the last send before a task that cannot be found counts as never started. ECS may hide a new task for minutes."""
    max_launch_tries: Count = Field(7, ge=1, le=100)
    """Launch tries of one attempt at most; then the run fails. Seven, by the delays below, outlast ten minutes without capacity."""
    retry_delay_s: Number = Field(15, ge=0, le=3600)
    """Seconds before the second launch try; doubled for each further one."""
    retry_delay_max_s: Number = Field(300, ge=0, le=86400)
    """Seconds before a further launch try at most."""
    breaker_refusals: Count = Field(3, ge=1, le=1000)
    """Runs refused in a row, for one cause that is not their own, after which further ones stay queued. Each of these has failed."""
    breaker_probe_delay_s: Number = Field(30, gt=0, le=3600)
    """Seconds until a first run tries again whether ECS still refuses; doubled after each refusal."""
    breaker_probe_delay_max_s: Number = Field(600, gt=0, le=86400)
    """Seconds between two such tries at most."""
    spot_fallback_after_tries: Count = Field(2, ge=1, le=100)
    """Tries and attempts that ended for lack of capacity or by a Spot reclaim, after which a run goes to on-demand.

    Other failures do not count. A run that names its capacity provider keeps it."""
    labelled_orgs: tuple[LabelledOrg, ...] = Field((), max_length=50, examples=[["acme"]])
    """Organisations whose active runs Prometheus is told by name (dagy_org_runs), 50 at most. No other organisation is a label."""
    labelled_flows: tuple[LabelledFlow, ...] = Field((), max_length=100, examples=[["acme/daily_sales"]])
    """Flows whose active runs Prometheus is told by name (dagy_flow_runs), each as ORGANISATION/FLOW, 100 at most."""


class ReconcilingSettings(Section):
    """The loop that keeps the records of launched runs true."""

    enabled: Flag = True
    """Whether this process reconciles."""
    interval_s: Number = Field(30, gt=0, le=3600)
    """Seconds between two passes. Events end most runs sooner; this bounds how long a lost event goes unnoticed.

    A pass over more than 2,000 runs spreads its calls over most of this time."""
    max_runs: Count = Field(0, ge=0, le=10000)
    """Runs that one pass looks at; the next pass goes on where it ended. 0: all of them.

    Delays everything that a pass does, cancels too. Not below missing_share_min_tasks."""
    stale_threshold_s: Number = Field(300, ge=0, le=86400)
    """Seconds since its start before a RUNNING run is checked, so that fresh ones are not raced.

    Cancels and timeouts are checked at any age."""
    missing_grace_s: Number = Field(600, ge=0, le=86400, json_schema_extra=safe_minimum(300))
    """Seconds since the launch before a task that ECS does not know counts as lost. ECS may hide a new task for minutes."""
    start_timeout_s: Number = Field(900, gt=0, le=86400, json_schema_extra=safe_minimum(120))
    """Seconds that a task may take to start its worker; then it is stopped. Covers placing it and pulling the image."""
    result_linger_s: Number = Field(120, ge=0, le=3600, json_schema_extra=safe_minimum(30))
    """Seconds that a worker may live on after it has committed its result; then its task is stopped."""
    describe_concurrency: Count = Field(4, ge=1, le=100)
    """DescribeTasks calls under way at the same time, of 100 tasks each."""
    max_missing_share: Number = Field(0.5, gt=0, le=1)
    """Share of missing tasks above which a pass ends nothing and alerts: a wrong cluster or region is likelier than so many losses."""
    missing_share_min_tasks: Count = Field(10, ge=1)
    """Described tasks below which max_missing_share is not applied: of two tasks, one lost is no sign."""
    max_infra_failures: Count = Field(3, ge=0, le=100)
    """New attempts of a run after failures that are not its own (Spot, host, network), at most."""
    infra_retry_delay_s: Number = Field(10, ge=0, le=3600)
    """Seconds before a new attempt; up to half as much is added, so that many do not come back at once.

    After each further failure that is not the run's own, eight times as long: 10, 80 and 640 seconds outlast a ten-minute outage."""
    infra_retry_delay_max_s: Number = Field(900, ge=0, le=86400)
    """Seconds to which that delay grows at most."""
    infra_retry_classes: tuple[InfraClass, ...] = tuple(sorted(RETRIED_AS_INFRASTRUCTURE))
    """Failure classes that get such a new attempt. A run that fails by one that is left out fails for good."""
    out_of_memory_next_profile: Flag = False
    """Whether an attempt that ran out of memory is retried with the next larger profile, at the cost of max_infra_failures.

    A run that was sized by itself gets more memory for the same CPU. Then it costs more: off by default."""


class EventsSettings(Section):
    """The consumer of ECS task state changes. Events are hints: with every one lost, polling still ends every run."""

    enabled: Flag = True
    """Whether this process consumes the queue, if one is named."""
    queue_url: str | None = Field(
        None,
        pattern=r"^https?://.+",
        examples=["https://sqs.us-east-1.amazonaws.com/123456789012/dagy-task-events"],
        json_schema_extra=RESTART,
    )
    """URL of the SQS queue that EventBridge fills. Unset: polling only."""
    dead_letter_queue_url: str | None = Field(
        None,
        pattern=r"^https?://.+",
        examples=["https://sqs.us-east-1.amazonaws.com/123456789012/dagy-task-events-dead"],
        json_schema_extra=RESTART,
    )
    """URL of the SQS queue for messages that nobody can use. Unset: they are logged, without values of a run's environment, and deleted.

    Where the event queue has a redrive policy, its target; its maxReceiveCount should be 10 or more."""
    wait_s: Count = Field(10, ge=0, le=20)
    """Seconds that a receive call waits for messages, 20 at most by SQS. Must be below aws.read_timeout_s."""
    visibility_timeout_s: Count = Field(60, ge=5, le=43200, json_schema_extra=RESTART)
    """Seconds for which a received message is hidden from other receivers; then it comes again."""
    receivers: Count = Field(1, ge=1, le=32, json_schema_extra=RESTART)
    """Receive calls under way at the same time, of 10 messages each."""


class StateTable(Section):
    """A DynamoDB table that some other kind of task keeps its state in, and the task tag that leads to it."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")
    """What reports call this table."""
    table: DynamoDBTable | None = Field(None, examples=["some-state-table"])
    """Name of the table. Unset: its tag is off, and tasks that bear it are counted but never judged."""
    key_attribute: str = Field(min_length=1)
    """The table's partition key, a string."""
    task_tag: str = Field(min_length=1)
    """The ECS task tag whose value is that key."""
    status_attribute: str = Field("status", min_length=1)
    """The attribute that holds the status."""
    terminal_statuses: tuple[str, ...] = Field(min_length=1)
    """Statuses with which no task should run any more."""
    arn_attribute: str = Field("task_arn", min_length=1)
    """The attribute that holds the ARN of the task that should run."""
    check_arn: Flag = False
    """Whether a task whose ARN is not the recorded one is an orphan."""


class RuntimeLimit(Section):
    """How long certain tasks may run, in the place of orphans.max_runtime_hours: the runs of a flow, or tasks with a tag's value."""

    hours: Number = Field(gt=0, le=8760)
    """Hours that such a task may run before it counts as an orphan."""
    flow: str | None = Field(None, min_length=1, examples=["nightly-etl"])
    """Name of the flow whose runs these are. Either this, or tag and value."""
    tag: str | None = Field(None, min_length=1, max_length=128, examples=["team"])
    """The ECS task tag that such tasks have."""
    value: str | None = Field(None, max_length=256, examples=["research"])
    """Its value."""

    @model_validator(mode="after")
    def _names_tasks(self) -> "RuntimeLimit":
        if (self.flow is None) == (self.tag is None) or (self.tag is None) != (self.value is None):
            raise PydanticCustomError(
                "runtime_limit", "needs either flow, or tag and value: it says whose tasks it is for"
            )
        return self


class OrphanScannerSettings(Section):
    """The loop that finds tasks which should not run, and stops them unless dry_run."""

    enabled: Flag = True
    """Whether this process scans."""
    interval_s: Number = Field(300, gt=0, le=86400)
    """Seconds between two scans."""
    dry_run: Flag = True
    """Report only, stop nothing. On by default for safety."""
    max_runtime_hours: Number = Field(6, gt=0, le=8760)
    """Hours that a task may run before it counts as an orphan."""
    runtime_limits: tuple[RuntimeLimit, ...] = ()
    """Limits of their own for some tasks, which go before max_runtime_hours; the first that names a task counts."""
    families: tuple[TaskFamily, ...] = ()
    """Families of task definitions whose tasks are ours without a tag or a startedBy of ours.

    Only their runtime can be judged. Never the tasks of an ECS service."""
    keep_tag: str = Field("dagy:keep", min_length=1, max_length=128)
    """The ECS task tag that exempts a task from the scanner, until the date that it holds: 2026-12-31, to the end of that day in UTC."""
    grace_s: Number = Field(300, ge=0, le=86400, json_schema_extra=safe_minimum(300))
    """Seconds since a task's start, or its record's end, in which it is left alone. Tables and ECS agree only after a while."""
    max_stops_per_scan: Count = Field(25, ge=1, le=1000)
    """Orphans above which a scan stops nothing and alerts: a wrong table is likelier than so many."""
    max_stop_share: Number = Field(0.5, gt=0, le=1)
    """Share of the running tasks above which a scan stops nothing and alerts."""
    min_running_for_share: Count = Field(10, ge=1)
    """Running tasks below which max_stop_share is not applied."""
    scan_timeout_s: Number = Field(60, gt=0, le=3600)
    """Seconds after which a scan ends with what it has seen; if it has not seen all tasks by then, it stops nothing."""
    alert_publisher: Flag = False
    """Whether orphans are told to an SNS topic: by the loop when they are others than before, by a scan by hand always."""
    alert_topic_arn: str | None = Field(
        None,
        pattern=r"^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]+:[A-Za-z0-9_-]{1,256}$",
        examples=["arn:aws:sns:us-east-1:123456789012:dagy-alerts"],
    )
    """ARN of that topic, a standard one. Needed when alert_publisher is on."""
    alert_repeat_s: Number = Field(86400, ge=60, le=31_536_000)
    """Seconds after which the loop tells of the same orphans again."""
    state_tables: tuple[StateTable, ...] = (
        StateTable(
            name="retraining",
            key_attribute="model_name",
            task_tag="model_name",
            terminal_statuses=("completed", "failed"),
            check_arn=True,
        ),
        StateTable(
            name="trading",
            key_attribute="strategy_id",
            task_tag="strategy_id",
            terminal_statuses=("stopped", "failed", "terminated"),
        ),
    )
    """State tables to check tagged tasks against. Naming any replaces all. Our own runs are always checked and need none."""


class LeaseSettings(Section):
    """Leases divide the loops among replicas: each loop works in one of them. They only save effort; without them nothing goes wrong."""

    enabled: Flag = Field(default=True, json_schema_extra=RESTART)
    """Whether a loop waits for its lease. Off: every replica runs every loop, safe and wasteful."""
    lease_s: Number = Field(30, ge=1, le=300, json_schema_extra=RESTART)
    """Seconds of a lease; it is renewed every fifth of that. When a replica dies, its loops stand still for about a lease.

    Replicas may differ, as during a deployment."""


class ApiSettings(Section):
    """The HTTP face: metrics and health."""

    enabled: Flag = Field(default=True, json_schema_extra=RESTART)
    """Whether to listen at all."""
    host: str = Field("0.0.0.0", min_length=1, json_schema_extra=RESTART)  # noqa: S104 - in a container, only the security group can say who reaches it
    """Address to listen on. All of them by default, because a container's own address is not known before."""
    port: Count = Field(9464, ge=0, le=65535, json_schema_extra=RESTART)
    """TCP port to listen on. 0: any free one, which is logged."""
    token: str | None = Field(
        None,
        min_length=16,
        max_length=1024,
        repr=False,
        examples=["what-openssl-rand-hex-32-prints"],
    )
    """The bearer token that requests with effects need. Unset: over HTTP nothing can be stopped.

    Better by a reference (`secret:id#key`) than in the file: a rotated secret is taken within minutes, by SIGHUP at once."""


REDACTED_KEYS = (
    "*password*",
    "*passwd*",
    "*secret*",
    "*token*",
    "*api_key*",
    "*apikey*",
    "*access_key*",
    "*private_key*",
    "*credential*",
)


class WorkerSettings(Section):
    """The process inside a task. It reads these from its own environment when it starts."""

    drain_s: Number = Field(15, ge=0, le=110)
    """Seconds that running tasks of a flow get after SIGTERM. With ECS's stop timeout of 30, 15 leave time to commit the result."""
    default_max_concurrency: Count | None = Field(None, ge=1, le=1024, examples=[4])
    """Tasks of one flow at the same time, for a flow that names no number. Unset: the CPU count."""
    max_tasks_per_process: Count = Field(100, ge=1, le=100_000)
    """Task attempts that one child process of a flow takes at most, one after the other. 1: each attempt has a process of its own."""
    result_write_timeout_s: Number = Field(30, gt=0, le=600)
    """Seconds in which the result must reach the table; then it goes to S3."""
    artifact_max_mib: Count = Field(256, ge=1, le=10240)
    """Size in MiB of an artifact at most, packed and unpacked; a larger one is refused before it fills the disk."""
    dep_package_max_mib: Count = Field(1024, ge=1, le=102400)
    """Size in MiB of a dependency package at most, packed."""
    dep_unpacked_max_mib: Count = Field(4096, ge=1, le=204800)
    """Size in MiB that a dependency package may unpack to. Every task has 20 GiB of disk unless launched with more."""
    allow_network_installs: Flag = False
    """Whether a requirements.txt in a dependency package may be installed from an index.

    Off by default: a start must not depend on a public index, nor take what was put there since yesterday. Then what it names
    must lie beside it as wheels."""
    install_timeout_s: Number = Field(600, gt=0, le=7200)
    """Seconds in which the wheels or requirements of one dependency package must be installed."""
    redact_keys: tuple[str, ...] = Field(REDACTED_KEYS, max_length=100)
    """Patterns of names, as `*token*`; case does not matter. Values of parameters and environment variables under such a name are
    replaced in what the worker logs and records, and in what commands show of runs and deployments. Naming any replaces all."""
    work_dir: Path | None = Field(None, examples=["/tmp/dagy"])  # noqa: S108 - an example for the documentation, never used as a path
    """Folder for what runs put on disk. Dependency packages stay there for later runs, all else goes with its run. Unset: a temporary
    folder for each run."""
