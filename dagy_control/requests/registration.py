"""Registering a flow: its artifact stored, then its record written."""

import hashlib

from dagy_control.errors import Conflict
from dagy_control.kernel.clock import Clock
from dagy_control.model.flows import FlowRecord, FlowSpec, FlowStatus
from dagy_control.ports.flows import Artifacts, Flows
from dagy_control.requests.organisations import check_org_id
from dagy_control.requests.refusals import RequestRefused


async def register_flow(
    flows: Flows, artifacts: Artifacts, clock: Clock, *, org_id: str, spec: FlowSpec, artifact: bytes, prefix: str
) -> FlowRecord:
    """The registered record. The artifact's key holds its sha256, so that registering again stores nothing twice.

    Raises `RequestRefused` for an invalid spec, and when the version exists with another artifact: versions never change.
    """
    check_org_id(org_id)
    if problems := spec.validate():
        raise RequestRefused("flow", "; ".join(problems))
    digest = hashlib.sha256(artifact).hexdigest()
    key = f"{prefix}{org_id}/{spec.name}/{spec.version}/{digest}.zip"
    record = FlowRecord(
        org_id=org_id,
        flow_name=spec.name,
        flow_version=spec.version,
        spec=spec,
        import_path=spec.import_path,
        artifact_s3_uri=await artifacts.upload(key, artifact),
        artifact_sha256=digest,
        artifact_size_bytes=len(artifact),
        status=FlowStatus.ACTIVE,
        registered_at=clock.now(),
    )
    try:
        await flows.put(record)
    except Conflict as conflict:
        raise RequestRefused(
            "flow_version",
            f"flow {spec.name!r} version {spec.version!r} is registered with another artifact; give the flow a new version",
        ) from conflict
    return await flows.get(org_id, spec.name, spec.version) or record  # registered before: since that time
