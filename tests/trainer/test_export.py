"""The served model: loads lean, answers as the trained model does, carries its papers."""

import base64
import io
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from serving.model import load_model
from serving.versions import UnusableModel
from trainer import keys
from trainer.backbones.networks import preprocess_input
from trainer.backbones.table import BACKBONES
from trainer.calibration.fit import Fitted
from trainer.calibration.probe import Probe
from trainer.calibration.record import Calibration
from trainer.calibration.unknown import Pooled, fit_known
from trainer.data.fit_data import image_parser
from trainer.data.images import decode_and_resize, serialize_image
from trainer.data.predictions import REFERENCE_TOP
from trainer.export import ExportInfo, export_saved_model
from trainer.model.classifier import build_classifier
from trainer.specs import ModelSpec, ServedImages

from .conftest import SIZE_PX, WIDTH, nothing_fitted, parts_of, tiny_backbone

LABELS = ["ant", "bee", "Ørsted's cat"]
FITTED = nothing_fitted(WIDTH)


def picture(format_name: str, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, [40, 50, 3], "uint8")
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format_name)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def model():
    return build_classifier(
        ModelSpec("inception_v3", SIZE_PX, 8, 0.0, num_classes=3), tiny_backbone()
    )


@pytest.fixture(scope="module")
def temporary(tmp_path_factory):
    folder = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder


@pytest.fixture(scope="module")
def exported(model, temporary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "model"
    card = ExportInfo(LABELS, {"seed": 3}, {"fingerprint": "abc"})
    export_saved_model(
        parts_of(model),
        ServedImages(SIZE_PX, 1_000_000),
        image_parser(SIZE_PX),
        FITTED,
        card,
        str(folder),
    )
    return folder


@pytest.fixture(scope="module")
def served(exported):
    return tf.saved_model.load(str(exported))


def test_nothing_is_left_in_the_temporary_folder(exported, temporary):
    assert not list(temporary.glob("thaw-*"))


def serve(served, files: list[bytes]) -> dict[str, np.ndarray]:
    answer = served.signatures["serving_default"](image_bytes=tf.constant(files))
    return {name: tensor.numpy() for name, tensor in answer.items()}


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "GIF", "BMP"])
def test_bytes_give_the_softmax_of_the_trained_models_logits(model, served, format_name):
    content = picture(format_name)

    answer = serve(served, [content])

    seen = decode_and_resize(tf.constant(content), SIZE_PX, 10**6)[tf.newaxis]
    expected = tf.nn.softmax(model(seen, training=False)).numpy()
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-6)
    assert answer["label_id"] == expected.argmax()
    assert answer["class_name"][0].decode() == LABELS[int(expected.argmax())]
    assert [name.decode() for name in answer["class_names"][0]] == LABELS


def test_preprocessing_of_the_backbone_is_part_of_the_graph(model, served):
    content = picture("PNG")

    seen = tf.cast(decode_and_resize(tf.constant(content), SIZE_PX, 10**6)[tf.newaxis], tf.float32)
    scaled = preprocess_input(BACKBONES["inception_v3"])(seen)
    tiny = model.get_layer("tiny")
    pooled = model.get_layer("pool")(tiny(scaled, training=False))
    logits = model.get_layer("logits")(model.get_layer("hidden")(pooled))

    np.testing.assert_allclose(
        serve(served, [content])["probabilities"], tf.nn.softmax(logits), atol=1e-6
    )


def test_many_at_once_answer_like_one_by_one(served):
    files = [picture("JPEG", seed) for seed in range(70)]  # more than two chunks

    together = serve(served, files)["probabilities"]

    alone = np.concatenate([serve(served, [file])["probabilities"] for file in files[::23]])
    assert together.shape == (70, 3)
    np.testing.assert_allclose(together[::23], alone, atol=1e-6)


def test_evaluation_reads_stored_examples(model, served):
    image = decode_and_resize(tf.constant(picture("PNG")), SIZE_PX, 10**6)
    example = tf.train.Example()
    example.features.feature[keys.IMAGE].bytes_list.value.append(serialize_image(image).numpy())
    example.features.feature[keys.LABEL_ID].int64_list.value.append(1)

    answer = served.signatures["evaluate"](examples=tf.constant([example.SerializeToString()]))

    expected = tf.nn.softmax(model(image[tf.newaxis], training=False))
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-6)


