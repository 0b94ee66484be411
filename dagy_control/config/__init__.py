"""The settings: what can be configured, and how a file and the environment become one frozen, valid `Settings`.

May touch: the one file that it is given. Must not: the process's environment or clock (both are handed in), any other room
but `model` and `errors`. Only the entrypoints read settings; other rooms get small frozen policies.
"""

from dagy_control.config.cloud import AwsSettings, EcsSettings, Profile, StorageSettings, TablesSettings
from dagy_control.config.loops import (
    ApiSettings,
    EventsSettings,
    LaunchingSettings,
    OrphanScannerSettings,
    ReconcilingSettings,
    StateTable,
    WorkerSettings,
)
from dagy_control.config.settings import Settings

__all__ = [
    "ApiSettings",
    "AwsSettings",
    "EcsSettings",
    "EventsSettings",
    "LaunchingSettings",
    "OrphanScannerSettings",
    "Profile",
    "ReconcilingSettings",
    "Settings",
    "StateTable",
    "StorageSettings",
    "TablesSettings",
    "WorkerSettings",
]
