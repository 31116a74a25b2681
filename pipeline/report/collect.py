"""Collects the results of a run in `run.json`: metrics, verdict, and where everything is."""

import itertools
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata as distributions
from pathlib import Path

import tensorflow as tf
from tfx.utils import path_utils

from components.example_validator.drift import read_drift
from components.exporter.record import read_exports
from components.gate import verdict as gate
from components.image_example_gen.rejected import SET_ASIDE_FOLDER, read_rejected
from components.image_example_gen.summaries import NEAR_DUPLICATES_FILE, read_near_duplicates
from components.serving_check.agreement import Agreement, read_agreement
from components.trunk_features.executor import FROM_STORE, THROUGH_TRUNK
from pipeline import __version__, events, node_args
from pipeline.config.schema import Config
from pipeline.report.certainty import class_changes, describe_certainty, doubtful_labels
from pipeline.report.earlier_run import EarlierRun, read_earlier_run
from pipeline.report.evaluation import (
    confusion,
    read_metrics,
    weighted_accuracy,
)
from pipeline.report.lineage import NodeRun, read_nodes
from pipeline.report.run_record import (
    Artifact,
    Copies,
    Data,
    Fits,
    Metrics,
    ModelMetrics,
    NearDuplicates,
    Node,
    PushedModel,
    RejectedFile,
    RejectedFiles,
    ReportError,
    RunRecord,
    Search,
    read_run,
    write_run,
)
from pipeline.report.since import compare_with
from pipeline.report.thumbnails import load_models, with_thumbnails, write_samples
from pipeline.report.verdict_record import Paired, Verdict
from serving.run_report import REPORT_FILE
from serving.version_record import CARD_FILE
from trainer import records
from trainer.calibration.record import read_calibration
from trainer.data.card import DataCard, read_card
from trainer.data.predictions import BASELINE, CANDIDATE, MODELS, Row, read_predictions
from trainer.export import DATA_FILE, LABELS_FILE
from trainer.fits.record import read_fit
from trainer.records import to_json
from trainer.tuning.trials import read_trials

_MOST_FILES = 1000
_MOST_GROUPS = 100
_PACKAGES = (
    "tfx",
    "tensorflow",
    "tf-keras",
    "tensorflow-transform",
    "tensorflow-model-analysis",
    "tensorflow-data-validation",
    "apache-beam",
    "ml-metadata",
)


@dataclass(frozen=True)
class RunInfo:
    """Which run, and when.

    Attributes:
      run_id: unique among the runs of a pipeline.
      started: when it began, with a time zone; None where nobody knows.
      finished: when its last node had ended.
    """

    run_id: str
    started: datetime | None
    finished: datetime


def write_results(config: Config, output_dir: Path, run_dir: Path) -> None:
    """Writes `run.json` and the sample images of a finished run, replacing older ones.

    Args:
      config: effective config of the run.
      output_dir: where `run.json` and `samples/` are written.
      run_dir: folder of the run's logs; its name is the run's id.
    """
    nodes = read_nodes(output_dir / "metadata.sqlite", run_dir.name)
    info = RunInfo(run_dir.name, _started(run_dir), datetime.now(timezone.utc))
    times = [_node(node, run_dir) for node in nodes.values()]
    write_record(config, nodes, info, output_dir, times, read_earlier_run(run_dir))


