"""What every worker of a gang reads: one execution of a node, as a file."""

import json
import os
from dataclasses import dataclass
from typing import Any

from tfx import types
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import import_utils, io_utils

Artifacts = dict[str, list[types.Artifact]]


@dataclass(frozen=True)
class Request:
    """One call of an executor's `Do`.

    Attributes:
      executor: import path of the executor's class.
      input_dict: artifacts by input name; `output_dict` likewise.
      exec_properties: plain values.
      tmp_path: folder for what this execution needs while it runs.
    """

    executor: str
    input_dict: Artifacts
    output_dict: Artifacts
    exec_properties: dict[str, Any]
    tmp_path: str

    def run(self) -> None:
        """Calls the executor, as TFX would have in this process."""
        folder, unique_id = os.path.split(self.tmp_path.rstrip("/"))
        context = BaseExecutor.Context(tmp_dir=folder, unique_id=unique_id)
        executor = import_utils.import_class_by_path(self.executor)(context)
        executor.Do(self.input_dict, self.output_dict, self.exec_properties)

    def to_json(self) -> str:
        """The same execution gives the same text."""
        return json.dumps(
            {
                "executor": self.executor,
                "inputs": artifact_utils.jsonify_artifact_dict(self.input_dict),
                "outputs": artifact_utils.jsonify_artifact_dict(self.output_dict),
                "exec_properties": self.exec_properties,
                "tmp_path": self.tmp_path,
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
      ValueError: if there is no such file.
    """
    if not fileio.exists(uri):
        raise ValueError(
            f"{uri} is missing: the node that started this worker should have left it there.\n"
            "  Every worker must reach the folder of the pipeline's artifacts."
        )
    with fileio.open(uri, "r") as file:
        told = json.loads(file.read())
    return Request(
        executor=told["executor"],
        input_dict=artifact_utils.parse_artifact_dict(told["inputs"]),
        output_dict=artifact_utils.parse_artifact_dict(told["outputs"]),
        exec_properties=told["exec_properties"],
        tmp_path=told["tmp_path"],
    )
