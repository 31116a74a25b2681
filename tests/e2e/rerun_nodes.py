"""Runs nodes of a finished `thaw run` once more, each on that run's own inputs.

    python -m tests.e2e.rerun_nodes OUTPUT/logs/RUN OUTPUT NEW NODE,NODE,… BEAM_OPTION…

The way `thaw run` runs them: in a fork of a process that has imported everything, through
TFX's launcher, from the run's metadata. Only the options of Beam differ, and where the
outputs go: `NEW/artifacts/NODE/KEY/EXECUTION`. Prints the outcome of each node as JSON.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path

from tfx.dsl.compiler import constants
from tfx.proto.orchestration import pipeline_pb2

from pipeline import events
from pipeline.config.schema import Config
from pipeline.dag import local_pipeline
from pipeline.local import runner


def main(arguments: list[str]) -> int:
    run_dir, output, new, nodes, *options = arguments
    run = Path(run_dir)
    config = Config.model_validate_json((run / "config.json").read_text())
    beam = config.beam.model_copy(update={"options": options})
    config = config.model_copy(update={"beam": beam})
    os.environ[events.EVENTS_FILE] = str(Path(new) / "events.jsonl")
    shutil.copy(Path(output) / "metadata.sqlite", new)
    ir = runner.compile_pipeline(local_pipeline(config, str(config.data.images), new), run.name)
    for node in ir.nodes:
        _run_anew(node.pipeline_node)
    outcomes = {}
    for node in nodes.split(","):
        started = time.monotonic()
        outcome = runner.run_forked(node, Path(new), runner._launch, ir, node)
        outcomes[node] = {**vars(outcome), "seconds": round(time.monotonic() - started, 1)}
    print(json.dumps(outcomes))
    return 0


def _run_anew(node: pipeline_pb2.PipelineNode) -> None:
    """Has a node run although the run whose outputs it still reads has run it."""
    node.execution_options.caching_options.enable_cache = False
    for context in node.contexts.contexts:
        if context.type.name == constants.PIPELINE_RUN_CONTEXT_TYPE_NAME:
            context.name.field_value.string_value += "-anew"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