def write_record(
    config: Config,
    nodes: Mapping[str, NodeRun],
    info: RunInfo,
    output_dir: Path,
    times: Sequence[Node] = (),
    earlier: EarlierRun | None = None,
) -> RunRecord:
    """Writes `run.json` and the sample images from the outputs of a run's nodes.

    Args:
      config: effective config of the run.
      nodes: by name, with their outputs. ImageExampleGen may be missing: the rejected files are
        then counted, and not listed.
      info: which run it is.
      output_dir: where `run.json` and `samples/` are written.
      times: how long each node took; empty where that is not known.
      earlier: the run that this one started from; None: there is none.
    """
    labels = _labels(nodes["FineTuner"])
    predictions = read_predictions(nodes["Evaluator"].uri("evaluation"))
    rows = list(predictions.rows())
    models = {
        BASELINE: nodes["HeadTrainer"].uri("model"),
        CANDIDATE: nodes["FineTuner"].uri("model"),
    }
    calibrations = {
        name: read_calibration(path_utils.serving_model_path(uri)) for name, uri in models.items()
    }
    metrics = _metrics(nodes["Evaluator"], rows, labels, config)
    started = info.started or info.finished
    samples = write_samples(rows, labels, output_dir, load_models(models))
    doubtful = doubtful_labels(predictions, labels, calibrations[CANDIDATE].temperature)
    record = RunRecord(
        name=config.name,
        thaw_version=__version__,
        run_id=info.run_id,
        started=started.isoformat(timespec="seconds"),
        finished=info.finished.isoformat(timespec="seconds"),
        seconds=(info.finished - info.started).total_seconds() if info.started else None,
        config=config.model_dump(),
        data=_data(nodes, config, labels),
        fits=Fits(
            head=read_fit(nodes["HeadTrainer"].uri("model")),
            fine_tune=read_fit(nodes["FineTuner"].uri("model")),
        ),
        tuner=_search(nodes["Tuner"]) if "Tuner" in nodes else None,
        metrics=metrics,
        verdict=_verdict(nodes, config),
        model=_pushed_model(nodes["Pusher"], config),
        samples=samples,
        nodes=list(times),
        versions=_versions(),
        since=earlier
        and compare_with(earlier, nodes["ImageExampleGen"].uri("examples"), rows, labels),
        certainty=describe_certainty(predictions, calibrations),
        class_changes=class_changes(predictions),
        doubtful_labels=with_thumbnails(doubtful, output_dir),
        exports=read_exports(nodes["Exporter"].uri("exports")) if "Exporter" in nodes else None,
    )
    write_run(record, output_dir)
    return record


def is_up_to_date(output_dir: Path, run_dir: Path) -> bool:
    """Whether `run.json` and the report exist and describe the outputs of this run.

    Args:
      output_dir: output folder, where an earlier run may have written them.
      run_dir: folder of the run's logs, as for `write_results`.
    """
    try:
        run = read_run(output_dir)
    except ReportError:
        return False
    described = {node.name: _ids(node.outputs) for node in run.nodes}
    shown = [REPORT_FILE, CARD_FILE, *(sample.thumbnail for sample in run.samples)]
    nodes = read_nodes(output_dir / "metadata.sqlite", run_dir.name)
    produced = {name: _ids(_outputs(node)) for name, node in nodes.items()}
    return produced == described and all((output_dir / name).is_file() for name in shown)


def _ids(outputs: dict[str, list[Artifact]]) -> dict[str, list[int]]:
    return {key: [artifact.id for artifact in artifacts] for key, artifacts in outputs.items()}


def _started(run_dir: Path) -> datetime:
    with open(run_dir / "events.jsonl", encoding="utf-8") as file:
        plan = events.read(file.readline())
    assert isinstance(plan, events.Plan)  # what a run writes first
    return datetime.fromtimestamp(plan.time, timezone.utc)


def _labels(fine_tuner: NodeRun) -> list[str]:
    return _read_asset(fine_tuner, LABELS_FILE).splitlines()


def _read_asset(node: NodeRun, name: str) -> str:
    path = os.path.join(node.uri("model"), "Format-Serving", "assets", name)
    with tf.io.gfile.GFile(path) as file:
        return str(file.read())


def _search(node: NodeRun) -> Search:
    return Search.model_validate(to_json(read_trials(node.uri("tuner_results"))))


def _data(nodes: Mapping[str, NodeRun], config: Config, labels: list[str]) -> Data:
    examples = nodes["ImageExampleGen"].uri("examples") if "ImageExampleGen" in nodes else ""
    card = (
        read_card(examples)
        if examples
        else records.read(DataCard, _read_asset(nodes["FineTuner"], DATA_FILE), DATA_FILE)
    )
    listed = itertools.islice(read_rejected(examples), _MOST_FILES) if examples else ()
    return Data(
        images_dir=card.images_dir,
        fingerprint=card.fingerprint,
        image_size_px=config.backbone.image_size_px,
        classes=sorted(labels),
        counts=card.counts,
        set_aside=RejectedFiles(
            count=sum(card.set_aside.values()),
            reasons=card.set_aside,
            files=[RejectedFile(path=entry.path, reason=entry.reason) for entry in listed],
            pattern=os.path.join(examples, SET_ASIDE_FOLDER, "*.jsonl") if examples else "",
        ),
        near_duplicates=_near_duplicates(card, examples),
        small_classes=card.small_classes,
        folded_into=_folded_into(card),
        drift=_drift(nodes),
        from_store=_count_of(nodes.get("TrunkFeatures"), FROM_STORE),
        through_trunk=_count_of(nodes.get("TrunkFeatures"), THROUGH_TRUNK),
    )


