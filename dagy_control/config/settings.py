"""All settings together. A `Settings` is valid as a whole, and frozen: a change makes a new one."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from typing_extensions import override

from dagy_control.config.cloud import AwsSettings, EcsSettings, StorageSettings, TablesSettings
from dagy_control.config.fields import RESTART, Flag, Number
from dagy_control.config.loops import (
    ApiSettings,
    EventsSettings,
    LaunchingSettings,
    LeaseSettings,
    OrphanScannerSettings,
    ReconcilingSettings,
    WorkerSettings,
)
from dagy_control.config.prices import PriceSettings
from dagy_control.config.rules import find_violations
from dagy_control.config.telemetry import TelemetrySettings

RULES_BROKEN = "rules_broken"
"""The error type under which pydantic carries the violations of the rules between settings."""


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


class Settings(BaseSettings):
    """Everything that can be configured. Use `load_settings`; constructed directly it has its arguments and the defaults only.

    Only the composition root reads it, and hands small frozen policies to the rooms.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        allow_inf_nan=False,
        str_strip_whitespace=True,
        use_attribute_docstrings=True,
        env_prefix="DAGY_",
        env_nested_delimiter="__",
    )

    environment: str = Field("dev", pattern=r"^[A-Za-z0-9_.-]{1,64}$", json_schema_extra=RESTART)
    """Name of the environment, as alerts and metrics show it."""
    installation: str = Field("dagy", pattern=r"^[A-Za-z0-9-]{1,32}$", json_schema_extra=RESTART)
    """Name of this installation: the first part of each task's startedBy.

    Tells two installations on one cluster apart; only its own tasks are ever stopped."""
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_upper)] = "INFO"
    """Least level that is logged."""
    log_format: Literal["json", "console"] = Field("json", json_schema_extra=RESTART)
    """How logs are written: json for CloudWatch Logs Insights, console for people."""
    drain_timeout_s: Number = Field(25, ge=1, le=110)
    """Seconds from SIGTERM to exit at most. Below ECS's stop timeout (30 by default, 120 at most), after which the process is killed."""
    embedded_cloud: Flag = Field(default=False, json_schema_extra=RESTART)
    """Set by the embedded cloud only: allows graces below their safe minimum, because nothing there is eventually consistent."""

    aws: AwsSettings = Field(default_factory=AwsSettings)
    ecs: EcsSettings = Field(default_factory=EcsSettings)
    tables: TablesSettings = Field(default_factory=TablesSettings)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    launching: LaunchingSettings = Field(default_factory=LaunchingSettings)
    reconciling: ReconcilingSettings = Field(default_factory=ReconcilingSettings)
    events: EventsSettings = Field(default_factory=EventsSettings)
    orphans: OrphanScannerSettings = Field(default_factory=OrphanScannerSettings)
    leases: LeaseSettings = Field(default_factory=LeaseSettings)
    api: ApiSettings = Field(default_factory=ApiSettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    prices: PriceSettings = Field(default_factory=PriceSettings)
    telemetry: TelemetrySettings = Field(default_factory=TelemetrySettings)

    @model_validator(mode="after")
    def _keeps_the_rules(self) -> "Settings":
        violations = find_violations(self)
        if violations:
            text = "; ".join(f"{'.'.join(each.at)} {each.reason}" for each in violations)
            raise PydanticCustomError(RULES_BROKEN, "{text}", {"text": text, "violations": violations})
        return self

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments only: `loading` merges file and environment itself, because a problem must name the place it came from."""
        return (init_settings,)
