"""What the container of a node with runtime parameters starts.

    python -m pipeline.cluster.task --node FineTuner --executor_class_path … \
      --json_serialized_invocation_args {{$}} …

It puts the values of the parameters into the node's arguments, and hands over to
`launchers.entry_point`, whose the other arguments are.
"""

import argparse
import sys
from collections.abc import Sequence

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

import trainer  # noqa: F401 - chooses the Keras before anything imports TensorFlow
from pipeline.cluster.parameter_values import set_arguments, take_values

_INPUT = "--json_serialized_invocation_args"


def with_parameters(arguments: Sequence[str]) -> list[str]:
    """The arguments for `launchers.entry_point`.

    Args:
      arguments: as the container got them.

    Raises:
      ClusterError: naming the parameter if its value is not allowed.
    """
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--node", required=True)
    own, others = parser.parse_known_args(arguments)
    position = others.index(_INPUT) + 1
    asked = json_format.Parse(
        others[position], spec_pb2.ExecutorInput(), ignore_unknown_fields=True
    )
    set_arguments(own.node, asked, take_values(asked))
    others[position] = json_format.MessageToJson(asked)
    return others


def main() -> None:
    """Runs the node once."""
    from absl import app

    from launchers import entry_point

    arguments = with_parameters(sys.argv[1:])
    app.run(
        entry_point.main,
        argv=[sys.argv[0], *arguments],
        flags_parser=lambda argv: entry_point.parse_flags(argv[1:]),
    )


if __name__ == "__main__":
    main()