def _count_of(trunk: NodeRun | None, name: str) -> int:
    if trunk is None or trunk.state == events.CACHED:
        return 0
    return int(trunk.custom_property("features", name) or 0)


def _drift(nodes: Mapping[str, NodeRun]) -> list[str]:
    validator = nodes.get("ExampleValidator")
    return read_drift(validator.uri("anomalies")).changes if validator else []


def _near_duplicates(card: DataCard, examples: str) -> NearDuplicates:
    groups = read_near_duplicates(examples) if examples else ()
    doubtful = (group for group in groups if group.is_conflicting or group.is_divided)
    return NearDuplicates(
        **to_json(card.near_duplicates),
        shown=[Copies(**to_json(group)) for group in itertools.islice(doubtful, _MOST_GROUPS)],
        path=os.path.join(examples, NEAR_DUPLICATES_FILE) if card.near_duplicates.groups else "",
    )


def _folded_into(card: DataCard) -> str:
    rule = card.split_rule
    folds = rule is not None and rule.small_classes == "fold" and card.small_classes
    return rule.folded_class if rule and folds else ""


def _metrics(evaluator: NodeRun, rows: list[Row], labels: list[str], config: Config) -> Metrics:
    uri = evaluator.uri("evaluation")
    classes = sorted(labels)
    baseline, candidate = (
        ModelMetrics(
            **dict(read_metrics(uri, model)),
            confusion=confusion(rows, model, labels, classes),
            weighted_accuracy=weighted_accuracy(rows, model, labels),
        )
        for model in MODELS
    )
    return Metrics(
        test_images=len(rows), top_k=config.gate.top_k, baseline=baseline, candidate=candidate
    )


def _verdict(nodes: Mapping[str, NodeRun], config: Config) -> Verdict:
    blessing = nodes["Gate"].uri("blessing")
    decided = gate.read_verdict(blessing)
    choice = decided.choice
    agreement = read_agreement(nodes["ServingCheck"].uri("blessing"))
    blessed = nodes["Gate"].custom_property("blessing", "blessed") == 1
    pushed = nodes["Pusher"].custom_property("pushed_model", "pushed") == 1
    return Verdict(
        outcome=decided.outcome,
        sentence=decided.sentence,
        blessed=blessed,
        pushed=pushed,
        baseline_pushed=pushed and not blessed,
        fallback=decided.fallback,
        gain=choice.estimate,
        rule=str(node_args.gate_rule(config)),
        reasons=[
            *(one.sentence for one in decided.clauses),
            *([decided.reuse] if decided.reuse else []),
            *disagreement(agreement),
        ],
        earlier_candidates=decided.earlier_candidates,
        clauses=decided.clauses,
        power=decided.power,
        references=decided.references,
        groups=decided.groups,
        images=decided.images,
        folds=decided.folds,
        serving_check=agreement,
        paired=Paired(
            candidate_only=decided.candidate_only,
            baseline_only=decided.baseline_only,
            p_value=choice.p_value,
            gain_low=choice.low,
            gain_high=choice.high,
        ),
    )


def disagreement(agreement: Agreement) -> list[str]:
    """Explains why a model was not pushed although it may be blessed; empty if it agrees."""
    if agreement.agrees:
        return []
    difference = agreement.max_difference
    how = "are not both numbers" if difference is None else f"differ by up to {difference:.2g}"
    return [
        f"Nothing was pushed: on {agreement.num_images} test images, the exported model's "
        f"probabilities for the image files and those for the evaluated examples {how}; a "
        f"difference of {agreement.tolerance:g} is allowed."
    ]


def _pushed_model(pusher: NodeRun, config: Config) -> PushedModel | None:
    path = pusher.custom_property("pushed_model", "pushed_destination")
    if not path:
        return None
    version = pusher.custom_property("pushed_model", "pushed_version")
    return PushedModel(name=config.name, version=version, path=path)


def _node(node: NodeRun, run_dir: Path) -> Node:
    return Node(
        name=node.name,
        state=node.state,
        seconds=round(node.seconds, 2),
        log=str(run_dir / f"{node.name}.log"),
        execution_id=node.execution_id,
        outputs=_outputs(node),
    )


def _outputs(node: NodeRun) -> dict[str, list[Artifact]]:
    return {
        key: [Artifact(id=artifact.id, uri=artifact.uri) for artifact in artifacts]
        for key, artifacts in node.outputs.items()
    }


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        **{name: distributions.version(name) for name in _PACKAGES},
    }
