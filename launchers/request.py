"""What every worker of a worker group reads: one execution of a node, as a file."""

import json
import os
from dataclasses import dataclass
from typing import Any

from tfx import types
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import import_utils, io_utils

from trainer.errors import ThawError

Artifacts = dict[str, list[types.Artifact]]
ExecProperties = dict[str, Any]
"""What `Do` gets beside artifacts: plain values, which JSON can hold."""


@dataclass(frozen=True)
class Request:
    """One call of an executor's `Do`.

    Attributes:
      executor: import path of the executor's class.
      input_dict: artifacts by input name; `output_dict` likewise.
      exec_properties: plain values.
    """

    executor: str
    input_dict: Artifacts
    output_dict: Artifacts
    exec_properties: ExecProperties

    def run(self) -> None:
        """Calls the executor, as TFX would have in this process."""
        # Without TFX's context, which holds a temporary folder: what an executor needs while
        # it runs is below its outputs, which every worker can reach.
        executor = import_utils.import_class_by_path(self.executor)()
        executor.Do(self.input_dict, self.output_dict, self.exec_properties)

    def to_json(self) -> str:
        """The same execution gives the same text."""
        return json.dumps(
            {
                "executor": self.executor,
                "inputs": artifact_utils.jsonify_artifact_dict(self.input_dict),
                "outputs": artifact_utils.jsonify_artifact_dict(self.output_dict),
                "exec_properties": self.exec_properties,
            },
            indent=1,
            sort_keys=True,
        )


def write_request(request: Request, uri: str) -> None:
    """Writes a request to any file system that TFX writes to."""
    fileio.makedirs(os.path.dirname(uri))
    io_utils.write_string_file(uri, request.to_json())


def read_request(uri: str) -> Request:
    """Undoes `write_request`.

    Raises:
      ThawError: if there is no such file.
    """
    if not fileio.exists(uri):
        raise ThawError(
            "is missing, although the node that started this worker has written it.",
            where=uri,
            to_do="Let every worker reach the folder of the pipeline's artifacts.",
        )
    with fileio.open(uri, "r") as file:
        values = json.loads(file.read())
    return Request(
        executor=values["executor"],
        input_dict=artifact_utils.parse_artifact_dict(values["inputs"]),
        output_dict=artifact_utils.parse_artifact_dict(values["outputs"]),
        exec_properties=values["exec_properties"],
    )
