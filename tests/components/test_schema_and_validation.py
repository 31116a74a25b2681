"""The schema names every class of training, and a class that it does not name stops the run."""

import pytest
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from components.example_validator.executor import DataAnomalies, raise_anomalies
from trainer import keys

from .statistics import infer_schema, validate, write_statistics

NAMES = {
    "words": ["ant", "bee", "cow"],
    "numbers": ["0", "1", "10", "9"],
    "numbers and words": ["0", "1", "none"],
    "more than a hundred": [f"class {number}" for number in range(150)],
    "one that is rare": [*["ant"] * 300, "bee"],
}


def classes(schema: schema_pb2.Schema) -> list[str]:
    (feature,) = [feature for feature in schema.feature if feature.name == keys.LABEL]
    (domain,) = [domain for domain in schema.string_domain if domain.name == feature.domain]
    return list(domain.value)


@pytest.fixture
def run(tmp_path):
    """Schema of the training labels, and the message of validating all splits, if any."""

    def run(**labels: list[str]) -> tuple[schema_pb2.Schema, str | None]:
        statistics = write_statistics(tmp_path / "statistics", labels)
        artifact, schema = infer_schema(statistics, tmp_path / "schema")
        try:
            validate(statistics, artifact, tmp_path / "anomalies")
        except DataAnomalies as error:
            return schema, str(error)
        return schema, None

    return run


@pytest.mark.parametrize("labels", NAMES.values(), ids=NAMES)
def test_schema_names_the_classes_of_training_in_order(run, labels):
    schema, message = run(train=labels, val=labels, test=labels)

    assert classes(schema) == sorted(set(labels))
    assert message is None


@pytest.mark.parametrize("labels", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("split", ["val", "test"])
def test_class_that_training_has_not_is_an_anomaly_of_its_split(run, labels, split):
    splits = {"train": labels, "val": labels, "test": labels}

    _, message = run(**{**splits, split: [*labels, "77"]})

    start = f"the data do not fit the schema: {split}: label: "
    assert message is not None
    assert message.startswith(start)
    assert "77" in message
    assert message.count("label") == 1


def test_split_may_lack_a_class(run):
    _, message = run(train=["ant", "bee"], val=["bee"], test=["ant"])

    assert message is None


def test_more_classes_than_statistics_name_leave_the_schema_as_it_was_inferred(run):
    labels = [f"class {number}" for number in range(1200)]

    schema, message = run(train=labels, val=labels, test=labels)

    (feature,) = [feature for feature in schema.feature if feature.name == keys.LABEL]
    assert not feature.domain
    assert not schema.string_domain
    assert message is None


def test_features_that_have_no_statistics_are_in_the_schema_and_need_none(run):
    schema, message = run(train=["ant", "bee"])

    types = {feature.name: feature.type for feature in schema.feature}
    assert types == {
        keys.LABEL: schema_pb2.BYTES,
        keys.HEIGHT: schema_pb2.INT,
        keys.WIDTH: schema_pb2.INT,
        keys.IMAGE_BYTES: schema_pb2.BYTES,
        keys.ID: schema_pb2.BYTES,
        keys.PATH: schema_pb2.BYTES,
        keys.GROUP: schema_pb2.BYTES,
        keys.WEIGHT: schema_pb2.FLOAT,
    }
    assert message is None


def test_every_feature_is_read_as_a_dense_scalar(run):
    schema, _ = run(train=["ant", "bee"])

    representations = schema.tensor_representation_group[""].tensor_representation
    assert set(representations) == {feature.name for feature in schema.feature}
    for name, representation in representations.items():
        assert representation.dense_tensor.column_name == name
        assert representation.dense_tensor.HasField("shape")
        assert not representation.dense_tensor.shape.dim


def test_anomalies_of_every_split_are_told_in_one_message():
    val, test = anomalies_pb2.Anomalies(), anomalies_pb2.Anomalies()
    val.anomaly_info["width_px"].description = "Too wide."
    val.anomaly_info["label"].short_description = "Unexpected string values"
    test.dataset_anomaly_info.description = "Too few examples."

    with pytest.raises(DataAnomalies) as caught:
        raise_anomalies({"train": anomalies_pb2.Anomalies(), "val": val, "test": test})

    assert str(caught.value) == (
        "the data do not fit the schema: val: label: Unexpected string values"
        " | val: width_px: Too wide. | test: Too few examples."
    )


def test_no_anomaly_is_no_error():
    assert raise_anomalies({"train": anomalies_pb2.Anomalies()}) is None
