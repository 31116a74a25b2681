"""A run that is started with other values does what the config with these values would."""

import json

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from pipeline.cluster.target import ClusterError, Target
from pipeline.config.schema import Config

from .conftest import COMMON, GROUPS, VERTEX, compiled, config_of, needs_kfp
from .specs import container_of, read_kubeflow, read_vertex

pytestmark = [pytest.mark.slow, needs_kfp]

# Three workers, no search: every parameter has an effect.
SETTINGS = (*GROUPS, "tuner.enabled=false")
CHOSEN = {
    "images": "gs://bucket/newer",
    "head_epochs": 3,
    "head_learning_rate": 2e-3,
    "fine_tune_epochs": 4,
    "fine_tune_learning_rate": 3e-4,
    "workers": 5,
    "min_gain": 0.02,
    "min_accuracy": 0.75,
}


@pytest.fixture(scope="module")
def config() -> Config:
    return config_of(SETTINGS)


@pytest.fixture(scope="module")
def spec() -> spec_pb2.PipelineSpec:
    return read_kubeflow(compiled(SETTINGS, Target.KUBEFLOW))[0]


def executor_input(
    spec: spec_pb2.PipelineSpec, node: str, values: dict[str, str | float]
) -> spec_pb2.ExecutorInput:
    """What the driver passes: constants, and the pipeline's inputs, of which some are chosen."""
    asked = spec_pb2.ExecutorInput()
    defaults = spec.root.input_definitions.parameters
    for name, parameter in spec.root.dag.tasks[node].inputs.parameters.items():
        given = asked.inputs.parameter_values[name]
        if parameter.component_input_parameter:
            given.CopyFrom(defaults[parameter.component_input_parameter].default_value)
            if name in values:
                json_format.ParseDict(values[name], given)
        else:
            given.CopyFrom(parameter.runtime_value.constant)
    return asked


def arguments_for_tfx(
    spec: spec_pb2.PipelineSpec, node: str, values: dict[str, str | float]
) -> dict[str, object]:
    """The arguments that TFX's entry point gets; JSON is read."""
    from pipeline.cluster.task import with_parameters

    text = json_format.MessageToJson(executor_input(spec, node, values))
    words = container_of(spec, node).args
    assert words[-2:] == ["--node", node]
    passed = with_parameters([text if word == "{{$}}" else word for word in words])
    assert "--node" not in passed
    asked = json.loads(passed[passed.index("--json_serialized_invocation_args") + 1])
    return {name: parsed(value) for name, value in asked["inputs"]["parameterValues"].items()}


def parsed(value: object) -> object:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


NODES = ("ImageExampleGen", "HeadTrainer", "FineTuner", "Gate")


@pytest.mark.parametrize("node", NODES)
def test_chosen_values_change_the_arguments_as_the_config_would(node, spec, config):
    from pipeline.cluster.compile import compile_pipeline
    from pipeline.cluster.parameters import with_values

    other = read_kubeflow(compile_pipeline(with_values(config, CHOSEN), Target.KUBEFLOW))[0]

    changed = arguments_for_tfx(spec, node, CHOSEN)

    assert changed == arguments_for_tfx(other, node, {})
    assert changed != arguments_for_tfx(spec, node, {})


@pytest.mark.parametrize("node", NODES)
def test_without_a_choice_the_arguments_are_those_that_were_compiled(node, spec):
    compiled_ones = {
        name: parsed(json_format.MessageToDict(parameter.runtime_value.constant))
        for name, parameter in spec.root.dag.tasks[node].inputs.parameters.items()
        if not parameter.component_input_parameter
    }

    assert arguments_for_tfx(spec, node, {}) == compiled_ones


def test_each_parameter_reaches_only_nodes_whose_result_depends_on_it(spec):
    """Any other would run again for nothing: a service caches by a task's parameters."""
    reached = {
        name: {
            node
            for node, task in spec.root.dag.tasks.items()
            if name in task.inputs.parameters
            and task.inputs.parameters[name].component_input_parameter
        }
        - {"Report"}
        for name in spec.root.input_definitions.parameters
    }

    fits = {"HeadTrainer", "FineTuner"}
    assert reached == {
        "images": {"ImageExampleGen", *fits},
        "head_epochs": fits,
        "head_learning_rate": fits,
        "fine_tune_epochs": {"FineTuner"},
        "fine_tune_learning_rate": {"FineTuner"},
        "workers": fits,
        "min_gain": {"Gate"},
        "min_accuracy": {"Gate"},
    }


def test_parameters_have_types_defaults_and_the_key_that_they_stand_for(spec):
    shown = {
        name: (
            spec_pb2.ParameterType.ParameterTypeEnum.Name(one.parameter_type),
            json_format.MessageToDict(one.default_value),
            one.description,
        )
        for name, one in spec.root.input_definitions.parameters.items()
    }

    assert shown["images"] == ("STRING", "gs://bucket/images", "data.images of the config")
    assert shown["fine_tune_epochs"] == (
        "NUMBER_INTEGER",
        50,
        "fits.fine_tune.max_epochs of the config",
    )
    assert shown["workers"][1] == 3
    assert shown["min_accuracy"][:2] == ("NUMBER_DOUBLE", 0)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("head_epochs", 0, "parameter head_epochs: 0.0 is not allowed: Input should be greater"),
        ("head_epochs", 2.5, "parameter head_epochs: 2.5 is not allowed"),
        ("fine_tune_learning_rate", -1, "parameter fine_tune_learning_rate: -1.0 is not allowed"),
    ],
)
def test_a_value_that_the_config_would_refuse_is_refused(name, value, says, spec):
    with pytest.raises(ClusterError) as refusal:
        arguments_for_tfx(spec, "FineTuner", {name: value})

    assert str(refusal.value).startswith(says)


def test_what_the_search_decides_and_a_single_worker_are_no_parameters():
    tuned = read_kubeflow(compiled(GROUPS, Target.KUBEFLOW))[0]
    alone = read_kubeflow(compiled(COMMON, Target.KUBEFLOW))[0]

    assert not {"head_learning_rate", "fine_tune_learning_rate"} & set(
        tuned.root.input_definitions.parameters
    )
    assert "workers" in tuned.root.input_definitions.parameters
    assert "workers" not in alone.root.input_definitions.parameters


def test_vertex_has_the_same_parameters_with_their_defaults(tmp_path):
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform

    text = compiled((*VERTEX, "tuner.enabled=false"), Target.VERTEX)
    path = tmp_path / "job.json"
    path.write_text(text)

    job = aiplatform.PipelineJob(
        display_name="birds",
        template_path=str(path),
        project="p",
        location="europe-west4",
        credentials=AnonymousCredentials(),
        parameter_values={"fine_tune_epochs": 7},
    )

    given = job.runtime_config.parameters
    assert given["fine_tune_epochs"].int_value == 7
    assert given["head_learning_rate"].double_value == pytest.approx(1e-3)
    assert given["images"].string_value == "gs://bucket/images"
    spec, _ = read_vertex(text)
    assert "workers" not in spec.root.input_definitions.parameters
