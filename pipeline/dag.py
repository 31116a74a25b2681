"""The pipeline on one screen: each node one call, each arrow one argument."""

from collections.abc import Mapping

import tensorflow_data_validation as tfdv
from tfx.components import StatisticsGen
from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2, trainer_pb2

from components.cross_fitter.component import CrossFitter
from components.evaluator.component import PairedEvaluator
from components.example_validator.component import StrictExampleValidator
from components.exporter.component import Exporter
from components.gate.component import Gate
from components.image_example_gen.component import ImageExampleGen
from components.pusher.component import AtomicPusher
from components.schema_gen.component import ImageSchemaGen
from components.serving_check.component import ServingCheck
from components.transform.component import ImageTransform
from components.trunk_features.component import TrunkFeatures
from pipeline import __version__, beam_options, node_args
from pipeline.config.schema import Config
from pipeline.training_nodes import NodePlacement, on_this_machine
from trainer import keys
from trainer.specs import to_json

# In the output folder of runs on this machine.
TRUNK_STORE = "trunk_store"
LEDGER = "gate_ledger.sqlite"


def make_nodes(
    config: Config,
    images_dir: str,
    serving_dir: str,
    places: Mapping[str, NodePlacement] | None = None,
    trunk_store: str = "",
    ledger: str | None = None,
    exports_dir: str = "",
) -> list[BaseNode]:
    """Builds the nodes, first to last.

    Args:
      config: effective values.
      images_dir: where the images are: a folder, a manifest or an archive.
      serving_dir: blessed models are pushed into numbered folders below it.
      places: where Tuner, HeadTrainer and FineTuner run; None: on this machine.
      trunk_store: what features.store: auto means; empty: no store.
      ledger: local file in which the gate counts looks at the test images; None: nowhere.
      exports_dir: exports of a pushed model go into numbered folders below it.
    """
    places = places or on_this_machine(config)
    example_gen = ImageExampleGen(
        images_dir=images_dir,
        split_rule=node_args.split_rule(config),
        max_pixels=config.data.max_pixels,
        max_file_bytes=config.data.max_file_bytes,
        colour_profiles=config.data.colour_profiles,
        version=__version__,
        record_keys=node_args.record_keys(config),
        expected_fingerprint=config.data.fingerprint,
    ).with_id("ImageExampleGen")
    statistics_gen = StatisticsGen(
        examples=example_gen.outputs["examples"],
        stats_options=tfdv.StatsOptions(feature_allowlist=[keys.LABEL, keys.HEIGHT, keys.WIDTH]),
    ).with_id("StatisticsGen")
    schema_gen = ImageSchemaGen(
        statistics=statistics_gen.outputs["statistics"],
        exclude_splits=[keys.VAL, keys.TEST],
    ).with_id("SchemaGen")
    example_validator = StrictExampleValidator(
        statistics=statistics_gen.outputs["statistics"],
        schema=schema_gen.outputs["schema"],
        drift=node_args.drift_rule(config),
    ).with_id("ExampleValidator")
    transform = ImageTransform(
        examples=example_gen.outputs["examples"],
        schema=schema_gen.outputs["schema"],
        preprocessing_fn="trainer.preprocessing.preprocessing_fn",
        custom_config=to_json(node_args.transform(config)),
        disable_statistics=True,
        disable_analyzer_cache=True,
    ).with_id("Transform")
    transform.add_upstream_node(example_validator)
    nodes = [example_gen, statistics_gen, schema_gen, example_validator, transform]
    fitted, start = transform.outputs["transformed_examples"], None
    if config.features.cache:
        trunk_features = TrunkFeatures(
            examples=transform.outputs["transformed_examples"],
            settings=node_args.trunk_features(config),
            store=node_args.trunk_store(config, trunk_store),
        ).with_id("TrunkFeatures")
        nodes.append(trunk_features)
        fitted, start = trunk_features.outputs["features"], trunk_features.outputs["trunk"]
    hyperparameters = None
    if config.tuner.enabled:
        tuner = places["Tuner"].make(
            examples=fitted,
            transform_graph=transform.outputs["transform_graph"],
            base_model=start,
            tuner_fn="trainer.tfx_run.tuner_fn",
            train_args=trainer_pb2.TrainArgs(splits=[keys.TRAIN]),
            eval_args=trainer_pb2.EvalArgs(splits=[keys.VAL]),
            args=node_args.tuner(config),
        )
        nodes.append(tuner)
        hyperparameters = tuner.outputs["best_hyperparameters"]
    head_trainer = places["HeadTrainer"].make(
        examples=fitted,
        transform_graph=transform.outputs["transform_graph"],
        base_model=start,
        hyperparameters=hyperparameters,
        run_fn="trainer.tfx_run.head_run_fn",
        train_args=trainer_pb2.TrainArgs(splits=[keys.TRAIN]),
        eval_args=trainer_pb2.EvalArgs(splits=[keys.VAL]),
        args=node_args.head_trainer(config),
    )
    fine_tuner = places["FineTuner"].make(
        examples=fitted,
        transform_graph=transform.outputs["transform_graph"],
        base_model=head_trainer.outputs["model"],
        hyperparameters=hyperparameters,
        run_fn="trainer.tfx_run.fine_tune_run_fn",
        train_args=trainer_pb2.TrainArgs(splits=[keys.TRAIN]),
        eval_args=trainer_pb2.EvalArgs(splits=[keys.VAL]),
        args=node_args.fine_tuner(config),
    )
    nodes += [head_trainer, fine_tuner]
    evaluator = PairedEvaluator(
        examples=fitted,
        model=fine_tuner.outputs["model"],
        baseline_model=head_trainer.outputs["model"],
        top_k=config.gate.top_k,
    ).with_id("Evaluator")
    cross_fit = node_args.cross_fitter(config)
    evidence = None
    if cross_fit and start:
        cross_fitter = CrossFitter(
            features=fitted, trunk=start, settings=cross_fit, hyperparameters=hyperparameters
        ).with_id("CrossFitter")
        nodes.append(cross_fitter)
        evidence = cross_fitter.outputs["evidence"]
    compares = config.gate.served == "compare"
    gate = Gate(
        evaluation=evaluator.outputs["evaluation"],
        model=fine_tuner.outputs["model"],
        baseline_model=head_trainer.outputs["model"],
        rule=node_args.gate_rule(config),
        evidence=evidence,
        images=example_gen.outputs["examples"] if compares else None,
        serving_dir=serving_dir if compares else None,
        ledger=ledger,
    ).with_id("Gate")
    fallback = head_trainer.outputs["model"] if config.gate.fallback == "baseline" else None
    serving_check = ServingCheck(
        model=fine_tuner.outputs["model"],
        images=example_gen.outputs["examples"],
        examples=fitted,
        tolerance=node_args.serving_tolerance(config),
        baseline_model=fallback,
    ).with_id("ServingCheck")
    pusher = AtomicPusher(
        model=fine_tuner.outputs["model"],
        model_blessing=gate.outputs["blessing"],
        infra_blessing=serving_check.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=serving_dir)
        ),
        baseline_model=fallback,
    ).with_id("Pusher")
    nodes += [evaluator, gate, serving_check, pusher]
    if config.export.formats:
        exporter = Exporter(
            pushed_model=pusher.outputs["pushed_model"],
            model_blessing=gate.outputs["blessing"],
            model=fine_tuner.outputs["model"],
            baseline_model=fallback,
            examples=transform.outputs["transformed_examples"],
            rule=node_args.export_rule(config),
            exports_dir=exports_dir,
        ).with_id("Exporter")
        nodes.append(exporter)
    beam_options.apply_beam_options(nodes, config.beam)
    return nodes


def local_pipeline(
    config: Config, images_dir: str, output_dir: str, last: str | None = None
) -> Pipeline:
    """The pipeline as it runs on one machine: SQLite metadata, everything in `output_dir`.

    With the id of a `last` node, those behind it are left out.
    """
    nodes = make_nodes(
        config,
        images_dir,
        f"{output_dir}/serving/{config.name}",
        trunk_store=f"{output_dir}/{TRUNK_STORE}",
        ledger=f"{output_dir}/{LEDGER}",
        exports_dir=f"{output_dir}/exports/{config.name}",
    )
    count = [node.id for node in nodes].index(last) + 1 if last else len(nodes)
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=f"{output_dir}/artifacts",
        components=nodes[:count],
        enable_cache=True,
        metadata_connection_config=sqlite_metadata_connection_config(
            f"{output_dir}/metadata.sqlite"
        ),
    )
