"""What a task on Kubeflow Pipelines gets and reports, for each kind of store."""

import json

import pytest

import trainer  # noqa: F401 - chooses the Keras
from launchers.entry_point import parse_flags
from launchers.executor_input import ExecutorInput, LocalPaths
from trainer.store.uris import Kind, StoreSettings

ROOT = "minio://mlpipeline/thaw"
EXAMPLES = {
    "artifacts": [
        {
            "name": "7",
            "uri": f"{ROOT}/examples",
            "type": {"instanceSchema": "title: tfx.Examples\n"},
            "metadata": {"split_names": '["train"]'},
        }
    ]
}
MODEL = {"artifacts": [{"uri": f"{ROOT}/model", "type": {"schemaTitle": "tfx.Model"}}]}


def asked(inputs: dict, parameters: dict | None = None, described: tuple[str, ...] = ()) -> str:
    return json.dumps(
        {
            "inputs": {"artifacts": inputs, "parameterValues": parameters or {}},
            "outputs": {
                "artifacts": {"model": MODEL},
                "parameters": {name: {"outputFile": f"/tmp/{name}"} for name in described},
                "outputFile": "/tmp/kfp_outputs/output_metadata.json",
            },
        }
    )


def reported(uri: str, **metadata: object) -> str:
    model = {"uri": uri, "metadata": metadata}
    return json.dumps({"artifacts": {"model": {"artifacts": [model]}}})


def output_of(text: str) -> dict:
    (model,) = json.loads(text)["artifacts"]["model"]["artifacts"]
    return model


def test_a_direct_store_changes_no_address():
    given = ExecutorInput(asked({"examples": EXAMPLES}), StoreSettings(), LocalPaths())

    assert given.local.inputs.artifacts["examples"].artifacts[0].uri == f"{ROOT}/examples"
    assert output_of(given.report(reported(f"{ROOT}/model", size=3)))["metadata"] == {"size": 3}


def test_a_mounted_store_is_read_and_written_in_the_mount():
    settings = StoreSettings(Kind.MOUNTED, ROOT, "/store")
    parameters = {"images": f"{ROOT}/photos", "rate": 0.5}

    given = ExecutorInput(asked({"examples": EXAMPLES}, parameters), settings, LocalPaths())

    assert given.local.inputs.artifacts["examples"].artifacts[0].uri == "/store/examples"
    assert given.local.inputs.parameter_values["images"].string_value == "/store/photos"
    assert given.local.inputs.parameter_values["rate"].number_value == 0.5
    assert given.output_places() == {"/store/model": f"{ROOT}/model"}
    said = output_of(given.report(reported("/store/model", pushed="/store/serving/1")))
    assert said == {"uri": f"{ROOT}/model", "metadata": {"pushed": f"{ROOT}/serving/1"}}


def test_staged_artifacts_are_where_the_launcher_has_put_them():
    paths = LocalPaths(
        {"examples": "/minio/mlpipeline/thaw/examples"}, {"model": "/minio/mlpipeline/thaw/model"}
    )

    given = ExecutorInput(asked({"examples": EXAMPLES}), StoreSettings(Kind.STAGED), paths)

    local = given.local.inputs.artifacts["examples"].artifacts[0]
    assert local.uri == "/minio/mlpipeline/thaw/examples"
    assert given.local.outputs.artifacts["model"].artifacts[0].uri.startswith("/minio/")
    said = given.report(
        reported("/minio/mlpipeline/thaw/model", best="/minio/mlpipeline/thaw/model/3")
    )
    assert output_of(said) == {"uri": f"{ROOT}/model", "metadata": {"best": f"{ROOT}/model/3"}}


def test_an_artifact_is_described_by_one_task_and_read_by_another():
    maker = ExecutorInput(asked({}, described=("model_reference",)), StoreSettings(), LocalPaths())
    assert not maker.local.outputs.parameters, "TFX knows none"
    described = json.loads(maker.report(reported(f"{ROOT}/model", size=3)))["parameterValues"]

    reader = ExecutorInput(
        asked({}, {"base_model_reference": described["model_reference"], "rate": 0.5}),
        StoreSettings(),
        LocalPaths(),
    )

    (model,) = reader.local.inputs.artifacts["base_model"].artifacts
    assert (model.uri, model.type.schema_title) == (f"{ROOT}/model", "tfx.Model")
    assert model.metadata["size"] == 3
    assert list(reader.local.inputs.parameter_values) == ["rate"]


def test_flags_are_the_entry_points_own_then_tfxs_then_beams():
    own, tfx_flags, beam = parse_flags(
        [
            *("--executor_class_path", "a.B", "--json_serialized_invocation_args", "{}"),
            *("--local_input=examples=/s3/b/x", "--direct_num_workers=2"),
        ]
    )

    assert own == LocalPaths({"examples": "/s3/b/x"})
    assert tfx_flags.executor_class_path == "a.B"
    assert beam == ["--direct_num_workers=2"]


def test_an_input_that_is_not_json_is_an_error():
    with pytest.raises(Exception, match="Failed to load JSON"):
        ExecutorInput("{", StoreSettings(), LocalPaths())
