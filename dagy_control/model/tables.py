"""The DynamoDB tables as data: the one definition that `dagy-control tables create` and the CDK stack both read.

All keys are strings, all tables are billed on demand. Attribute names are those of the records' dataclasses.
"""

from dataclasses import dataclass
from enum import StrEnum

from dagy_control.model.runs import ACTIVE_ATTRIBUTES

PROJECTED_MAX = 20
"""Most attributes that one INCLUDE projection may name (Amazon DynamoDB API Reference, "Projection": array of 1 to 20 items)."""


class Projection(StrEnum):
    """What an index holds beside its own keys and the table's."""

    ALL = "ALL"
    KEYS_ONLY = "KEYS_ONLY"
    INCLUDE = "INCLUDE"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSpec:
    """A global secondary index. `included` are the attributes of an INCLUDE projection, empty for the others."""

    name: str
    hash_key: str
    range_key: str
    projection: Projection
    included: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """A table. `setting` is its field in `settings.tables`, which gives its name; `ttl_attribute` holds epoch seconds."""

    setting: str
    hash_key: str
    range_key: str | None = None
    indexes: tuple[IndexSpec, ...] = ()
    ttl_attribute: str | None = None

    @property
    def key_attributes(self) -> tuple[str, ...]:
        """Every attribute that is a key of the table or of an index, each once: what CreateTable wants defined."""
        keys = [self.hash_key, self.range_key]
        for index in self.indexes:
            keys += [index.hash_key, index.range_key]
        return tuple(dict.fromkeys(key for key in keys if key is not None))


ACTIVE_KNOWN_FROM_KEYS = frozenset({"run_id", "active_since", "executor", "status", "org_id", "flow_name"})
"""Attributes of `ActiveRun` that the `active` index need not include: keys, or told by `active_key` and `flow_key`."""

ACTIVE_INCLUDED = ("flow_key", *(name for name in ACTIVE_ATTRIBUTES if name not in ACTIVE_KNOWN_FROM_KEYS))

ACTIVE_INDEX = IndexSpec(
    name="active",
    hash_key="active_key",
    range_key="active_since",
    projection=Projection.INCLUDE,
    included=ACTIVE_INCLUDED,
)
"""Sparse: an item is in it only while its run is not terminal. Holds just what the loops read: small pages, cheap writes."""


def _newest_runs(name: str, hash_key: str) -> IndexSpec:
    """An index for lists of runs. Keys only: the loops write often and people list rarely, so the reader fetches the items."""
    return IndexSpec(name=name, hash_key=hash_key, range_key="created_at", projection=Projection.KEYS_ONLY)


BY_ORG = _newest_runs("by_org", "org_id")
BY_FLOW = _newest_runs("by_flow", "flow_key")
BY_CORRELATION = _newest_runs("by_correlation", "correlation_root")

FLOWS_BY_ORG = IndexSpec(name="by_org", hash_key="org_id", range_key="flow_key", projection=Projection.ALL)
DEPLOYMENTS_BY_ORG = IndexSpec(name="by_org", hash_key="org_id", range_key="deployment_key", projection=Projection.ALL)

RUNS = TableSpec(setting="runs", hash_key="run_id", indexes=(ACTIVE_INDEX, BY_ORG, BY_FLOW, BY_CORRELATION))
TASK_RUNS = TableSpec(setting="task_runs", hash_key="run_id", range_key="task_run_id")
FLOWS = TableSpec(setting="flows", hash_key="flow_key", range_key="flow_version", indexes=(FLOWS_BY_ORG,))
DEPLOYMENTS = TableSpec(setting="deployments", hash_key="deployment_key", indexes=(DEPLOYMENTS_BY_ORG,))
DEP_PACKAGES = TableSpec(setting="dep_packages", hash_key="slug")
LEASES = TableSpec(setting="leases", hash_key="lease_name")
ORPHANS = TableSpec(setting="orphans", hash_key="task_arn", ttl_attribute="expires_at")

TABLES: tuple[TableSpec, ...] = (RUNS, TASK_RUNS, FLOWS, DEPLOYMENTS, DEP_PACKAGES, LEASES, ORPHANS)
"""Every table of the program."""


def flow_key(org_id: str, flow_name: str) -> str:
    """`{org_id}#{flow_name}`: unambiguous, because a flow's name has no `#`."""
    return f"{org_id}#{flow_name}"


def deployment_key(org_id: str, deployment_name: str) -> str:
    """`{org_id}#{deployment_name}`: unambiguous, because neither has a `#`."""
    return f"{org_id}#{deployment_name}"


def split_flow_key(key: str) -> tuple[str, str]:
    """(org_id, flow_name) of a `flow_key`."""
    org_id, _, flow_name = key.rpartition("#")
    return org_id, flow_name
