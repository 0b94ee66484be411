"""A deployment: a flow under a name of its own, with what its runs take unless an order says otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from dagy_control.model.flow_templates import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One deployment, whole, as DAGY_DEPLOYMENTS holds it. `memory` in MiB, `cpu` in CPU units; None: the launch's own default.

    `flow_version` None: the newest registered one at each launch. `dep_package_slugs`: the dependency packages of its runs, in
    the order in which modules are looked for in them.
    """

    org_id: str
    deployment_name: str
    flow_name: str
    updated_at: datetime
    flow_version: str | None = None
    parameters: Mapping[str, Json] = field(default_factory=dict)
    dep_package_slugs: tuple[str, ...] = ()
    workload_profile: str | None = None
    cpu: int | None = None
    memory: int | None = None
    ephemeral_storage_gib: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    priority: int | None = None
    max_attempts: int | None = None
