"""From class folders to examples, with a real Beam pipeline."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import pytest
import tensorflow as tf

from components.image_example_gen.checking import Limits
from components.image_example_gen.sources.entry import UnusableDataset
from components.image_example_gen.splitting import ImageFile, fingerprint, split_of
from components.image_example_gen.write_examples import write_examples
from trainer import keys
from trainer.data.card import read_card
from trainer.data.rules import SplitRule
from trainer.process import progress

from .conftest import RULE, SPLITS, encoded, png_claiming

LIMITS = Limits(max_pixels=10_000, max_file_bytes=20_000)
CAT = [encoded("PNG", seed=seed) for seed in range(30)]
DOG = [encoded("JPEG", seed=seed) for seed in range(100, 130)]
GOOD = {
    **{f"cat/{number:02d}.png": content for number, content in enumerate(CAT)},
    **{f"dog/{number:02d}.jpg": content for number, content in enumerate(DOG)},
}
GOOD_CATS = {name: content for name, content in GOOD.items() if name.startswith("cat")}
TWICE = encoded("BMP", seed=99)
BAD = {
    "cat/animated.pcx": (encoded("PCX"), "the name does not end like an image's"),
    "cat/bomb.png": (png_claiming(60_000, 60_000), "more than 10,000 pixels"),
    "cat/copy of 03.png": (CAT[3], "a copy of another file of its class"),
    "cat/cut.png": (CAT[0][:150], "the image data is damaged"),
    "cat/empty.jpg": (b"", "the file is empty"),
    "cat/large.bmp": (encoded("BMP", 90, 90), "larger than 20,000 bytes"),
    "cat/twice.bmp": (TWICE, "the same image stands in several classes"),
    "dog/renamed.jpg": (encoded("PPM"), "PPM is not read: convert it to JPEG or PNG"),
    "dog/text.jpg": (b"just text", "not an image, whatever its name says"),
    "dog/twice.bmp": (TWICE, "the same image stands in several classes"),
}
PASSED_OVER = {
    "cat/more/": b"",
    "cat/.hidden.png": CAT[9],
    "cat/.thumbnails/1.png": CAT[9],
    ".git/config.png": CAT[9],
    "readme.png": CAT[9],
}


def write(images: Path, uri: Path, rule: SplitRule = RULE) -> None:
    write_examples(beam.Pipeline(runner="DirectRunner"), str(images), str(uri), rule, LIMITS)


def refusal(images: Path, rule: SplitRule = RULE) -> str:
    with pytest.raises(UnusableDataset) as caught:
        write(images, images.parent / "refused", rule)
    return str(caught.value).replace(str(images), "IMAGES")


def read(uri: Path, split: str) -> Iterator[tf.train.Example]:
    paths = [str(path) for path in sorted(uri.glob(f"Split-{split}/*"))]
    for record in tf.data.TFRecordDataset(paths, "GZIP").as_numpy_iterator():
        yield tf.train.Example.FromString(record)


def values(example: tf.train.Example) -> dict[str, bytes | int]:
    found = {}
    for name, feature in example.features.feature.items():
        (found[name],) = getattr(feature, feature.WhichOneof("kind")).value
    return found


def image_file(name: str, content: bytes) -> ImageFile:
    sha256 = hashlib.sha256(content).hexdigest()
    return ImageFile(sha256, name, name.split("/")[0], height_px=7, width_px=9)


def listed(uri: Path) -> list[dict[str, str]]:
    lines = [
        line
        for path in sorted(uri.glob("set_aside/*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mixed") / "images"
    bad = {name: content for name, (content, _) in BAD.items()}
    for name, content in {**GOOD, **bad, **PASSED_OVER}.items():
        path = folder / name
        if name.endswith("/"):
            path.mkdir()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def written(images) -> Path:
    uri = images.parent / "examples"
    write(images, uri)
    return uri


def test_progress_counts_each_file_once_a_pass(images, tmp_path, monkeypatch):
    monkeypatch.setenv(progress.EVENTS_FILE, str(tmp_path / "events.jsonl"))

    write(images, tmp_path / "examples")

    reports = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    num_files = len(GOOD) + len(BAD)
    last = {report["unit"]: report["done"] for report in reports}
    assert {report["total"] for report in reports} == {num_files}
    assert last.keys() == {"files checked", "files written"}
    assert last["files checked"] == num_files


def test_examples_hold_the_file_and_what_is_known_of_it(images, written):
    example = next(read(written, "train"))

    found = values(example)

    path = Path(found[keys.PATH].decode())
    content = path.read_bytes()
    assert path.parent.parent == images
    assert found == {
        keys.IMAGE_BYTES: content,
        keys.LABEL: path.parent.name.encode(),
        keys.ID: hashlib.sha256(content).hexdigest().encode(),
        keys.PATH: str(path).encode(),
        keys.HEIGHT: 7,
        keys.WIDTH: 9,
        keys.GROUP: b"",
        keys.WEIGHT: 1.0,
    }


def test_every_good_image_stands_in_the_split_of_its_content_and_nothing_else(images, written):
    found = {
        values(example)[keys.PATH].decode(): split
        for split in SPLITS
        for example in read(written, split)
    }

    # Of "03.png" and "copy of 03.png" the first by path stays.
    assert found == {
        str(images / name): split_of(hashlib.sha256(content).hexdigest(), SPLITS)
        for name, content in GOOD.items()
    }


def test_list_of_rejected_files_is_whole_sorted_and_gives_reasons(images, written):
    expected = {name.rstrip("/"): why for name, (_, why) in BAD.items()}

    assert listed(written) == [
        {"path": str(images / name), "reason": why, "label": name.split("/")[0]}
        for name, why in sorted(expected.items())
    ]


def test_card_counts_what_was_written_and_what_was_not(images, written):
    card = read_card(str(written))

    counts = {
        split: [values(example)[keys.LABEL].decode() for example in read(written, split)]
        for split in SPLITS
    }
    assert card.images_dir == str(images)
    assert card.counts == {
        split: {"cat": labels.count("cat"), "dog": labels.count("dog")}
        for split, labels in counts.items()
    }
    assert sum(card.num_examples(split) for split in SPLITS) == 60
    assert card.set_aside["the same image stands in several classes"] == 2
    assert sum(card.set_aside.values()) == len(BAD)


def test_fingerprint_of_the_card_is_that_of_all_images_kept(images, written):
    kept = [image_file(name, content) for name, content in GOOD.items()]

    assert read_card(str(written)).fingerprint == fingerprint(kept)


def test_second_run_writes_the_same_bytes_under_the_same_names(images, written, tmp_path):
    write(images, tmp_path / "again")

    def contents(uri: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(uri)): path.read_bytes()
            for path in sorted(uri.rglob("*"))
            if path.is_file()
        }

    assert contents(tmp_path / "again") == contents(written)
    assert len(contents(written)) == len(SPLITS) + 3  # the card and two lists


def test_missing_folder_is_named(tmp_path):
    assert refusal(tmp_path / "nowhere") == "IMAGES: there is no such folder."


def test_one_class_is_too_few(make_folder):
    folder = make_folder({"cat/1.png": CAT[0], ".hidden/1.png": CAT[1], "stray.png": CAT[2]})

    assert refusal(folder) == (
        "IMAGES holds 1 class folders; a classifier needs two or more.\n"
        "  Put the images of each class into a folder of its own, named like the class, "
        "or give a manifest."
    )


def test_empty_classes_are_named(make_folder):
    folder = make_folder({"cat/1.png": CAT[0], "dog/": b"", "bee/.hidden.png": CAT[1]})

    assert refusal(folder) == ("IMAGES: no files in bee, dog.\n  Add images, or remove the folder.")


def test_class_names_that_cannot_be_labels_are_refused(make_folder):
    folder = make_folder({**GOOD_CATS, "do\ng/1.jpg": DOG[0]})

    assert refusal(folder) == (
        "IMAGES: these folders' names cannot be class names:\n"
        "  'do\\ng' contains a line break or another control character\n"
        "  Rename them."
    )


def test_class_without_a_usable_image_is_named_with_its_own_reasons(make_folder):
    dogs = {"dog/1.jpg": b"text", "dog/2.jpg": b"", "dog/3.jpg": b"more text"}
    cats = {f"cat/{number}.pcx": encoded("PCX", seed=number) for number in range(9)}

    message = refusal(make_folder({**GOOD_CATS, **cats, **dogs}))

    assert message == (
        "IMAGES: not one usable image in dog. Rejected:\n"
        "  dog: 2 × not an image, whatever its name says; 1 × the file is empty\n"
        "  Add images, or remove the classes."
    )


def test_each_of_many_classes_without_a_usable_image_has_its_three_commonest_reasons(make_folder):
    files = {f"class {number}/1.txt": b"text" for number in range(7)}
    contents = {"txt": b"text", "gif": b"", "png": CAT[0][:150], "jpg": encoded("PPM")}
    for count, (suffix, content) in enumerate(contents.items()):
        files |= {f"ant/{copy}.{suffix}": content for copy in range(count + 1)}

    message = refusal(make_folder(files))

    lines = message.splitlines()
    assert lines[0] == (
        "IMAGES: not one usable image in ant, class 0, class 1, class 2, class 3 and 3 more. "
        "Rejected:"
    )
    assert lines[1] == (
        "  ant: 4 × PPM is not read: convert it to JPEG or PNG; 3 × the image data is damaged; "
        "2 × the file is empty"
    )
    assert lines[2:] == [
        *(f"  class {n}: 1 × the name does not end like an image's" for n in range(4)),
        "  Add images, or remove the classes.",
    ]


def test_classes_without_a_training_image_are_named_with_what_they_need(make_folder):
    unseen = [
        content
        for content in DOG
        if split_of(hashlib.sha256(content).hexdigest(), SPLITS) != "train"
    ]
    files = {"bee/1.jpg": unseen[0], "dog/1.jpg": unseen[1], "dog/2.jpg": unseen[2]}

    assert refusal(make_folder({**GOOD_CATS, **files})) == (
        "IMAGES: no training images of bee (1 image), dog (2 images).\n"
        "  The content of an image decides its split, and none of these fell into train.\n"
        "  Add images, 6 or more a class, or give train a larger part: data.splits.train."
    )


def test_class_of_one_training_image_is_taken(make_folder, tmp_path):
    seen = next(
        content
        for content in DOG
        if split_of(hashlib.sha256(content).hexdigest(), SPLITS) == "train"
    )

    write(make_folder({**GOOD_CATS, "dog/1.jpg": seen}), tmp_path / "examples")

    assert read_card(str(tmp_path / "examples")).counts["train"]["dog"] == 1


def test_empty_split_is_named_with_what_it_needs(make_folder):
    splits = {"train": 98, "val": 1, "test": 1}
    first = {name: GOOD[name] for name in ("cat/00.png", "cat/01.png", "dog/00.jpg", "dog/01.jpg")}

    assert refusal(make_folder(first), SplitRule(splits)) == (
        "IMAGES: no images in the val split, of 4 in all.\n"
        "  Add images, 688 or more in all, or raise data.splits.val."
    )
