"""What to do after a run: sentences, the most useful first."""

from collections.abc import Iterator

from pipeline.report.run_record import RunRecord
from trainer.fits.record import FitRecord

_FEW_IMAGES = 200
_LOW_RECALL = 0.8
_POOR_CALIBRATION = 0.05
_MOST_CLASSES = 3


def next_steps(run: RunRecord, output: str) -> list[str]:
    """What a user can do to get a better model, or to use this one.

    Args:
      run: the finished run.
      output: its output folder, as the user writes it.
    """
    return [*_by_outcome(run, output), *_about_fits(run), *_about_data(run), *_about_use(run)]


def _by_outcome(run: RunRecord, output: str) -> Iterator[str]:
    verdict = run.verdict
    if verdict.pushed and verdict.blessed:
        yield f"Try the model: {_ways_to_try(output)}"
    elif verdict.blessed:
        yield "Look at the serving check above: the model is good enough, but was not pushed."
    elif verdict.baseline_pushed:
        yield f"Try the baseline, which was pushed: {_ways_to_try(output)}"
    elif verdict.outcome == "keep_baseline":
        yield (
            "Keep the baseline: its model is the HeadTrainer's output, and it is as good as the "
            "fine-tuned one and cheaper to train. gate.fallback: baseline pushes it."
        )
    elif verdict.outcome == "undecided":
        yield (
            "Add test images, for more of them would decide: add images to the folder and run the "
            "same command again, or raise data.splits.test."
        )
    yield from (one.sentence for one in verdict.references if one.better)


def _ways_to_try(output: str) -> str:
    return (
        f"thaw predict IMAGE --model {output}, or on a page in the browser: "
        f"thaw serve --model {output}"
    )


def _about_fits(run: RunRecord) -> Iterator[str]:
    for name, key, fit in (
        ("Fit 1", "fits.head", run.fits.head),
        ("Fit 2", "fits.fine_tune", run.fits.fine_tune),
    ):
        epochs = len(fit.history.get("loss", ()))
        if is_still_improving(fit):
            yield (
                f"{name} was still improving when it ended after {epochs} epochs: raise "
                f"{key}.max_epochs, or {key}.learning_rate; or try fits.schedule: fast."
            )


def is_still_improving(fit: FitRecord) -> bool:
    """Whether the last epoch of a fit that was not stopped early was its best.

    With the fast schedule it often is, for the rate has fallen to 0 by then.
    """
    if fit.mixing:
        return False
    epochs = len(fit.history.get("loss", ()))
    return not fit.stopped_early and epochs > 1 and fit.best_epoch == epochs


def _about_data(run: RunRecord) -> Iterator[str]:
    if run.doubtful_labels:
        count = len(run.doubtful_labels)
        images = f"these {count} test images" if count > 1 else "this test image"
        yield (
            f"Check the label{'s' if count > 1 else ''} of {images}, which both models surely take "
            "for another class; they are shown below."
        )
    train = run.data.counts.get("train", {})
    weak = sorted(
        (
            one
            for one in run.class_changes
            if one.after < _LOW_RECALL and train.get(one.label, 0) < _FEW_IMAGES
        ),
        key=lambda one: one.after,
    )[:_MOST_CLASSES]
    if weak:
        named = ", ".join(
            f"{one.label} ({one.after:.0%} recognised, {train.get(one.label, 0)} training images)"
            for one in weak
        )
        yield f"Add images of the classes that are recognised least: {named}."
    if run.data.near_duplicates.conflicting:
        yield (
            "Correct the labels of near-duplicates that stand in several classes; they are listed "
            "below, with the data."
        )
    if run.data.set_aside.count:
        yield f"Look at the {run.data.set_aside.count} rejected files, listed below with the data."


def _about_use(run: RunRecord) -> Iterator[str]:
    if not run.certainty:
        return
    error = run.certainty.candidate.error_before
    if error is not None and error > _POOR_CALIBRATION:
        yield (
            "Use the output calibrated_probabilities where a probability decides something: the "
            f"plain ones are {100 * error:.0f} points off on average."
        )
