"""How well a model's images tell what it does not know: each class is left out in turn."""

import numpy as np

from trainer.calibration.unknown import KnownImages, Pooled, fit_known

# What is left out one after the other must stay a matter of seconds.
_MOST_CLASSES = 10
_MOST_IMAGES = 2_000
_LEAST_CLASSES = 3


def left_out_classes(train: Pooled, val: Pooled) -> dict[int, float]:
    """Area under the ROC curve for recognising the images of a class that was left out.

    Everything that is fitted is fitted again without the class, the logits by a logistic
    regression on the largest directions. Only the backbone may have seen it.

    Args:
      train: training images.
      val: validation images: those of the class count as foreign, the others as known.

    Returns:
      Label id -> 0 to 1, where 0.5 is chance, of at most ten classes. Empty with fewer than three
      classes.
    """
    from sklearn.metrics import roc_auc_score

    train, val = train.finite(), val.finite()
    train = train.of(np.arange(len(train))[:: -(-len(train) // _MOST_IMAGES) or 1])
    classes = np.intersect1d(train.labels, val.labels)
    if len(np.unique(train.labels)) < _LEAST_CLASSES:
        return {}
    areas = {}
    for left_out in classes[:: -(-len(classes) // _MOST_CLASSES) or 1]:
        others = train.of(train.labels != left_out)
        unknown = val.labels == left_out
        if unknown.all():
            continue
        known, logits = _fit_without(others, val, ~unknown)
        scores = known.score(val.vectors, logits).numpy()
        areas[int(left_out)] = float(roc_auc_score(unknown, scores))
    return areas


def _fit_without(
    train: Pooled, val: Pooled, known_rows: np.ndarray
) -> tuple[KnownImages, np.ndarray]:
    """What is known by the other classes, and float32 [len(val), classes] logits."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    count = min(64, len(train) - 1, train.vectors.shape[1])
    classifier = make_pipeline(
        PCA(count, random_state=0), StandardScaler(), LogisticRegression(C=0.1, max_iter=200)
    )
    classifier.fit(train.vectors, train.labels)
    found = classifier.decision_function(val.vectors).astype(np.float32)
    logits = found if found.ndim == 2 else np.stack([-found, found], axis=1)
    known = val.of(known_rows)
    return fit_known(train, known, logits[known_rows], 0.0), logits
