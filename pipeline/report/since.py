"""What has changed since an earlier run: images, classes, splits, accuracy."""

from collections.abc import Sequence

from components.image_example_gen.earlier_splits import read_splits
from pipeline.report.earlier_run import EarlierRun
from pipeline.report.run_record import Since
from trainer.data.predictions import Row, read_predictions


def compare_with(
    earlier: EarlierRun, examples: str, rows: Sequence[Row], labels: Sequence[str]
) -> Since:
    """Compares a run with an earlier one.

    Args:
      earlier: the earlier run; its artifacts are read.
      examples: folder of the new run's examples.
      rows: of the new run's evaluation.
      labels: its class names, by label id.
    """
    before, now = read_splits(earlier.examples), read_splits(examples)
    both = before.keys() & now.keys()
    earlier_rows = {row.id: row for row in read_predictions(earlier.evaluation).rows()}
    pairs = [(earlier_rows[row.id], row) for row in rows if row.id in earlier_rows]
    return Since(
        folder=earlier.folder,
        run_id=earlier.run_id,
        finished=earlier.finished,
        new_classes=sorted(set(labels) - set(earlier.labels)),
        gone_classes=sorted(set(earlier.labels) - set(labels)),
        images_added=len(now) - len(both),
        images_gone=len(before) - len(both),
        images_moved=sum(before[image] != now[image] for image in both),
        old_test_images=len(pairs),
        accuracy_before=_accuracy([row for row, _ in pairs], earlier.labels),
        accuracy_now=_accuracy([row for _, row in pairs], labels),
    )


def _accuracy(rows: Sequence[Row], labels: Sequence[str]) -> float | None:
    """The candidate's, 0 to 1; None of no images."""
    if not rows:
        return None
    return sum(labels[row.candidate.label_id] == row.label for row in rows) / len(rows)
