"""Reads what ML Metadata recorded of one local run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

from pipeline import events

_State = metadata_store_pb2.Execution.State
_RUN_CONTEXT = "pipeline_run"
_NODE_CONTEXT = "node"


@dataclass(frozen=True)
class NodeRun:
    """One node of a run.

    Attributes:
      name: id of the node in the pipeline.
      state: `done` or `cached`.
      seconds: how long the execution took that did the work.
      execution_id: id of that execution, which may belong to an earlier run.
      outputs: output name -> artifacts.
    """

    name: str
    state: str
    seconds: float
    execution_id: int
    outputs: dict[str, list[metadata_store_pb2.Artifact]]

    def uri(self, output: str) -> str:
        """Returns the folder of the only artifact of an output."""
        (artifact,) = self.outputs[output]
        return str(artifact.uri)

    def custom_property(self, output: str, name: str) -> Any:
        """Returns a custom property of the only artifact of an output; None if it is not set."""
        (artifact,) = self.outputs[output]
        value = artifact.custom_properties.get(name)
        return value and getattr(value, value.WhichOneof("value"))


def read_nodes(metadata_path: Path, run_id: str) -> dict[str, NodeRun]:
    """Reads the finished nodes of one run, by name, in the order in which they ran."""
    connection = metadata.sqlite_metadata_connection_config(str(metadata_path))
    with metadata.Metadata(connection) as handle:
        store = handle.store
        (context,) = [c for c in store.get_contexts_by_type(_RUN_CONTEXT) if c.name == run_id]
        executions = [
            execution
            for execution in store.get_executions_by_context(context.id)
            if execution.last_known_state in (_State.COMPLETE, _State.CACHED)
        ]
        in_order = sorted(executions, key=lambda execution: execution.id)
        nodes = [_read_node(store, execution) for execution in in_order]
    return {node.name: node for node in nodes}


def _read_node(store: mlmd.MetadataStore, execution: metadata_store_pb2.Execution) -> NodeRun:
    contexts = store.get_contexts_by_execution(execution.id)
    (node_context,) = [c.name for c in contexts if c.type == _NODE_CONTEXT]
    outputs = _outputs(store, execution.id)
    cached = execution.last_known_state == _State.CACHED
    worked = _original(store, outputs) if cached else execution
    return NodeRun(
        name=node_context.split(".", 1)[1],
        state=events.CACHED if cached else events.DONE,
        seconds=(worked.last_update_time_since_epoch - worked.create_time_since_epoch) / 1000,
        execution_id=worked.id,
        outputs=outputs,
    )


def _outputs(
    store: mlmd.MetadataStore, execution_id: int
) -> dict[str, list[metadata_store_pb2.Artifact]]:
    produced = [
        event
        for event in store.get_events_by_execution_ids([execution_id])
        if event.type == metadata_store_pb2.Event.Type.OUTPUT
    ]
    artifacts = {
        a.id: a for a in store.get_artifacts_by_id([event.artifact_id for event in produced])
    }
    outputs: dict[str, list[metadata_store_pb2.Artifact]] = {}
    for event in produced:
        key = next(step.key for step in event.path.steps if step.HasField("key"))
        outputs.setdefault(key, []).append(artifacts[event.artifact_id])
    return outputs


def _original(
    store: mlmd.MetadataStore, outputs: dict[str, list[metadata_store_pb2.Artifact]]
) -> metadata_store_pb2.Execution:
    """Finds the execution whose outputs a cached one reuses."""
    artifact_ids = [artifact.id for group in outputs.values() for artifact in group]
    candidates = store.get_executions_by_id(
        {event.execution_id for event in store.get_events_by_artifact_ids(artifact_ids)}
    )
    outputs_of = [
        execution
        for execution in candidates
        if execution.last_known_state == _State.COMPLETE
        and {a.id for group in _outputs(store, execution.id).values() for a in group}
        == set(artifact_ids)
    ]
    return min(outputs_of, key=lambda execution: execution.id)
