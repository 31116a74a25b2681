"""A model whose page has everything: hostile names, abstention, heat maps, papers."""

import io
import json
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras
from PIL import Image

from serving.version_record import VersionRecord, to_text
from trainer.calibration.fit import Fitted, fit_calibration
from trainer.calibration.unknown import Pooled
from trainer.data.fit_data import image_parser
from trainer.export import ExportInfo, export_saved_model
from trainer.model.classifier import build_classifier
from trainer.model.parts import ClassifierParts
from trainer.specs import ModelSpec, ServedImages

from ..trainer.conftest import SIZE_PX, parts_of, tiny_backbone

HOSTILE = "<img src=x onerror=alert(1)>"
LONG = "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch" * 2
# Its weights are such that it prefers the fifth and the sixth.
LABELS = ["ant", "bee", "Ørsted's cat", "dog", LONG, HOSTILE, "fox"]
RUN_ID = "20260102-030405"
RECORD = VersionRecord(
    version="1",
    run_id=RUN_ID,
    pushed="2026-01-02T03:04:05+00:00",
    model="candidate",
    verdict="Better than its baseline, <b>beyond chance</b>.",
    accuracy=0.8125,
    test_images=1234,
    fingerprint="abc",
)
REPORT = (
    "<!doctype html><title>r</title><style>h1 { color: rgb(1, 2, 3) }</style><h1>The report</h1>"
    '<img alt="" src="data:image/gif;base64,R0lGODlhAQABAAAAACw="><script>alert(1)</script>'
)


def picture(format_name: str = "PNG", seed: int = 0, brightest: int = 90) -> bytes:
    """A file of noise; the model knows dark images only."""
    pixels = np.random.default_rng(seed).integers(0, brightest, [40, 60, 3], "uint8")
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format_name)
    return buffer.getvalue()


def unknown_picture() -> bytes:
    """White."""
    buffer = io.BytesIO()
    Image.new("RGB", (40, 60), "white").save(buffer, "PNG")
    return buffer.getvalue()


def export_with_papers(output: Path) -> Path:
    """Exports the model into a run's output folder, as a push leaves it.

    Returns:
      The folder of its versions.
    """
    versions = output / "serving" / "birds"
    keras.utils.set_random_seed(4)
    spec = ModelSpec("inception_v3", SIZE_PX, 8, 0.0, num_classes=len(LABELS))
    classifier = build_classifier(spec, tiny_backbone())
    for layer in ("hidden", "logits"):
        kernel = classifier.get_layer(layer).kernel
        kernel.assign(kernel * 10)
    parts = parts_of(classifier)
    data = {"counts": {"train": dict.fromkeys(LABELS, 10)}}
    export_saved_model(
        parts,
        ServedImages(SIZE_PX, 1_000_000),
        image_parser(SIZE_PX),
        _fitted(parts),
        ExportInfo(LABELS, {}, data),
        str(versions / "1"),
    )
    assets = versions / "1" / "assets"
    (assets / "version.json").write_text(to_text(RECORD))
    (assets / "model_card.md").write_text("# Model card: birds")
    (output / "run.json").write_text(json.dumps({"run_id": RUN_ID}))
    (output / "report.html").write_text(REPORT)
    return versions


def _fitted(parts: ClassifierParts) -> Fitted:
    pixels = np.random.default_rng(1).integers(0, 90, [70, SIZE_PX, SIZE_PX, 3], "uint8")
    vectors = parts.pool_images(tf.constant(pixels), training=False).numpy()
    # As if it were always right: its probabilities stay apart.
    images = Pooled(vectors, np.argmax(parts.head(vectors), axis=1))
    return fit_calibration(parts.head, images, images, LABELS, rejected_share=0.0)
