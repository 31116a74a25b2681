"""Runs the pipeline on this machine, one process a node. `pipeline.local.process` starts it.

TensorFlow and TFX are imported once; each node then runs in a fork of this process. So a
node starts at once, its memory is given back when it ends, its output goes to a log of
its own, and both fits find a TensorFlow that has done nothing yet, which
`MultiWorkerMirroredStrategy` asks for.
"""

import functools
import gc
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import ParamSpec

import psutil
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import compiler, constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import launcher, runtime_parameter_utils
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.proto.orchestration import pipeline_pb2
from tfx.proto.orchestration.execution_result_pb2 import ExecutorOutput

import trainer  # noqa: F401 - chooses the Keras before anything imports TensorFlow
from launchers.local import process_tree
from pipeline import beam_options, events
from pipeline.config.schema import Config
from pipeline.dag import local_pipeline
from pipeline.local import artifact_files
from pipeline.local.causes import cause, cause_of_exit
from trainer.errors import ThawError

REPORT_NODE = "Report"
INSPECT_NODE = "Inspect"
_LAST_INSPECTED = "TrunkFeatures"

_Arguments = ParamSpec("_Arguments")

_State = metadata_store_pb2.Execution.State
_GRACE_SECS = 5.0


@dataclass(frozen=True)
class Outcome:
    """How a node ended.

    Attributes:
      ok: whether it did its work.
      state: then `events.DONE` or `events.CACHED`.
      error: otherwise, why it failed.
    """

    ok: bool
    state: str = ""
    error: str = ""


def main(arguments: list[str]) -> int:
    """Runs a config's pipeline and its report; see `run_nodes`.

    With a fourth path, runs up to the trunk and writes an inspection there instead.
    """
    config_path, output_dir, run_dir, *record = (Path(path) for path in arguments)
    config = Config.model_validate_json(config_path.read_text())
    os.environ[events.EVENTS_FILE] = str(run_dir / "events.jsonl")
    last = _LAST_INSPECTED if record else None
    pipeline = local_pipeline(config, str(config.data.images), str(output_dir), last)
    if record:
        inspect = functools.partial(_inspect, config, output_dir, run_dir, record[0])
        return run_nodes(pipeline, output_dir, run_dir, inspect, INSPECT_NODE)
    report = functools.partial(_report, config, output_dir, run_dir)
    return run_nodes(pipeline, output_dir, run_dir, report)


def run_nodes(
    pipeline: Pipeline,
    output_dir: Path,
    run_dir: Path,
    report: Callable[[], str],
    report_node: str = REPORT_NODE,
) -> int:
    """Runs the nodes of a pipeline one after the other, each in a fork, and then a report.

    Args:
      pipeline: whose artifacts and metadata are below `output_dir`.
      output_dir: what earlier runs have left there is checked first.
      run_dir: for logs; its name is the run's id.
      report: called in a fork of its own; returns a state of `events`.
      report_node: its name.

    Returns:
      The exit code: 0 if all went well. Events tell more.
    """
    ir = compile_pipeline(pipeline, run_id=run_dir.name)
    nodes = [node.pipeline_node.node_info.id for node in ir.nodes]
    events.plan([*nodes, report_node])
    try:
        _check_earlier_results(output_dir)
    except artifact_files.UnusableStore as problem:
        events.end(ok=False, error=str(problem))
        return 1
    for node in nodes:
        if not run_forked(node, run_dir, _launch, ir, node).ok:
            events.end(ok=False)
            return 1
    outcome = run_forked(report_node, run_dir, report)
    events.end(ok=outcome.ok)
    return 0 if outcome.ok else 1


def _check_earlier_results(output_dir: Path) -> None:
    """Looks at what earlier runs have left in the folder before any of it is used again.

    Raises:
      UnusableStore: if the metadata store is damaged or is not that of the artifacts.
    """
    path, artifacts_dir = output_dir / "metadata.sqlite", output_dir / "artifacts"
    artifact_files.require_readable(path)
    connection = metadata.sqlite_metadata_connection_config(str(path))
    with metadata.Metadata(connection) as handle:
        artifact_files.require_same_history(handle.store, artifacts_dir)
        for damage in artifact_files.retire_damaged(handle.store, artifacts_dir):
            events.note(str(damage))


def compile_pipeline(pipeline: Pipeline, run_id: str) -> pipeline_pb2.Pipeline:
    """Turns the pipeline into TFX's intermediate representation, with its run id set."""
    ir = compiler.Compiler().compile(pipeline)
    runtime_parameter_utils.substitute_runtime_parameter(
        ir, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id}
    )
    return ir


