"""Runs the Report task of a compiled pipeline: the container's command.

python -m pipeline.cluster.report_task --executor_input …
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeAlias

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.io import fileio

import trainer  # noqa: F401 - chooses the Keras before anything imports TensorFlow
from launchers.entry_point import parse_paths
from launchers.executor_input import ExecutorInput
from pipeline import events
from pipeline.cluster.parameter_values import take_values
from pipeline.cluster.parameters import with_values
from pipeline.cluster.report_inputs import (
    CLASSIFICATION,
    INPUTS,
    METRICS,
    REPORT,
    SUMMARY,
    Parameter,
)
from pipeline.config.schema import Config
from pipeline.report.collect import RunInfo, write_record
from pipeline.report.lineage import NodeRun
from pipeline.report.page import build_report
from pipeline.report.run_record import RunRecord
from pipeline.report.summary import classification_metadata, metrics_metadata, to_markdown
from trainer.data.predictions import read_predictions
from trainer.store import uris

Metadata: TypeAlias = Mapping[str, object]


def main(arguments: Sequence[str]) -> None:
    """Writes report, summary and metrics where the service's executor input says."""
    paths, others = parse_paths(arguments)
    parser = argparse.ArgumentParser()
    parser.add_argument("--executor_input", required=True)
    text = parser.parse_args(others).executor_input
    asked = ExecutorInput(text, uris.from_environment(), paths)
    values = take_values(asked.local)
    config = Config.model_validate_json(_parameter(asked.local, Parameter.CONFIG))
    with tempfile.TemporaryDirectory() as folder:
        nodes, info = _nodes(asked.local), _run_info(asked.local)
        record = write_record(with_values(config, values), nodes, info, Path(folder))
        page = build_report(Path(folder)).read_text(encoding="utf-8")
    _write(_output(asked.local, REPORT).uri, page)
    _write(_output(asked.local, SUMMARY).uri, to_markdown(record))
    reported = _describe_outputs(asked.local, record, nodes["Evaluator"].uri("evaluation"))
    _write(asked.local.outputs.output_file, asked.report(json_format.MessageToJson(reported)))


def _parameter(asked: spec_pb2.ExecutorInput, parameter: Parameter) -> str:
    """A parameter of either schema: 2.1 as Kubeflow passes it, 2.0 as Vertex AI does."""
    if parameter.value in asked.inputs.parameter_values:
        return str(asked.inputs.parameter_values[parameter.value].string_value)
    return str(asked.inputs.parameters[parameter.value].string_value)


def _run_info(asked: spec_pb2.ExecutorInput) -> RunInfo:
    text = _parameter(asked, Parameter.STARTED)
    try:
        started = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:  # a service that does not know the placeholder passes it on as it is
        started = None
    return RunInfo(_parameter(asked, Parameter.RUN_ID), started, datetime.now(timezone.utc))


def _nodes(asked: spec_pb2.ExecutorInput) -> dict[str, NodeRun]:
    """What the task got, as the record of a local run has it."""
    nodes: dict[str, NodeRun] = {}
    for name, source in INPUTS.items():
        if name not in asked.inputs.artifacts:
            continue
        node = nodes.setdefault(source.node, NodeRun(source.node, events.DONE, 0.0, 0, {}))
        node.outputs[source.output] = [
            _artifact(artifact) for artifact in asked.inputs.artifacts[name].artifacts
        ]
    return nodes


def _artifact(given: spec_pb2.RuntimeArtifact) -> metadata_store_pb2.Artifact:
    artifact = metadata_store_pb2.Artifact(uri=given.uri)
    for key, value in json_format.MessageToDict(given.metadata).items():
        if isinstance(value, str):
            artifact.custom_properties[key].string_value = value
        elif isinstance(value, float | int):
            artifact.custom_properties[key].double_value = value
    return artifact


def _output(asked: spec_pb2.ExecutorInput, name: str) -> spec_pb2.RuntimeArtifact:
    (artifact,) = asked.outputs.artifacts[name].artifacts
    return artifact


def _write(uri: str, text: str) -> None:
    fileio.makedirs(os.path.dirname(uri))
    with fileio.open(uri, "w") as file:
        file.write(text)


def _describe_outputs(
    asked: spec_pb2.ExecutorInput, record: RunRecord, evaluation_uri: str
) -> spec_pb2.ExecutorOutput:
    """The metadata of the outputs, which the service's user interface draws."""
    output = spec_pb2.ExecutorOutput()
    metadata: dict[str, Metadata] = {
        METRICS: metrics_metadata(record),
        CLASSIFICATION: classification_metadata(record, read_predictions(evaluation_uri).rows()),
    }
    for name, given in asked.outputs.artifacts.items():
        artifact = output.artifacts[name].artifacts.add()
        artifact.CopyFrom(given.artifacts[0])
        artifact.metadata.update(metadata.get(name, {}))
    return output


if __name__ == "__main__":
    main(sys.argv[1:])
