"""The example flows, built and registered as a user's would be."""

from collections.abc import Iterable

from dagy_control.config import Settings
from dagy_control.entrypoints.flows_commands import build
from dagy_control.entrypoints.local_stack import DEMO_FLOWS
from dagy_control.entrypoints.wiring import open_ports
from dagy_control.requests.registration import register_flow

TARGETS = ("daily_sales:daily_sales", "probe:probe")


async def register_demo_flows(settings: Settings, orgs: Iterable[str]) -> None:
    """Register both example flows for each organisation."""
    artifacts = [build(target, DEMO_FLOWS) for target in TARGETS]
    async with open_ports(settings) as ports:
        for org_id in orgs:
            for artifact in artifacts:
                await register_flow(
                    ports.flows,
                    ports.artifacts,
                    ports.clock,
                    org_id=org_id,
                    spec=artifact.spec,
                    artifact=artifact.data,
                    prefix=settings.storage.artifact_prefix,
                )