def run_forked(
    node: str,
    run_dir: Path,
    work: Callable[_Arguments, str],
    *arguments: _Arguments.args,
    **options: _Arguments.kwargs,
) -> Outcome:
    """Runs `work` in a fork whose output goes to `<run_dir>/<node>.log`.

    Args:
      node: its name.
      run_dir: for its log.
      work: returns `events.DONE` or `events.CACHED`.
      *arguments: of `work`.
      **options: likewise.

    Returns:
      How it ended; events say the same.
    """
    log = run_dir / f"{node}.log"
    events.node(node, events.RUNNING, log)
    receiver, sender = multiprocessing.Pipe(duplex=False)
    # What was imported stays: no fork needs to search it for garbage, nor copy its pages.
    gc.freeze()
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory(prefix="thaw-", ignore_cleanup_errors=True) as scratch:
        process = context.Process(
            target=_in_fork,
            args=(node, log, scratch, sender, functools.partial(work, *arguments, **options)),
        )
        process.start()
        sender.close()
        try:
            outcome: Outcome | None = receiver.recv()
        except EOFError:
            outcome = None
        process.join()
    outcome = outcome or Outcome(ok=False, error=cause_of_exit(process.exitcode))
    events.node(node, outcome.state if outcome.ok else events.FAILED, log, outcome.error)
    return outcome


def _in_fork(
    node: str, log: Path, scratch: str, sender: Connection, work: Callable[[], str]
) -> None:
    os.environ[events.NODE] = node
    # TFX and Beam leave packages and staged files there for the interpreter's shutdown.
    os.environ["TMPDIR"] = tempfile.tempdir = scratch
    with open(log, "ab", buffering=0) as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    try:
        sender.send(Outcome(ok=True, state=work()))
    except BaseException as error:
        # First, for the log may be on a disk that is full.
        sender.send(Outcome(ok=False, error=cause(error)))
        with suppress(OSError):
            traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        _end_children()
        # Without the interpreter's shutdown: libraries' threads have hung there.
        os._exit(0)


def _end_children() -> None:
    """Ends what a node has started and left: Beam stops Flink's job server at shutdown only."""
    children = psutil.Process().children(recursive=True)
    process_tree.end_processes(lambda: children, _GRACE_SECS)


def _launch(ir: pipeline_pb2.Pipeline, node_id: str) -> str:
    deployment = runner_utils.extract_local_deployment_config(ir)
    connection = deployment.metadata_connection_config
    store = getattr(connection, connection.WhichOneof("connection_config"))
    node = next(n.pipeline_node for n in ir.nodes if n.pipeline_node.node_info.id == node_id)
    executor_spec, operators = beam_options.exclude_from_cache_key(
        runner_utils.extract_executor_spec(deployment, node_id)
    )
    started = time.time()
    info = _Launcher(
        pipeline_node=node,
        mlmd_connection=metadata.Metadata(store),
        pipeline_info=ir.pipeline_info,
        pipeline_runtime_spec=ir.runtime_spec,
        executor_spec=executor_spec,
        custom_executor_operators=operators,
        custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, node_id),
    ).launch()
    print(f"{datetime.now().isoformat()} {node_id}: {time.time() - started:.1f} s", flush=True)
    if info is None or info.execution_id is None:
        raise ThawError(f"{node_id} was not run: its inputs are missing.")
    with metadata.Metadata(store) as handle:
        (execution,) = handle.store.get_executions_by_id([info.execution_id])
    states = {_State.COMPLETE: events.DONE, _State.CACHED: events.CACHED}
    if execution.last_known_state not in states:
        raise ThawError(f"{node_id} was not run: its inputs could not be resolved.")
    return states[execution.last_known_state]


class _Launcher(launcher.Launcher):
    """TFX's launcher of one node, with a look at the node's files before and after its work."""

    def _run_executor(self, execution_info: ExecutionInfo) -> ExecutorOutput:
        artifact_files.require_empty(execution_info.output_dict)
        try:
            output = super()._run_executor(execution_info)
        except Exception as error:
            artifact_files.blame_damaged(execution_info.input_dict, error)
            raise
        artifact_files.write_manifests(
            artifact for group in output.output_artifacts.values() for artifact in group.artifacts
        )
        return output


def _report(config: Config, output_dir: Path, run_dir: Path) -> str:
    from pipeline.report.collect import is_up_to_date, write_results
    from pipeline.report.page import build_report

    if is_up_to_date(output_dir, run_dir):
        return events.CACHED
    write_results(config, output_dir, run_dir)
    build_report(output_dir)
    return events.DONE


def _inspect(config: Config, output_dir: Path, run_dir: Path, path: Path) -> str:
    from pipeline.inspect.collect import write_inspection

    write_inspection(config, output_dir, run_dir, path)
    return events.DONE
