"""Beam's options: which node gets which, and that no cache depends on them."""

from typing import Any

import pytest
from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.orchestration.local import runner_utils

from pipeline import beam_options
from pipeline.config.beam import BeamNodes
from pipeline.config.load import ConfigError, load_config
from pipeline.config.schema import Config
from pipeline.dag import local_pipeline, make_nodes
from pipeline.local.runner import compile_pipeline

ALL, OWN = "--direct_num_workers=2", "--direct_num_workers=3"


def config(*settings: str) -> Config:
    return load_config(None, ["backbone.weights=random", *settings])


def specs(chosen: Config) -> dict[str, Any]:
    """Executor spec of each node, as `thaw run` compiles it."""
    ir = compile_pipeline(local_pipeline(chosen, "images", "output"), "run")
    deployment = runner_utils.extract_local_deployment_config(ir)
    names = [node.pipeline_node.node_info.id for node in ir.nodes]
    return {name: runner_utils.extract_executor_spec(deployment, name) for name in names}


def test_config_names_the_nodes_that_use_beam_and_no_other():
    nodes = make_nodes(config("gate.evidence=auto"), "images", "serving")

    beam_nodes = [node.id for node in nodes if isinstance(node, BaseBeamComponent)]
    assert beam_nodes == list(BeamNodes.model_fields)


def test_beam_nodes_get_the_options_for_all_and_then_their_own():
    found = specs(
        config("gate.evidence=auto", f"beam.options=[{ALL}]", f"beam.nodes.Transform=[{OWN}]")
    )

    options_of = {
        name: list(getattr(spec, "beam_pipeline_args", [])) for name, spec in found.items()
    }
    assert options_of.pop("Transform") == [ALL, OWN]
    assert {name for name, options in options_of.items() if options == [ALL]} == {
        *BeamNodes.model_fields
    } - {"Transform"}
    assert options_of["HeadTrainer"] == options_of["Pusher"] == []


def test_what_the_cache_hashes_is_the_same_whatever_beam_is_told():
    plain, tuned = specs(config()), specs(config(f"beam.options=[{ALL}]"))

    for name, spec in tuned.items():
        seen, _ = beam_options.exclude_from_cache_key(spec)
        assert seen == plain[name]
    assert tuned["Transform"] != plain["Transform"], "options change nothing: this shows nothing"


def test_executor_gets_the_options_all_the_same():
    spec = specs(config(f"beam.nodes.Evaluator=[{OWN}]"))["Evaluator"]

    seen, operators = beam_options.exclude_from_cache_key(spec)

    operator = operators[type(seen)](executor_spec=seen)
    assert [str(arg.value.string_value) for arg in operator.beam_pipeline_args] == [OWN]


@pytest.mark.parametrize(
    ("options", "here"),
    [
        ([ALL], True),
        (["--runner=FlinkRunner", "--environment_type=LOOPBACK"], True),
        (["--runner=FlinkRunner", "--flink_master=somewhere:8081"], False),
        (["--runner=DataflowRunner"], False),
    ],
)
def test_only_workers_elsewhere_are_sent_source(options, here):
    assert beam_options.workers_are_here(options) == here


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("beam.options=[direct_num_workers=2]", r"beam\.options\.0: .* An option starts with --"),
        ("beam.nodes.Transform=[x]", r"beam\.nodes\.Transform\.0: 'x' .* An option starts with --"),
        ("beam.nodes.trunkfeatures=[--a=1]", r"no such key\. Did you mean TrunkFeatures\?"),
        ("beam.nodes.Pusher=[--a=1]", r"Keys here: ImageExampleGen, StatisticsGen, Transform"),
        ("beam.nodes.Transform=--a=1", r"beam\.nodes\.Transform: '--a=1' is not allowed"),
    ],
)
def test_impossible_options_are_refused_by_their_key(setting, message):
    with pytest.raises(ConfigError, match=message):
        load_config(None, [setting])
