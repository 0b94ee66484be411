"""The section that says where figures go beside Prometheus."""

from pydantic import Field

from dagy_control.config.fields import RESTART, Flag, Section


class TelemetrySettings(Section):
    """Figures for alarms in CloudWatch, written as lines of the log (embedded metric format). Prometheus is served in any case."""

    cloudwatch_metrics: Flag = Field(default=False, json_schema_extra=RESTART)
    """Whether the daemon writes such a line each minute, and a worker one when its run has ended. CloudWatch bills custom metrics."""
    cloudwatch_namespace: str = Field(
        "Dagy", pattern=r"^[A-Za-z0-9_.#-][A-Za-z0-9 _./#:-]{0,254}$", json_schema_extra=RESTART
    )
    """Namespace of these metrics, none of AWS's own (AWS/…). Their dimensions are Installation and Environment."""
