"""A small exported model: it reads files as people see them, and says what it does not know."""

from pathlib import Path

from trainer.data.fit_data import image_parser
from trainer.export import ExportInfo, export_saved_model
from trainer.model.classifier import build_classifier
from trainer.specs import ModelSpec, ServedImages

from ..trainer.conftest import SIZE_PX, WIDTH, nothing_fitted, parts_of, tiny_backbone

LABELS = ["ant", "bee", "Ørsted's cat"]
MAX_PIXELS = 1_000_000


def save_exported_model(folder: Path) -> None:
    """Exports it with random weights."""
    classifier = build_classifier(
        ModelSpec("inception_v3", SIZE_PX, 8, 0.0, num_classes=3), tiny_backbone()
    )
    export_saved_model(
        parts_of(classifier),
        ServedImages(SIZE_PX, MAX_PIXELS),
        image_parser(SIZE_PX),
        nothing_fitted(WIDTH),
        ExportInfo(LABELS, {}, {}),
        str(folder),
    )
