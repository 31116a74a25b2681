"""What an inspection finds, on features and pictures in which it is known."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest

from pipeline.inspect.curve import helpful_class, learning_curve
from pipeline.inspect.outliers import Look, find_outliers, look_at
from pipeline.inspect.page import write_page
from pipeline.inspect.probe import (
    TooFewImages,
    choose_images,
    confused,
    interval,
    judge,
    probeable,
    rank_labels,
    suspects,
)
from pipeline.inspect.record import (
    Confused,
    Copies,
    Cost,
    HelpfulClass,
    Inspection,
    Outlier,
    Point,
    Probe,
    RejectedFile,
    Suspect,
    read,
    write,
)
from trainer.errors import ThawError

CLASSES = ["ant", "bee", "cat"]


def clusters(sizes: list[int], apart: float, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Normal clouds of 20 dimensions around centres that far apart, and their classes."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=[len(sizes), 20])
    centres *= apart / np.linalg.norm(centres, axis=1, keepdims=True)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    vectors = centres[labels] + random.normal(size=[len(labels), 20])
    return vectors.astype("float32"), [CLASSES[label] for label in labels]


def test_planted_wrong_labels_are_ranked_first_with_the_right_class():
    vectors, labels = clusters([60, 60, 60], apart=6)
    wrong = {3: "bee", 70: "cat", 130: "ant"}
    given = [wrong.get(row, label) for row, label in enumerate(labels)]

    judged = judge(vectors, given, range(180))
    order, quality, flagged = rank_labels(judged)
    listed, count = suspects(judged, [str(row) for row in range(180)])

    assert set(order[:3].tolist()) == set(wrong)
    assert {one.path: one.suggested for one in listed[:3]} == {
        str(row): labels[row] for row in wrong
    }
    assert flagged[list(wrong)].any()
    assert count == flagged.sum() <= 6
    assert quality[list(wrong)].max() < np.median(quality)


def test_accuracy_is_that_of_images_that_were_left_out():
    """Noise can be learned by heart, but not predicted."""
    random = np.random.default_rng(1)
    vectors = random.normal(size=[200, 300]).astype("float32")
    labels = [CLASSES[number] for number in random.integers(0, 2, 200)]

    judged = judge(vectors, labels, range(200))

    assert 0.3 < judged.correct.mean() < 0.7
    found = binomtest(int(judged.correct.sum()), 200).proportion_ci(method="wilson")
    assert interval(judged.correct) == (found.low, found.high)


def test_near_duplicates_are_left_out_together():
    """Otherwise every image would be recognized by its copy."""
    random = np.random.default_rng(2)
    vectors = np.repeat(random.normal(size=[100, 300]), 2, axis=0).astype("float32")
    labels = [CLASSES[number] for number in np.repeat(random.integers(0, 2, 100), 2)]
    groups = [row // 2 for row in range(200)]

    apart = judge(vectors, labels, range(200)).correct.mean()
    judged = judge(vectors, labels, groups)

    assert apart > 0.8
    assert judged.correct.mean() < 0.7
    assert (judged.folds[::2] == judged.folds[1::2]).all()


def test_a_class_of_one_group_has_no_probe_and_one_of_three_has_three_folds():
    vectors, labels = clusters([30, 3, 30], apart=6)

    assert judge(vectors, labels, range(63)).folds.max() == 2
    with pytest.raises(TooFewImages, match="bee has 1 image: a probe needs two or more"):
        judge(vectors, labels, [7 if 30 <= row < 33 else row for row in range(63)])


def test_classes_of_one_group_are_left_out_and_named():
    labels = ["ant", "bee", "ant", "cow", "cow", "dog"]

    rows, left_out = probeable(labels, [0, 1, 2, 3, 3, 4])

    assert rows.tolist() == [0, 2]
    assert left_out == {"bee": 1, "cow": 2, "dog": 1}


def test_one_class_alone_has_no_probe():
    with pytest.raises(TooFewImages, match="two classes with two or more"):
        judge(np.zeros([3, 4], "float32"), ["ant"] * 3, range(3))


def test_of_very_many_images_each_class_has_its_share(monkeypatch):
    monkeypatch.setattr("pipeline.inspect.probe.MOST_IMAGES", 100)
    labels = ["ant"] * 900 + ["bee"] * 100

    rows = choose_images(labels)

    assert len(rows) == 100
    assert sum(labels[row] == "bee" for row in rows) == 10
    assert choose_images(labels[:100]).tolist() == list(range(100))


def test_classes_that_lie_together_are_the_confused_ones():
    vectors, labels = clusters([50, 50, 50], apart=6)
    vectors[50:100] = vectors[50:100] - vectors[50:100].mean(0) + vectors[:50].mean(0)

    (first, *_) = confused(judge(vectors, labels, range(150)))

    assert (first.one, first.other) == ("ant", "bee")
    assert first.count > 20


def test_the_curve_rises_and_predicts_more_where_images_are_few():
    vectors, labels = clusters([120, 120, 120], apart=2.2)
    judged = judge(vectors, labels, range(360))

    curve = learning_curve(vectors, judged)

    assert [point.images for point in curve.points] == [36, 72, 144, 288]
    assert curve.points[-1].accuracy > curve.points[0].accuracy
    assert curve.doubled > curve.points[-1].accuracy


def test_nothing_is_predicted_of_noise_or_of_what_is_perfect():
    random = np.random.default_rng(3)
    noise = random.normal(size=[120, 20]).astype("float32")
    labels = [CLASSES[number] for number in random.integers(0, 2, 120)]
    perfect, named = clusters([40, 40], apart=30)

    for vectors, given in ((noise, labels), (perfect, named)):
        judged = judge(vectors, given, range(len(given)))
        assert learning_curve(vectors, judged).doubled is None
        assert helpful_class(vectors, judged) is None


def test_the_class_whose_images_matter_is_named():
    """Of bees there are too few to tell them from ants in so many dimensions."""
    random = np.random.default_rng(4)
    vectors = random.normal(size=[380, 200]).astype("float32")
    vectors[300:, 0] += 6
    judged = judge(vectors, ["ant"] * 300 + ["bee"] * 80, range(380))

    helpful = helpful_class(vectors, judged)

    assert helpful is not None
    assert (helpful.label, helpful.images) == ("bee", 80)
    assert 0.05 < helpful.gain < 0.2


def textured(seed: int, level: int = 128, contrast: float = 60) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.clip(random.normal(level, contrast, [64, 64, 3]), 0, 255).astype("uint8")


def test_outliers_are_found_by_their_kind_and_ordinary_images_are_none():
    size = (400, 300)
    looks = [look_at(textured(seed), size) for seed in range(60)]
    assert find_outliers(looks, ["x"] * 60, ["ant"] * 60) == []

    flat = np.full([64, 64, 3], 128, "uint8")
    planted = {
        "blurred": look_at(flat, size),
        "dark": look_at(textured(1, 5, 4), size),
        "bright": look_at(textured(2, 252, 4), size),
        "small": look_at(textured(3), (40, 30)),
        "large": look_at(textured(4), (4000, 3000)),
        "of an odd shape": look_at(textured(5), (1200, 100)),
    }
    listed = find_outliers([*looks, *planted.values()], [*["x"] * 60, *planted], ["ant"] * 66)

    assert {one.path for one in listed if one.kind == one.path} == set(planted)
    assert "x" not in {one.path for one in listed}


def test_sizes_that_are_not_known_are_no_outliers():
    looks = [Look(100.0, 128.0, 0, 0), *[Look(100.0, 128.0, 40, 30)] * 20]

    assert find_outliers(looks, ["?"] * 21, ["ant"] * 21) == []


@pytest.fixture
def inspection(tmp_path) -> Inspection:
    for name in ("1.jpg", "2.jpg"):
        Image.fromarray(textured(1)).save(tmp_path / name)
    one, other, gone = (str(tmp_path / name) for name in ("1.jpg", "2.jpg", "gone.jpg"))
    return Inspection(
        images_dir=str(tmp_path),
        backbone="inception_v3",
        weights="imagenet",
        image_size_px=299,
        counts={"train": {"ant": 70, "<i>": 60}, "val": {"ant": 15}, "test": {"ant": 15}},
        rejected={"the file is empty": 2},
        rejected_files=[RejectedFile(gone, "the file is empty")],
        near_duplicates=[Copies([one, other], ["ant", "<i>"])],
        num_near_duplicates=1,
        outliers=[Outlier(one, "ant", "blurred", 1.5)],
        probe=Probe(
            158, {"rare": 2}, 5, 0.8, 0.73, 0.86,
            {"ant": 0.9, "<i>": 0.7}, [Confused("ant", "<i>", 9)],
            [Suspect(one, "ant", "<i>", 0.01, True), Suspect(gone, "<i>", "ant", 0.2, False)],
            1, [Point(20, 0.6), Point(40, 0.7), Point(128, 0.8)], 0.84,
            HelpfulClass("<i>", 60, 0.031),
        ),
        cost=Cost(30.0, 120.0, 600.0, 2 * 2**30),
    )  # fmt: skip


def test_the_record_is_read_as_it_was_written_and_a_damaged_one_is_named(inspection, tmp_path):
    write(inspection, tmp_path / "inspect.json")
    assert read(tmp_path / "inspect.json") == inspection

    (tmp_path / "inspect.json").write_text('{"backbone": 3}')
    with pytest.raises(ThawError, match=r"inspect\.json: is not a Inspection"):
        read(tmp_path / "inspect.json")


def text_of(page: Path) -> str:
    html = page.read_text()
    assert "<i>" not in html
    assert not re.search(r"(src|href)=\"(?!data:|#)", html)
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL))


def test_the_page_says_what_was_found_and_needs_no_other_file(inspection, tmp_path):
    text = text_of(write_page(inspection, tmp_path))

    assert "About 80.0% without fine-tuning" in text
    assert "95 % interval 73.0% to 86.0%" in text
    assert "On the 15 test images of a run, chance alone moves it by some 20 points" in text
    assert "60 more of &lt;i&gt; would help most" in text
    assert "about 84.0% are to be expected" in text
    assert "another 2 min 0 s to 10 min 0 s , and 2.0 GiB" in text
    assert "rather &lt;i&gt;?" in text
    assert "gone.jpg the file is empty" in text
    assert write_page(inspection, tmp_path).read_text().count("data:image/jpeg;base64,") == 4


def test_the_page_says_why_there_is_no_probe(inspection, tmp_path):
    why = "bee has 1 image: a probe needs two or more of each class"

    text = text_of(write_page(replace(inspection, probe=None, no_probe=why), tmp_path))

    assert f"No probe {why}." in text
    assert "Suspicious" not in text
