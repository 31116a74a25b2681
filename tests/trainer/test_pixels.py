"""The signature on pixels: what a client has decoded gives the answer of the file."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from trainer.data.fit_data import image_parser
from trainer.data.images import decode_and_resize
from trainer.export import ExportInfo, export_saved_model
from trainer.model.classifier import build_classifier
from trainer.specs import ImageReading, ModelSpec, ServedImages

from .conftest import SIZE_PX, parts_of, tiny_backbone
from .photographs import encode, photograph
from .test_export import LABELS, random_fit

COLOUR = (10, 20, 250)


@pytest.fixture(scope="module", params=["stretch", "crop", "pad"])
def served(request, tmp_path_factory):
    classifier = build_classifier(
        ModelSpec("inception_v3", SIZE_PX, 8, 0.0, num_classes=3), tiny_backbone()
    )
    images = ServedImages(SIZE_PX, 1_000_000, ImageReading(request.param, COLOUR))
    folder = str(tmp_path_factory.mktemp("pixels") / "model")
    parse, info = image_parser(SIZE_PX), ExportInfo(LABELS, {}, {})
    export_saved_model(parts_of(classifier), images, parse, random_fit(), info, folder)
    return tf.saved_model.load(folder)


def ask(served, signature: str, **inputs) -> dict[str, np.ndarray]:
    tensors = {name: tf.constant(value) for name, value in inputs.items()}
    return {name: one.numpy() for name, one in served.signatures[signature](**tensors).items()}


# Less than four times the model's side: larger files are scaled down while they are decoded.
@pytest.mark.parametrize(("width", "height"), [(63, 47), (400, 60), (9, 13), (SIZE_PX, SIZE_PX)])
@pytest.mark.parametrize("kind", ["plain", "grey", "PNG"])
def test_decoded_photographs_give_every_output_of_their_files_to_the_last_digit(
    served, width, height, kind
):
    images = [photograph(number, width, height, enlarged=False) for number in (0, 1)]
    files = [to_png(one) if kind == "PNG" else encode(one, kind) for one in images]
    decoded = [np.asarray(Image.open(io.BytesIO(one)).convert("RGB")) for one in files]

    by_file = ask(served, "serving_default", image_bytes=files)
    by_pixels = ask(served, "pixels", pixels=np.stack(decoded))

    assert by_file.keys() == by_pixels.keys()
    for name, values in by_file.items():
        np.testing.assert_array_equal(by_pixels[name], values, err_msg=name)


def to_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_pixels_of_the_models_size_are_taken_as_they_are(served):
    content = encode(photograph(0, 300, 200, enlarged=False))
    square = decode_and_resize(tf.constant(content), SIZE_PX, 10**6)

    by_pixels = ask(served, "pixels", pixels=square[tf.newaxis])
    predicted = served.predict(square[tf.newaxis])

    expected = tf.nn.softmax(predicted["logits"]).numpy()
    np.testing.assert_array_equal(by_pixels["probabilities"], expected)


def test_more_images_than_are_run_at_once_keep_their_order(served):
    pixels = np.random.default_rng(1).integers(0, 256, [70, 20, 30, 3], "uint8")

    together = ask(served, "pixels", pixels=pixels)["unknown_score"]

    alone = [ask(served, "pixels", pixels=one[np.newaxis])["unknown_score"][0] for one in pixels]
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


def test_images_without_pixels_are_refused(served):
    with pytest.raises(tf.errors.InvalidArgumentError):
        ask(served, "pixels", pixels=np.zeros([1, 0, 5, 3], "uint8"))