def test_papers_travel_with_the_model(exported):
    assets = exported / "assets"

    assert (assets / "labels.txt").read_text().splitlines() == LABELS
    assert json.loads((assets / "config.json").read_text()) == {"seed": 3}
    assert json.loads((assets / "data.json").read_text()) == {"fingerprint": "abc"}


def test_signature_is_what_tensorflow_serving_reads(exported):
    """Its gRPC API goes by the MetaGraph's SignatureDef, its REST API too; every output
    has the batch first, as REST's row format asks for."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((exported / "saved_model.pb").read_bytes())
    (meta_graph,) = saved.meta_graphs
    signature = meta_graph.signature_def["serving_default"]

    assert list(meta_graph.meta_info_def.tags) == ["serve"]
    assert signature.method_name == "tensorflow/serving/predict"
    assert set(signature.inputs) == {"image_bytes"}
    assert signature.inputs["image_bytes"].dtype == tf.string.as_datatype_enum
    assert set(signature.outputs) == {
        "probabilities",
        "label_id",
        "class_name",
        "class_names",
        "calibrated_probabilities",
        "unknown_score",
        "is_known",
    }
    assert {output.tensor_shape.dim[0].size for output in signature.outputs.values()} == {-1}


def test_request_as_rest_sends_it_is_understood(served):
    """TensorFlow Serving decodes {"b64": …} to bytes and feeds them by input name."""
    body = json.dumps(
        {"instances": [{"image_bytes": {"b64": base64.b64encode(picture("PNG")).decode()}}]}
    )

    rows = [base64.b64decode(row["image_bytes"]["b64"]) for row in json.loads(body)["instances"]]

    assert serve(served, rows)["probabilities"].sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "content", [b"text", b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM\xff"]
)
def test_file_that_is_no_image_fails_its_request_with_one_sentence(served, content):
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"not a JPEG, PNG, GIF or BMP|unusual"
    ):
        serve(served, [picture("PNG"), content])


def operations(folder: Path) -> set[str]:
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    return {node.op for function in graph.library.function for node in function.node_def}


def random_fit() -> Fitted:
    """Numbers that are none of the neutral ones."""
    generator = np.random.default_rng(6)
    images = Pooled(generator.normal(0, 1, [40, WIDTH]).astype("float32"), np.arange(40) % 3)
    logits = generator.normal(0, 1, [40, 3]).astype("float32")
    known = fit_known(images, images, logits, 0.5)
    probe = Probe(*(generator.normal(0, 1, shape).astype("float32") for shape in ([WIDTH, 3], [3])))
    return Fitted(Calibration(2.5, 40, 0.5, float(known.threshold)), known, {REFERENCE_TOP: probe})


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return random_fit()


@pytest.fixture(scope="module")
def calibrated(model, fitted, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("calibrated") / "model")
    images, info = ServedImages(SIZE_PX, 1_000_000), ExportInfo(LABELS, {}, {})
    export_saved_model(parts_of(model), images, image_parser(SIZE_PX), fitted, info, folder)
    return tf.saved_model.load(folder)


def test_what_was_fitted_is_served_beside_the_probabilities(model, fitted, calibrated):
    files = [picture("PNG", seed) for seed in range(40)]

    answer = serve(calibrated, files)

    pictures = tf.stack([decode_and_resize(tf.constant(one), SIZE_PX, 10**6) for one in files])
    vectors, logits = parts_of(model).pool_images(pictures), model(pictures)
    scores = fitted.known.score(vectors, logits).numpy()
    np.testing.assert_allclose(answer["unknown_score"], scores, atol=1e-3)
    assert (answer["is_known"] == (answer["unknown_score"] <= fitted.record.threshold)).all()
    np.testing.assert_allclose(
        answer["calibrated_probabilities"], tf.nn.softmax(logits / 2.5), atol=1e-6
    )
    np.testing.assert_allclose(answer["probabilities"], tf.nn.softmax(logits), atol=1e-6)


def test_evaluation_gives_the_score_and_the_probes_answers(model, fitted, calibrated):
    image = decode_and_resize(tf.constant(picture("PNG")), SIZE_PX, 10**6)
    example = tf.train.Example()
    example.features.feature[keys.IMAGE].bytes_list.value.append(serialize_image(image).numpy())
    example.features.feature[keys.LABEL_ID].int64_list.value.append(1)

    answer = calibrated.signatures["evaluate"](examples=tf.constant([example.SerializeToString()]))

    served = serve(calibrated, [picture("PNG")])
    probe = fitted.probes[REFERENCE_TOP]
    expected = parts_of(model).pool(image[tf.newaxis]).numpy() @ probe.kernel + probe.bias
    assert set(answer) == {"probabilities", "logits", "unknown_score", REFERENCE_TOP}
    np.testing.assert_allclose(answer["unknown_score"], served["unknown_score"], atol=1e-3)
    np.testing.assert_allclose(answer[REFERENCE_TOP], expected, rtol=1e-4, atol=1e-4)


def test_heat_map_is_where_the_class_gets_its_logit_from(model, calibrated):
    """Against the gradient of pooling and two dense layers, written out."""
    content = picture("PNG")
    label_id = 2
    image = decode_and_resize(tf.constant(content), SIZE_PX, 10**6)[tf.newaxis]
    features = parts_of(model).trunk(image).numpy()[0]
    hidden, last = (model.get_layer(name) for name in ("hidden", "logits"))
    active = (features.mean(axis=(0, 1)) @ hidden.kernel.numpy() + hidden.bias.numpy()) > 0
    weights = hidden.kernel.numpy() @ (active * last.kernel.numpy()[:, label_id])
    expected = np.maximum(features @ weights, 0)

    answer = calibrated.signatures["explain"](
        image_bytes=tf.constant([content]), label_id=tf.constant([label_id], tf.int64)
    )

    assert expected.max() > 0
    np.testing.assert_allclose(answer["heat_map"][0], expected / expected.max(), atol=1e-4)


def test_model_whose_data_has_no_webp_loads_without_its_decoder(exported):
    assert "DecodePng" in operations(exported)
    assert "DecodeWebP" not in operations(exported)
    record = json.loads((exported / "assets" / "serving.json").read_text())
    assert record["lowest_tensorflow"] == "2.3"
    assert record["images"]["webp"] is False


def test_model_whose_data_has_webp_reads_it_and_says_what_it_needs(model, tmp_path):
    images = ServedImages(SIZE_PX, 1_000_000, webp=True)
    info = ExportInfo(LABELS, {}, {})

    export_saved_model(
        parts_of(model), images, image_parser(SIZE_PX), FITTED, info, str(tmp_path / "m")
    )

    assert "DecodeWebP" in operations(tmp_path / "m")
    record = json.loads((tmp_path / "m" / "assets" / "serving.json").read_text())
    assert record["lowest_tensorflow"] == "2.21"
    answer = serve(tf.saved_model.load(str(tmp_path / "m")), [picture("WEBP")])
    assert answer["probabilities"].sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("format_name", ["TIFF", "WEBP", "AVIF"])
def test_files_that_the_model_does_not_decode_are_re_encoded_for_it(served, exported, format_name):
    content = picture(format_name)
    pushed = load_model(exported)

    answer = dict(pushed.ask(content).classes)

    png = io.BytesIO()
    Image.open(io.BytesIO(content)).convert("RGB").save(png, "PNG")
    expected = serve(served, [png.getvalue()])["probabilities"][0]
    np.testing.assert_allclose([answer[label] for label in LABELS], expected, atol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match="not a JPEG, PNG, GIF or BMP"):
        serve(served, [content])


def test_damaged_record_of_how_files_are_read_is_named(exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "model")
    (folder / "assets" / "serving.json").write_text("{}")

    with pytest.raises(UnusableModel, match="the record of how the model reads files is damaged"):
        load_model(Path(folder))
