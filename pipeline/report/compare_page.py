"""Writes a comparison of runs as a self-contained page."""

from pathlib import Path

from pipeline.report.compare import Comparison
from pipeline.report.formats import make_environment
from trainer.files import write_replacing


def write_comparison(comparison: Comparison, path: Path) -> None:
    """Writes the page. An older one stays until the new one is complete."""
    page = make_environment().get_template("compare.html.j2").render(comparison=comparison)
    write_replacing(path, page)
