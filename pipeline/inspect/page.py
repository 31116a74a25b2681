"""Writes `inspect.html`, a self-contained page, from the record of an inspection."""

import base64
import io
from pathlib import Path

from PIL import Image, ImageOps

from pipeline.inspect.record import Copies, Inspection
from pipeline.report.charts import curve_chart
from pipeline.report.formats import make_environment
from trainer import keys
from trainer.files import write_replacing

PAGE_FILE = "inspect.html"
_SIDE_PX = 160
_MOST_SHOWN = 24
_MOST_FILES = 50


def write_page(inspection: Inspection, output_dir: Path) -> Path:
    """Renders the page; an older one stays until the new one is complete.

    Args:
      inspection: what was found.
      output_dir: gets `inspect.html`.
    """
    suspects = inspection.probe.suspects if inspection.probe else []
    kinds: dict[str, list[tuple[str, str, str, float]]] = {}
    for one in inspection.outliers:
        kinds.setdefault(one.kind, []).append((thumbnail(one.path), one.path, one.label, one.value))
    environment = make_environment()
    root = inspection.images_dir.rstrip("/") + "/"
    environment.filters["below"] = lambda path: path.removeprefix(root)
    page = environment.get_template("inspect.html.j2").render(
        found=inspection,
        probe=inspection.probe,
        totals=_totals(inspection),
        tested=(tested := sum(inspection.counts.get(keys.TEST, {}).values())),
        scatter=_scatter(inspection.probe.accuracy, tested) if inspection.probe else 0,
        suspects=[(one, thumbnail(one.path)) for one in suspects[:_MOST_SHOWN]],
        more_suspects=suspects[_MOST_SHOWN:],
        outliers=kinds,
        copies=[
            [
                (thumbnail(path), path, label)
                for path, label in zip(one.paths, one.labels, strict=True)
            ]
            for one in inspection.near_duplicates[:_MOST_SHOWN]
        ],
        rejected=[(one, thumbnail(one.path)) for one in inspection.rejected_files[:_MOST_FILES]],
        chart=curve_chart([(point.images, point.accuracy) for point in inspection.probe.curve])
        if inspection.probe
        else "",
    )
    target = output_dir / PAGE_FILE
    write_replacing(target, page)
    return target


def thumbnail(path: str) -> str:
    """A small JPEG of a file as a URL that contains it; empty if it cannot be shown."""
    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * _SIDE_PX, 2 * _SIDE_PX))
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""
    upright.thumbnail((_SIDE_PX, _SIDE_PX))
    buffer = io.BytesIO()
    upright.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _scatter(accuracy: float, images: int) -> float:
    """Half of the 95 % interval of an accuracy that is measured on so many images, 0 to 1."""
    return float(1.96 * (accuracy * (1 - accuracy) / max(1, images)) ** 0.5)


def _shown(group: Copies) -> list[tuple[str, str, str]]:
    pairs = zip(group.paths, group.labels, strict=True)
    return [(thumbnail(path), path, label) for path, label in pairs]


def _totals(inspection: Inspection) -> dict[str, int]:
    labels = sorted({label for counts in inspection.counts.values() for label in counts})
    return {
        label: sum(counts.get(label, 0) for counts in inspection.counts.values())
        for label in labels
    }
