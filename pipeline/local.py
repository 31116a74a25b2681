"""Runs the pipeline on this machine, one process a node. `local_process` starts it.

TensorFlow and TFX are imported once; each node then runs in a fork of this process. So a
node starts at once, its memory is given back when it ends, its output goes to a log of
its own, and both fits find a TensorFlow that has done nothing yet, which
`MultiWorkerMirroredStrategy` asks for.
"""

import gc
import multiprocessing
import os
import re
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import compiler, constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import launcher, runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2

import trainer  # noqa: F401 - chooses the Keras before anything imports TensorFlow
from pipeline import beam_options, disk, events
from pipeline.config import Config
from pipeline.dag import local_pipeline

REPORT_NODE = "Report"

_State = metadata_store_pb2.Execution.State
_GRACE_SECS = 5.0


def main(arguments: list[str]) -> int:
    """Runs a config's pipeline and writes what it leaves; 0 if every node succeeded."""
    config_path, output_dir, run_dir = (Path(path) for path in arguments)
    config = Config.model_validate_json(config_path.read_text())
    os.environ[events.EVENTS_FILE] = str(run_dir / "events.jsonl")
    pipeline = local_pipeline(config, str(config.data.images), str(output_dir))
    ir = compile_pipeline(pipeline, run_id=run_dir.name)
    nodes = [node.pipeline_node.node_info.id for node in ir.nodes]
    events.plan([*nodes, REPORT_NODE])
    ran = []
    for node in nodes:
        outcome = run_forked(node, run_dir, _launch, ir, node)
        if not outcome["ok"]:
            events.end(ok=False)
            return 1
        ran.append(outcome["state"])
    if all(state == events.CACHED for state in ran) and (output_dir / "run.json").exists():
        events.node(REPORT_NODE, events.CACHED)
        events.end(ok=True)
        return 0
    outcome = run_forked(REPORT_NODE, run_dir, _report, config, output_dir, run_dir)
    events.end(ok=outcome["ok"])
    return 0 if outcome["ok"] else 1


def compile_pipeline(pipeline: Pipeline, run_id: str) -> pipeline_pb2.Pipeline:
    """Turns the pipeline into TFX's intermediate representation, with its run id set."""
    ir = compiler.Compiler().compile(pipeline)
    runtime_parameter_utils.substitute_runtime_parameter(
        ir, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id}
    )
    return ir


def run_forked(node: str, run_dir: Path, work: Any, *arguments: Any) -> dict[str, Any]:
    """Runs `work(*arguments)` in a fork whose output goes to `<run_dir>/<node>.log`.

    Returns:
      `ok`, and `state` ("done" or "cached") or `error`. Events tell the same.
    """
    log = run_dir / f"{node}.log"
    events.node(node, events.RUNNING, log)
    receiver, sender = multiprocessing.Pipe(duplex=False)
    # What was imported stays: no fork needs to search it for garbage, nor copy its pages.
    gc.freeze()
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory(prefix="thaw-", ignore_cleanup_errors=True) as scratch:
        process = context.Process(
            target=_in_fork, args=(node, log, scratch, sender, work, arguments)
        )
        process.start()
        sender.close()
        try:
            outcome = receiver.recv()
        except EOFError:
            outcome = None
        process.join()
    if outcome is None:
        outcome = {"ok": False, "error": _death(process.exitcode)}
    if outcome["ok"]:
        events.node(node, outcome["state"], log)
    else:
        events.node(node, events.FAILED, log, outcome["error"])
    return outcome


def _in_fork(
    node: str, log: Path, scratch: str, sender: Connection, work: Any, arguments: tuple[Any, ...]
) -> None:
    os.environ[events.NODE] = node
    # TFX and Beam leave packages and staged files there for the interpreter's shutdown.
    os.environ["TMPDIR"] = tempfile.tempdir = scratch
    with open(log, "ab", buffering=0) as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    try:
        sender.send({"ok": True, "state": work(*arguments)})
    except BaseException as error:
        traceback.print_exc()
        sender.send({"ok": False, "error": cause(error)})
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        _end_children()
        # Without the interpreter's shutdown: libraries' threads have hung there.
        os._exit(0)


def _end_children() -> None:
    """Ends what a node has started and left: Beam stops Flink's job server at shutdown only."""
    children = psutil.Process().children(recursive=True)
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.terminate()
    _, alive = psutil.wait_procs(children, timeout=_GRACE_SECS)
    for child in alive:
        with suppress(psutil.NoSuchProcess):
            child.kill()


def _death(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        hint = " (out of memory?)" if exitcode == -9 else ""
        return f"the process was ended by signal {-exitcode}{hint}."
    return f"the process ended with exit code {exitcode} before it had finished."


def cause(error: BaseException) -> str:
    """The sentence a user needs: the error's own words, without Beam's and TFX's wrapping."""
    text = re.sub(r"\s*\[while running '[^']*'\]", "", str(error)).strip()
    # Beam repeats the type and adds the worker's traceback before or after the message.
    text = re.sub(r"^(?:[\w.]+(?:Error|Exception|Images|Baseline|Anomalies|Weights): )+", "", text)
    text = text.split("\nTraceback")[0].split("\n\n")[0]
    return disk.with_advice(text[:1500] or type(error).__name__, error)


def _launch(ir: pipeline_pb2.Pipeline, node_id: str) -> str:
    deployment = runner_utils.extract_local_deployment_config(ir)
    connection = deployment.metadata_connection_config
    store = getattr(connection, connection.WhichOneof("connection_config"))
    node = next(n.pipeline_node for n in ir.nodes if n.pipeline_node.node_info.id == node_id)
    executor_spec, operators = beam_options.set_apart(
        runner_utils.extract_executor_spec(deployment, node_id)
    )
    started = time.time()
    info = launcher.Launcher(
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
        raise RuntimeError(f"{node_id} was not run: its inputs are missing.")
    with metadata.Metadata(store) as handle:
        (execution,) = handle.store.get_executions_by_id([info.execution_id])
    states = {_State.COMPLETE: events.DONE, _State.CACHED: events.CACHED}
    if execution.last_known_state not in states:
        raise RuntimeError(f"{node_id} was not run: its inputs could not be resolved.")
    return states[execution.last_known_state]


def _report(config: Config, output_dir: Path, run_dir: Path) -> str:
    from pipeline.report import build_report
    from pipeline.results import write_results

    write_results(config, output_dir, run_dir)
    build_report(output_dir)
    return events.DONE
