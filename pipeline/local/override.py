"""Promotes a candidate by hand, against the gate's verdict, and leaves a trace of it."""

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.utils import path_utils

from pipeline.report.run_record import PushedModel, RunRecord, read_run, write_run
from pipeline.report.verdict_record import Override
from serving.push import push_atomically
from trainer.errors import ThawError

OVERRIDE_FILE = "override.txt"
"""Asset of a model that was pushed by hand: by which run, when and why."""


class NotOverridden(ThawError):
    """The candidate of a run cannot be promoted by hand. The message says why."""


def promote_by_hand(output_dir: Path, why: str) -> RunRecord:
    """Pushes the candidate of the last run in an output folder.

    Example:
      promote_by_hand(Path("out"), "the client has looked at the 31 test images")

    Args:
      output_dir: of a run on this machine that has finished.
      why: in words; it is written into ML Metadata, `run.json` and the pushed model's assets.

    Returns:
      The run's record as it is now.

    Raises:
      NotOverridden: if the candidate was pushed already, if its export does not answer as the
        model that was judged, or if it is gone.
      ReportError: if there is no finished run.
    """
    run = read_run(output_dir)
    _check(run)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    text = f"Promoted by hand, against the gate's verdict.\nRun: {run.run_id}\nTime: {now}\n"
    text += f"Verdict: {run.verdict.sentence}\nWhy: {why}\n"
    model_dir = path_utils.serving_model_path(run.uri("FineTuner", "model"))
    target = output_dir / "serving" / run.name
    path = Path(push_atomically(model_dir, str(target), {OVERRIDE_FILE: text}))
    override = Override(why=why, time=now, version=path.name)
    _note_in_metadata(run, output_dir, {"override": why, "override_version": path.name})
    verdict = run.verdict.model_copy(update={"override": override})
    pushed = PushedModel(name=run.name, version=path.name, path=str(path))
    changed = run.model_copy(update={"verdict": verdict, "model": pushed})
    write_run(changed, output_dir)
    return changed


def _check(run: RunRecord) -> None:
    if run.model and not run.verdict.baseline_pushed:
        raise NotOverridden(
            f"the candidate of the last run was pushed already, as version {run.model.version}.",
            where=run.model.path,
        )
    if not run.verdict.serving_check.agrees:
        raise NotOverridden(
            "the exported model does not answer as the model that was judged; that cannot be "
            "overridden.",
            to_do="The report says by how much. Run again after the cause is mended.",
        )
    folder = run.uri("FineTuner", "model")
    if not Path(folder).is_dir():
        raise NotOverridden(
            "is missing: the candidate of the last run.",
            where=folder or "its model",
            to_do="Run the same command again.",
        )


def _note_in_metadata(run: RunRecord, output_dir: Path, properties: Mapping[str, str]) -> None:
    """Puts properties on the blessing that was withheld."""
    (gate,) = [node for node in run.nodes if node.name == "Gate"]
    path = str(output_dir / "metadata.sqlite")
    with metadata.Metadata(metadata.sqlite_metadata_connection_config(path)) as handle:
        (blessing,) = handle.store.get_artifacts_by_id([gate.outputs["blessing"][0].id])
        for name, text in properties.items():
            blessing.custom_properties[name].CopyFrom(metadata_store_pb2.Value(string_value=text))
        handle.store.put_artifacts([blessing])
