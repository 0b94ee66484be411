"""The settings: what can be configured, and how a file and the environment become one frozen, valid `Settings`.

May touch: the one file that it is given. Must not: the process's environment or clock (both are handed in), any other room
but `model` and `errors`. Only the entrypoints read settings; other rooms get small frozen policies.
"""

from dagy_control.config.advice import find_advice
from dagy_control.config.changes import Change, find_changes
from dagy_control.config.cloud import AwsSettings, EcsSettings, Profile, StorageSettings, TablesSettings
from dagy_control.config.loading import Loaded, config_location, load_settings, load_with_sources, references_in
from dagy_control.config.loops import (
    ApiSettings,
    EventsSettings,
    LaunchingSettings,
    OrphanScannerSettings,
    ReconcilingSettings,
    StateTable,
    WorkerSettings,
)
from dagy_control.config.problems import ConfigError, Problem
from dagy_control.config.reference import example_toml, reference_markdown
from dagy_control.config.references import Reference, References, Store, Unresolved
from dagy_control.config.settings import Settings
from dagy_control.config.toml_file import ConfigText, read_bytes

__all__ = [
    "ApiSettings",
    "AwsSettings",
    "Change",
    "ConfigError",
    "ConfigText",
    "EcsSettings",
    "EventsSettings",
    "LaunchingSettings",
    "Loaded",
    "OrphanScannerSettings",
    "Problem",
    "Profile",
    "ReconcilingSettings",
    "Reference",
    "References",
    "Settings",
    "StateTable",
    "StorageSettings",
    "Store",
    "TablesSettings",
    "Unresolved",
    "WorkerSettings",
    "config_location",
    "example_toml",
    "find_advice",
    "find_changes",
    "load_settings",
    "load_with_sources",
    "read_bytes",
    "reference_markdown",
    "references_in",
]
