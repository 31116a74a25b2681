"""What the container of a task on Kubeflow Pipelines starts, in front of TFX's own entry point.

    python -m launchers.entry_point --executor_class_path … \
      --json_serialized_invocation_args {{$}} --local_input examples=/s3/bucket/…

TFX's entry point reads and writes artifacts at the addresses that Kubeflow Pipelines names.
This one gives it paths that it can reach, as the variable `THAW_STORE` says (`trainer.store`),
and puts the addresses back into what it reports. The other arguments are TFX's.
"""

import argparse
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from absl import app
from google.protobuf import json_format
from tfx.dsl.io import fileio
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor as tfx_entry_point

import launchers.s3_files  # noqa: F401 - has TFX read and write S3
import trainer  # noqa: F401 - chooses the Keras before anything imports TensorFlow
from launchers.executor_input import ExecutorInput, LocalPaths
from trainer.artifact_dirs import STATE_FOLDER, node_dir
from trainer.store import uris
from trainer.store.mirror import Mirror

Flags = tuple[LocalPaths, argparse.Namespace, list[str]]


def parse_flags(arguments: Sequence[str]) -> Flags:
    """Reads this module's own flags, then TFX's; what is left are Beam's options."""
    paths, others = parse_paths(arguments)
    return (paths, *tfx_entry_point._parse_flags(others))


def parse_paths(arguments: Sequence[str]) -> tuple[LocalPaths, list[str]]:
    """Reads where the pipeline's launcher has put artifacts; returns the other arguments too."""
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--local_input", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--local_output", action="append", default=[], metavar="NAME=PATH")
    own, others = parser.parse_known_args(arguments)
    return LocalPaths(_by_name(own.local_input), _by_name(own.local_output)), others


def main(flags: Flags) -> None:
    """Runs the executor that the flags name, once."""
    paths, tfx_flags, beam_options = flags
    settings = uris.from_environment()
    asked = ExecutorInput(tfx_flags.json_serialized_invocation_args, settings, paths)
    tfx_flags.json_serialized_invocation_args = json_format.MessageToJson(asked.local)
    with _resumable(asked):
        tfx_entry_point.main((tfx_flags, beam_options))
    reported = asked.local.outputs.output_file
    with fileio.open(reported, "r") as file:
        text = file.read()
    with fileio.open(reported, "w") as file:
        file.write(asked.report(text))


@contextmanager
def _resumable(asked: ExecutorInput) -> Iterator[None]:
    """Keeps the state of a node that works on local copies in the store as well."""
    copied = {path: uri for path, uri in asked.output_places().items() if path != uri}
    path = next((path for path, uri in copied.items() if uris.is_s3(uri)), None)
    if path is None or uris.from_environment().kind is not uris.Kind.STAGED:
        yield
        return
    with Mirror(
        os.path.join(node_dir(path), STATE_FOLDER),
        f"{node_dir(copied[path])}/{STATE_FOLDER}",
    ):
        yield


def _by_name(pairs: Iterable[str]) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in pairs)


if __name__ == "__main__":
    app.run(main, flags_parser=lambda arguments: parse_flags(arguments[1:]))
