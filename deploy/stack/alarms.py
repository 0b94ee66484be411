"""CloudWatch alarms for those without Prometheus: on the daemon's own figures (docs/metrics.md, "CloudWatch") and on the queues."""

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions

from dagy_control.config.telemetry import TelemetrySettings
from dagy_control.kernel.emf import Figure
from deploy.stack.config import StackConfig
from deploy.stack.messaging import Messaging

NAMESPACE = TelemetrySettings().cloudwatch_namespace
MINUTE, QUARTER = Duration.minutes(1), Duration.minutes(15)
RUNS_MIN = 10
"""Ended runs in a quarter of an hour below which their failed share says nothing."""


def make_alarms(stack: Stack, config: StackConfig, messaging: Messaging) -> None:
    """Every alarm, told to the topic when it is raised and when it is over."""
    breaching, fine = cloudwatch.TreatMissingData.BREACHING, cloudwatch.TreatMissingData.NOT_BREACHING
    lag = _figure(config, Figure.RECONCILE_LAG, "Maximum", MINUTE)
    age = messaging.task_state.metric_approximate_age_of_oldest_message(period=MINUTE, statistic="Maximum")
    dead = messaging.dead_letters.metric_approximate_number_of_messages_visible(period=MINUTE, statistic="Maximum")
    alive = _figure(config, Figure.ALIVE, "Sum", MINUTE)
    above, below = (
        cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
        cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
    )
    for name, about, metric, operator, threshold, periods, missing in (
        ("RunsFailing", "Many runs fail.", _failed_share(config), above, config.alarm_failed_share, 1, fine),
        ("ReconcileLate", "The records lag behind ECS.", lag, above, config.alarm_reconcile_lag_s, 3, fine),
        ("EventsWait", "Task-state events are not consumed.", age, above, config.alarm_queue_age_s, 3, fine),
        ("DeadLetters", "Events that nobody could use lie in the dead-letter queue.", dead, above, 0, 1, fine),
        (
            "DaemonAbsent",
            "No daemon tells that it is alive: nothing is launched, watched or ended.",
            alive,
            below,
            1,
            5,
            breaching,
        ),
    ):
        alarm = cloudwatch.Alarm(
            stack,
            f"{name}Alarm",
            alarm_name=f"{config.installation}-{name}",
            alarm_description=f"{about} What to do: docs/operations.md of dagy_control.",
            metric=metric,
            comparison_operator=operator,
            threshold=threshold,
            evaluation_periods=periods,
            treat_missing_data=missing,
        )
        alarm.add_alarm_action(actions.SnsAction(messaging.topic))
        alarm.add_ok_action(actions.SnsAction(messaging.topic))


def _figure(config: StackConfig, figure: Figure, statistic: str, period: Duration) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace=NAMESPACE,
        metric_name=figure.value,
        dimensions_map={"Installation": config.installation, "Environment": config.environment},
        statistic=statistic,
        period=period,
    )


def _failed_share(config: StackConfig) -> cloudwatch.MathExpression:
    """By metric math, over a quarter of an hour; nothing where too few ended to tell."""
    return cloudwatch.MathExpression(
        label="failed share of ended runs",
        expression=f"IF(ended >= {RUNS_MIN}, failed / ended, 0)",
        using_metrics={
            "failed": _figure(config, Figure.RUNS_FAILED, "Sum", QUARTER),
            "ended": _figure(config, Figure.RUNS_ENDED, "Sum", QUARTER),
        },
        period=QUARTER,
    )
