"""What a flow's author imports: `from dagy_control.sdk import flow, task`.

May touch: the author's functions, source files for an artifact, the engine for `run_local`. Must not: AWS or the network;
uploading an artifact and registering a flow belong to `requests`.
"""

from dagy_control.flow_engine.hooks import TaskEvent
from dagy_control.sdk.artifact import Artifact, ArtifactError, build_artifact
from dagy_control.sdk.building import FlowBuildError, TaskOutput
from dagy_control.sdk.flow import Flow, FlowRunError, flow
from dagy_control.sdk.settings import TaskOptions, exponential_backoff
from dagy_control.sdk.task import Task, task

__all__ = [
    "Artifact",
    "ArtifactError",
    "Flow",
    "FlowBuildError",
    "FlowRunError",
    "Task",
    "TaskEvent",
    "TaskOptions",
    "TaskOutput",
    "build_artifact",
    "exponential_backoff",
    "flow",
    "task",
]
