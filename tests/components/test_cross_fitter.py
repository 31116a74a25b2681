"""Cross-fitted evidence: folds, what is kept of them, and what the gate makes of it."""

import itertools
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from components.cross_fitter import executor
from components.cross_fitter.executor import cross_fit
from components.gate.judge import judge
from components.gate.rule import GateRule
from components.gate.statistics import Pairs, accuracy_gain, cross_fitted_gain
from trainer import keys
from trainer.data.card import DataCard, write_card
from trainer.data.predictions import Choice, Row, columns_of, read_predictions
from trainer.errors import ThawError
from trainer.experiments.folds import assign_folds, splits_of_fold
from trainer.experiments.images import ImageInfo
from trainer.fit_specs import FineTune, HeadFit
from trainer.model.trunk import view_name
from trainer.specs import (
    NO_CHANGE,
    Architecture,
    CrossFitArgs,
    FineTunerArgs,
    HeadTrainerArgs,
    TrunkSpec,
)

from ..image_examples import write_shard
from ..predicted import predictions_of

LABELS = ["ant", "bee"]


def infos(count: int, group_size: int = 1) -> list[ImageInfo]:
    return [
        ImageInfo(f"{n:04d}", LABELS[n // group_size % 2], f"g{n // group_size}")
        for n in range(count)
    ]


@given(
    count=st.integers(4, 8),
    groups=st.integers(20, 60),
    size=st.integers(1, 3),
    seed=st.integers(0, 9),
)
def test_every_image_is_a_test_image_once_and_groups_stay_whole(count, groups, size, seed):
    images = infos(groups * size, size)
    folds = assign_folds(images, count, seed)

    tested = []
    for fold in range(count):
        splits = splits_of_fold(folds, count, fold)
        assert splits.keys() == folds.keys()
        assert {"train", "val", "test"} == set(splits.values())
        tested += [one for one, split in splits.items() if split == keys.TEST]
        for _, members in itertools.groupby(images, key=lambda info: info.group):
            assert len({splits[info.id] for info in members}) == 1
    assert sorted(tested) == [info.id for info in images]
    sizes = np.bincount(list(folds.values()))
    assert max(sizes) <= 2 * min(sizes) + 2 * size


def test_too_few_images_for_the_folds_are_refused():
    with pytest.raises(ThawError, match=r"3 images, or groups .* cannot be divided into 4 folds"):
        assign_folds(infos(6, 2), 4)


def corrected(gains: list[float], ratio: float) -> float:
    """Nadeau and Bengio's p-value, written out."""
    count = len(gains)
    error = np.std(gains, ddof=1) * np.sqrt(1 / count + ratio)
    return float(stats.t.sf(np.mean(gains) / error, count - 1))


def test_p_value_is_that_of_the_corrected_t_test_where_it_is_the_less_favourable_one():
    generator = np.random.default_rng(0)
    folds = np.repeat(np.arange(5), 40)
    baseline = generator.random(200) < 0.6
    candidate = baseline | (generator.random(200) < 0.05 * (1 + folds))
    pairs = Pairs(baseline, candidate, np.arange(200))

    gain = cross_fitted_gain(pairs, folds, dict.fromkeys(range(5), 120))

    gains = [pairs.difference[folds == one].mean() for one in range(5)]
    assert gain.p_value == pytest.approx(corrected(gains, 40 / 120))
    assert gain.p_value > accuracy_gain(pairs).p_value
    assert gain.low < accuracy_gain(pairs).low


def test_folds_that_agree_leave_the_exact_test_of_the_pairs():
    """Each fold gains one image of ten: no variance between folds, but pairs are few."""
    folds = np.repeat(np.arange(4), 10)
    candidate = np.ones(40, bool)
    baseline = candidate.copy()
    baseline[::10] = False
    pairs = Pairs(baseline, candidate, np.arange(40))

    gain = cross_fitted_gain(pairs, folds, dict.fromkeys(range(4), 20))

    assert gain.p_value == pytest.approx(stats.binomtest(4, 4, 0.5, "greater").pvalue)


def predicted(folder: Path, baseline: range, candidate: range, count: int, folds: int = 0):
    """The models are right on the images of their range."""
    rows = []
    for number in range(count):
        own = number % 2
        choices = [
            Choice(own if number in right else 1 - own, 0.5) for right in (baseline, candidate)
        ]
        rows.append(Row(f"{number:05d}", f"{number}.png", LABELS[own], *choices))
    numbers = [number % folds for number in range(count)] if folds else ()
    return predictions_of(folder, rows, LABELS, folds=numbers)


def test_gate_judges_by_the_evidence_of_all_images(tmp_path):
    """Ten test images show nothing; the two hundred of the folds do."""
    tested = predicted(tmp_path / "test", range(8), range(9), 10)
    evidence = predicted(tmp_path / "all", range(120), range(160), 200, folds=5)

    alone, together = judge(tested, GateRule()), judge(tested, GateRule(), evidence=evidence)

    assert (alone.outcome, alone.folds, alone.images) == ("undecided", 0, 10)
    assert (together.outcome, together.folds, together.images) == ("promote", 5, 200)
    assert together.choice.estimate == pytest.approx(0.2)
    assert together.choice.sentence.startswith("Cross-fitted accuracy went from 60.0% to 80.0%")
    assert "corrected t test over 5 folds" in together.choice.sentence
    assert together.sentence == (
        "The fine-tuned model is better than its baseline: +20.0 points on 200 images, each left "
        "out once, beyond chance."
    )


def test_floor_stays_with_the_model_that_is_pushed(tmp_path):
    tested = predicted(tmp_path / "test", range(8), range(9), 10)
    evidence = predicted(tmp_path / "all", range(120), range(160), 200, folds=5)

    found = judge(tested, GateRule(min_accuracy=0.8), evidence=evidence)

    floor = next(one for one in found.clauses if one.name == "floor")
    assert floor.estimate == 0.9  # of the test images
    assert found.outcome == "undecided"


def settings(folds: int = 4) -> CrossFitArgs:
    shared = {
        "model": Architecture("mobilenet_v2", 75, 8, 0.0),
        "global_batch_size": 4,
        "seed": 1,
        "precision": "float32",
        "cache": TrunkSpec("mobilenet_v2", 75, "block_14_add", "float16", "float32"),
        "augmentation": NO_CHANGE,
        "max_pixels": 10**6,
        "config": {},
    }
    return CrossFitArgs(
        head=HeadTrainerArgs(
            **shared, weights="random", weights_fingerprint="", fit=HeadFit(1e-3, 1, 1)
        ),
        fine_tune=FineTunerArgs(**shared, fit=FineTune("block_14_add", 1e-3, 0.9, 1, 1)),
        folds=folds,
        enough_test_images=1000,
    )


@pytest.fixture
def features(tmp_path) -> str:
    """Forty images without features: the fits are replaced in these tests."""
    import tensorflow as tf

    folder = tmp_path / "features"
    for split, numbers in (("train", range(24)), ("val", range(24, 32)), ("test", range(32, 40))):
        records = []
        for number in numbers:
            example = tf.train.Example()
            for name, text in (
                (keys.ID, f"{number:04d}"),
                (keys.PATH, f"{number}.png"),
                (keys.LABEL, LABELS[number % 2]),
                (keys.GROUP, ""),
            ):
                example.features.feature[name].bytes_list.value.append(text.encode())
            records.append(example.SerializeToString())
        write_shard(folder / f"Split-{split}" / f"{view_name(0, 'part')}.gz", records)
    counts = {"train": {"ant": 12, "bee": 12}, "val": {"ant": 4, "bee": 4}}
    write_card(DataCard("", "", counts | {"test": {"ant": 4, "bee": 4}}), str(folder))
    return str(folder)


class Fits:
    """In place of the real fits: counts them, and fails where it is told to."""

    def __init__(self, monkeypatch, fails_at: int | None = None) -> None:
        self.runs = 0
        self.fails_at = fails_at
        self.seen: list[DataCard] = []
        monkeypatch.setattr(executor, "run_both", self.run)
        monkeypatch.setattr(executor, "predict_rows", self.rows)

    def run(self, fits, card, files, folder):
        if self.runs == self.fails_at:
            raise OSError("the machine is gone")
        self.runs += 1
        self.seen.append(card)
        return {}

    def rows(self, args, card, test, folders):
        from trainer.data.examples import bytes_of

        for example in test:
            logits = np.array([1.0, 0.0], np.float32)
            label = bytes_of(example, keys.LABEL).decode()
            yield {
                "id": bytes_of(example, keys.ID).decode(),
                "path": "",
                "label": label,
                "label_id": card.labels.index(label),
                "group": "",
                "weight": 1.0,
                **columns_of("baseline", logits, logits, 0.0),
                **columns_of("candidate", logits, logits, 0.0),
            }


def run(features: str, tmp_path: Path) -> Path:
    evidence = tmp_path / "CrossFitter" / "evidence" / "7"
    cross_fit(beam.Pipeline(), settings(), features, "weights.h5", str(evidence))
    return evidence


def test_evidence_holds_every_image_once_with_its_fold(features, tmp_path, monkeypatch):
    fits = Fits(monkeypatch)

    found = read_predictions(str(run(features, tmp_path)))

    assert found.ids == [f"{number:04d}" for number in range(40)]
    assert np.bincount(found.folds.numbers).tolist() == [10, 10, 10, 10]
    assert set(found.folds.train_images.values()) == {20}
    assert [card.num_examples(keys.VAL) for card in fits.seen] == [10] * 4
    assert not (tmp_path / "CrossFitter" / ".system" / "folds").exists()


def test_folds_that_were_finished_before_an_interruption_are_not_run_again(
    features, tmp_path, monkeypatch
):
    first = Fits(monkeypatch, fails_at=2)
    with pytest.raises(Exception, match="the machine is gone"):
        run(features, tmp_path)
    second = Fits(monkeypatch)

    found = read_predictions(str(run(features, tmp_path)))

    assert (first.runs, second.runs) == (2, 2)
    assert len(found) == 40


def test_other_settings_do_not_take_up_what_is_left(features, tmp_path, monkeypatch):
    Fits(monkeypatch, fails_at=2)
    with pytest.raises(Exception, match="the machine is gone"):
        run(features, tmp_path)
    second = Fits(monkeypatch)

    evidence = tmp_path / "CrossFitter" / "evidence" / "8"
    cross_fit(beam.Pipeline(), settings(folds=5), features, "weights.h5", str(evidence))

    assert second.runs == 5
