"""What is fitted on validation: checked against formulas written another way, and planted truth."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import spatial, special
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trainer.calibration.fit import MOST_IMAGES, fit_calibration
from trainer.calibration.left_out import left_out_classes
from trainer.calibration.probe import STRENGTHS, fit_probe
from trainer.calibration.temperature import (
    calibration_error,
    confidences,
    fit_temperature,
    noise_of_error,
    reliability,
)
from trainer.calibration.unknown import Pooled, fit_known, nothing_known

CLUSTERS = 4


def drawn(logits: np.ndarray, seed: int = 0) -> np.ndarray:
    """Labels by the probabilities that logits mean."""
    generator = np.random.default_rng(seed)
    return np.array([generator.choice(len(p), p=p) for p in special.softmax(logits, axis=1)])


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_temperature_undoes_what_logits_were_multiplied_by(factor):
    logits = np.random.default_rng(1).normal(0, 2, [4000, 5])

    assert fit_temperature(factor * logits, drawn(logits)) == pytest.approx(factor, rel=0.08)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 30))
def test_temperature_never_raises_the_cross_entropy(seed, rows):
    generator = np.random.default_rng(seed)
    logits, labels = generator.normal(0, 3, [rows, 3]), generator.integers(0, 3, rows)

    def loss(temperature):
        return -special.log_softmax(logits / temperature, axis=1)[np.arange(rows), labels].mean()

    temperature = fit_temperature(logits, labels)

    assert 0.2 <= temperature <= 10
    assert loss(temperature) <= loss(1.0) + 1e-6


def test_temperature_of_a_model_that_has_diverged_is_one():
    assert fit_temperature(np.full([3, 2], np.nan), np.zeros(3, int)) == 1.0


def test_calibration_error_is_the_mean_distance_of_accuracy_from_confidence():
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.5, 0.5])
    correct = np.array([True, True, False, False, True, False])

    bins = reliability(confidence, correct)

    assert [(one.count, one.accuracy) for one in bins] == [(2, 0.5), (4, 0.5)]
    assert calibration_error(confidence, correct) == pytest.approx(4 / 6 * 0.4)


def test_confidence_of_one_is_in_the_last_bin_and_what_is_not_a_number_in_none():
    confidence = np.array([1.0, np.nan])

    assert [one.count for one in reliability(confidence, np.array([True, True]))] == [1]
    assert calibration_error(confidence[1:], np.array([True])) is None


def test_calibrated_model_stays_below_the_noise_in_as_many_cases_as_asked_for():
    generator = np.random.default_rng(3)
    confidence = generator.uniform(0.3, 1.0, 200)
    limit = noise_of_error(confidence, 0.9)

    below = [
        calibration_error(confidence, generator.random(200) < confidence) < limit
        for _ in range(400)
    ]

    assert 0.85 < np.mean(below) < 0.95


def clusters(count: int, seed: int, width: int = 12, spread: float = 0.5) -> Pooled:
    """Images of four classes, each around a place of its own."""
    places = np.random.default_rng(99).normal(0, 1, [CLUSTERS, width])
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % CLUSTERS
    vectors = places[labels] + generator.normal(0, spread, [count, width])
    return Pooled(vectors.astype(np.float32), labels)


def logits_of(images: Pooled) -> np.ndarray:
    places = np.random.default_rng(99).normal(0, 1, [CLUSTERS, images.vectors.shape[1]])
    return (-(spatial.distance.cdist(images.vectors, places) ** 2)).astype(np.float32)


def test_distance_is_mahalanobis_to_the_nearest_class():
    train, val = clusters(400, 1), clusters(40, 2)
    known = fit_known(train, val, logits_of(val), 0.02)
    means = np.stack([train.vectors[train.labels == one].mean(axis=0) for one in range(CLUSTERS)])
    # scikit-learn's principal components count one degree of freedom, as numpy does.
    inverse = np.linalg.inv(np.cov((train.vectors - means[train.labels]).T))
    expected = spatial.distance.cdist(val.vectors, means, "mahalanobis", VI=inverse).min(axis=1)

    energy = -special.logsumexp(logits_of(val), axis=1)
    score = known.score(val.vectors, logits_of(val)).numpy()

    distance = (score - (energy - known.location[1]) / known.scale[1]) * known.scale[0]
    distance += known.location[0]
    np.testing.assert_allclose(distance, expected / np.sqrt(12), rtol=1e-3)


@settings(max_examples=20, deadline=None)
@given(share=st.floats(0, 0.5), count=st.integers(4, 60))
def test_no_larger_share_of_validation_is_unknown_than_asked_for(share, count):
    val = clusters(count, 5)
    known = fit_known(clusters(200, 1), val, logits_of(val), share)

    unknown = known.score(val.vectors, logits_of(val)).numpy() > known.threshold

    assert unknown.mean() <= share
    # The quantile does not leave room for one more.
    assert unknown.mean() > share - 1 / count - 1e-9


def test_what_is_far_from_all_classes_is_unknown():
    val = clusters(100, 2)
    known = fit_known(clusters(400, 1), val, logits_of(val), 0.02)
    far = Pooled(np.random.default_rng(8).normal(0, 5, [50, 12]).astype(np.float32), np.zeros(50))

    assert (known.score(far.vectors, logits_of(far)).numpy() > known.threshold).mean() > 0.95


@pytest.mark.parametrize("count", [3, 4, 7])
def test_few_training_images_are_enough_to_say_something(count):
    val = clusters(8, 2)
    known = fit_known(clusters(count, 1), val, logits_of(val), 0.02)

    assert np.isfinite(known.score(val.vectors, logits_of(val)).numpy()).all()


def test_model_that_has_diverged_knows_nothing():
    nothing = np.full([5, 12], np.nan, np.float32)
    known = fit_known(
        Pooled(nothing, np.zeros(5, int)), clusters(4, 1), logits_of(clusters(4, 1)), 0.1
    )

    assert known.threshold == 0
    assert known.score(clusters(4, 1).vectors, np.zeros([4, 2], np.float32)).numpy().max() == 0


def test_scores_are_the_same_once_they_are_variables():
    val = clusters(20, 2)
    known = fit_known(clusters(100, 1), val, logits_of(val), 0.02)

    in_graph = tf.function(known.as_variables().score)(val.vectors, logits_of(val))

    np.testing.assert_allclose(in_graph, known.score(val.vectors, logits_of(val)), atol=1e-5)


def test_class_that_is_left_out_is_told_apart_by_its_distance():
    areas = left_out_classes(clusters(200, 1), clusters(80, 2))

    assert list(areas) == [0, 1, 2, 3]
    assert min(areas.values()) > 0.95


def test_class_that_is_like_the_others_is_not_told_apart():
    places = clusters(200, 1, spread=0.5), clusters(200, 2, spread=0.5)
    mixed = [
        Pooled(one.vectors, np.random.default_rng(0).permutation(one.labels)) for one in places
    ]

    areas = left_out_classes(*mixed)

    assert all(0.35 < area < 0.65 for area in areas.values())


def test_two_classes_are_too_few_to_leave_one_out():
    two = clusters(40, 1).of(clusters(40, 1).labels < 2)

    assert left_out_classes(two, two) == {}


@pytest.mark.parametrize("classes", [2, 4])
def test_probe_answers_as_scikit_learn_does(classes):
    train, val = (
        images.of(images.labels < classes)
        for images in (clusters(200, 1, spread=2.0), clusters(80, 2, spread=2.0))
    )
    tried = [
        make_pipeline(StandardScaler(), LogisticRegression(C=one, max_iter=300)).fit(
            train.vectors, train.labels
        )
        for one in STRENGTHS
    ]
    losses = [
        -np.log(one.predict_proba(val.vectors)[np.arange(len(val)), val.labels]).mean()
        for one in tried
    ]
    expected = tried[int(np.argmin(losses))]

    probe = fit_probe(train, val, CLUSTERS + 1)

    logits = val.vectors @ probe.kernel + probe.bias
    assert (logits.argmax(axis=1) == expected.predict(val.vectors)).all()
    np.testing.assert_allclose(
        special.softmax(logits, axis=1)[:, :classes], expected.predict_proba(val.vectors), atol=1e-4
    )
    assert special.softmax(logits, axis=1)[:, classes:].max() == 0


def test_probe_that_would_take_minutes_is_left_out():
    many = Pooled(np.zeros([MOST_IMAGES, 2], np.float32), np.arange(MOST_IMAGES) % 100)

    assert fit_probe(many, many, 100) is None


def test_record_says_what_was_fitted():
    train, val = clusters(200, 1), clusters(80, 2)
    head = keras.Sequential([keras.layers.Dense(CLUSTERS, input_shape=(12,))])

    fitted = fit_calibration(head, train, val, ["a", "b", "c", "d"], 0.1)

    assert fitted.record.val_images == 80
    assert fitted.record.rejected_share == 0.1
    assert fitted.record.threshold == pytest.approx(float(fitted.known.threshold))
    assert list(fitted.record.left_out) == ["a", "b", "c", "d"]
    assert fitted.record.temperature == fit_temperature(head(val.vectors).numpy(), val.labels)


def test_nothing_known_is_finite():
    assert (
        nothing_known(3).score(np.ones([2, 3], np.float32), np.ones([2, 2], np.float32)).shape == 2
    )


def test_confidences_are_those_of_the_softmax():
    logits = np.array([[2.0, 0.0], [0.0, 0.0]])

    assert confidences(logits, 2.0) == pytest.approx([1 / (1 + np.exp(-1)), 0.5])
    assert len(confidences(np.empty([0, 0]))) == 0
