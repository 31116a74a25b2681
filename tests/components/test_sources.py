"""Every kind of source gives the same examples, and says what it rejects."""

import csv
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import apache_beam as beam
import pytest
import tensorflow as tf

from components.image_example_gen.checking import Limits
from components.image_example_gen.driver import fingerprint
from components.image_example_gen.rejected import read_rejected
from components.image_example_gen.sources.entry import UnusableDataset
from components.image_example_gen.sources.folder import LINKED_FOLDER, OUTSIDE
from components.image_example_gen.sources.manifest import LISTED_TWICE
from components.image_example_gen.sources.tfrecord import RecordKeys
from components.image_example_gen.write_examples import write_examples
from trainer import keys
from trainer.data.card import DataCard

from .conftest import RULE, SPLITS, encoded

LIMITS = Limits(max_pixels=10_000, max_file_bytes=20_000)
FILES = {
    f"{label}/{number:02d}.png": encoded("PNG", seed=100 * place + number)
    for place, label in enumerate(["cat", "dog"])
    for number in range(20)
}
CONTENT = encoded("PNG", seed=999)
Row = tuple[str, str, bytes]


def write(images: Path, uri: Path) -> DataCard:
    return write_examples(beam.Pipeline(runner="DirectRunner"), str(images), str(uri), RULE, LIMITS)


def rows(uri: Path) -> set[Row]:
    """(split, label, content) of each example."""
    found = set()
    for split in SPLITS:
        paths = [str(path) for path in uri.glob(f"Split-{split}/*")]
        for record in tf.data.TFRecordDataset(paths, "GZIP").as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature
            values = (feature[name].bytes_list.value[0] for name in (keys.LABEL, keys.IMAGE_BYTES))
            label, content = values
            found.add((split, label.decode(), content))
    return found


def rejected(uri: Path, root: Path) -> dict[str, str]:
    return {os.path.relpath(one.path, root): one.reason for one in read_rejected(str(uri))}


def in_folder(root: Path) -> Path:
    for name, content in FILES.items():
        path = root / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root / "photos"


def in_nested_folders(root: Path) -> Path:
    for name, content in FILES.items():
        label, file = name.split("/")
        path = root / "photos" / label / file[0] / "été" / file.upper()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name in (".DS_Store", "cat/Thumbs.db", "__MACOSX/cat/x.png", "cat/@eaDir/y.png"):
        path = root / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"system")
    return root / "photos"


def in_zip(root: Path) -> Path:
    with zipfile.ZipFile(root / "photos.zip", "w") as archive:
        for name, content in FILES.items():
            archive.writestr(f"photos/{name}", content)
    return root / "photos.zip"


def in_tar(root: Path) -> Path:
    with tarfile.open(root / "photos.tar.gz", "w:gz") as archive:
        for name, content in FILES.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return root / "photos.tar.gz"


def in_csv(root: Path) -> Path:
    in_folder(root)
    with open(root / "photos.csv", "w", encoding="utf-8-sig", newline="") as file:
        lines = csv.writer(file, dialect="excel")
        lines.writerow(["File", "Class", "photographer"])
        lines.writerows([f"photos/{name}", name.split("/")[0], "Ann, Bob"] for name in FILES)
    return root / "photos.csv"


def in_json_lines(root: Path) -> Path:
    folder = in_folder(root)
    records = [{"path": str(folder / name), "label": name.split("/")[0]} for name in FILES]
    (root / "photos.jsonl").write_text("\n\n".join(map(json.dumps, records)))
    return root / "photos.jsonl"


def in_records(root: Path) -> Path:
    """Two shards, one of them gzipped, with labels as bytes."""
    folder = root / "records"
    folder.mkdir()
    for shard, (ending, compression) in enumerate([("", ""), (".gz", "GZIP")]):
        path = folder / f"photos.tfrecord-{shard:05d}-of-00002{ending}"
        with tf.io.TFRecordWriter(str(path), compression) as writer:
            for name, content in list(FILES.items())[shard::2]:
                writer.write(record(content, name.split("/")[0].encode()))
    return folder


def record(image: bytes, label: bytes | int | None, **more: bytes) -> bytes:
    example = tf.train.Example()
    values = {"image/encoded": image, "image/class/text": label, **more}
    for name, value in values.items():
        if isinstance(value, bytes):
            example.features.feature[name].bytes_list.value.append(value)
        elif isinstance(value, int):
            example.features.feature[name].int64_list.value.append(value)
    return example.SerializeToString()


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> tuple[set[Row], str]:
    root = tmp_path_factory.mktemp("folder")
    card = write(in_folder(root), root / "examples")
    assert len(rows(root / "examples")) == len(FILES)
    return rows(root / "examples"), card.fingerprint


@pytest.mark.parametrize(
    "make", [in_nested_folders, in_zip, in_tar, in_csv, in_json_lines, in_records]
)
def test_examples_do_not_depend_on_the_kind_of_source(
    make: Callable[[Path], Path], expected, tmp_path
):
    card = write(make(tmp_path), tmp_path / "examples")

    assert (rows(tmp_path / "examples"), card.fingerprint) == expected
    assert not card.set_aside


def test_given_splits_are_kept_and_a_missing_one_is_taken_from_train(tmp_path):
    for number, (name, content) in enumerate(FILES.items()):
        path = tmp_path / "photos" / ("test" if number % 4 == 0 else "train") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    card = write(tmp_path / "photos", tmp_path / "examples")

    given_test = {content for number, content in enumerate(FILES.values()) if number % 4 == 0}
    found = {content for split, _, content in rows(tmp_path / "examples") if split == keys.TEST}
    assert found == given_test
    assert card.labels == ["cat", "dog"]
    assert card.num_examples(keys.TRAIN) > card.num_examples(keys.VAL) > 0


def test_classes_named_like_splits_are_classes_if_they_hold_the_images(tmp_path):
    for number, content in enumerate(FILES.values()):
        path = tmp_path / "photos" / ("train", "test")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    assert write(tmp_path / "photos", tmp_path / "examples").labels == ["test", "train"]


def test_manifest_decides_splits_and_keeps_groups_together(tmp_path):
    """Of each class, a fourth is given to val, a fourth to test, and the rest is in four groups."""
    folder = in_folder(tmp_path)
    lines = ["path;label;split;group"]
    for number, name in enumerate(FILES):
        split = ("validation", "test", "", "")[number % 4]
        group = "" if split else f"house {number // 4 % 4}"
        lines.append(f"{folder / name};{name.split('/')[0]};{split};{group}")
    (tmp_path / "photos.csv").write_text("\n".join(lines))

    write(tmp_path / "photos.csv", tmp_path / "examples")

    contents = list(FILES.values())
    splits = {contents.index(content): split for split, _, content in rows(tmp_path / "examples")}
    assert {splits[number] for number in range(0, 40, 4)} == {keys.VAL}
    assert {splits[number] for number in range(1, 40, 4)} == {keys.TEST}
    for group in range(4):
        members = [number for number in range(40) if number % 4 > 1 and number // 4 % 4 == group]
        assert len({splits[number] for number in members}) == 1


def test_links_are_not_followed_out_of_the_folder(tmp_path):
    folder = in_folder(tmp_path)
    (tmp_path / "secret.png").write_bytes(encoded("PNG", seed=7))
    (folder / "cat" / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "cat" / "circle").symlink_to(folder)
    (folder / "cat" / "in.png").symlink_to(folder / "cat" / "00.png")

    write(folder, tmp_path / "examples")

    assert rejected(tmp_path / "examples", folder) == {
        "cat/out.png": OUTSIDE,
        "cat/circle": LINKED_FOLDER,
        "cat/in.png": "a copy of another file of its class",
    }


def test_members_that_leave_the_archive_or_are_no_files_are_rejected(tmp_path):
    outside = tmp_path / "evil.png"
    link = zipfile.ZipInfo("cat/link.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(in_zip(tmp_path), "a") as archive:
        archive.writestr("../evil.png", encoded("PNG", seed=8))
        archive.writestr(str(outside), encoded("PNG", seed=9))
        archive.writestr(link, "/etc/passwd")
        archive.writestr("photos/cat/large.png", b"x" * 30_000)
        archive.writestr("photos/readme.txt", b"hello")

    card = write(tmp_path / "photos.zip", tmp_path / "examples")

    assert not list(tmp_path.rglob("evil.png"))
    assert card.set_aside == {
        "its name leads out of the archive": 2,
        "a link inside an archive": 1,
        "larger than 20,000 bytes": 1,
        "the name does not end like an image's": 1,
    }
    assert sum(map(card.num_examples, SPLITS)) == len(FILES)


def test_tar_with_devices_and_links_is_read_without_them(tmp_path):
    in_folder(tmp_path)
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        archive.add(tmp_path / "photos", "photos")
        for name, kind in {"pipe.png": tarfile.FIFOTYPE, "link.png": tarfile.SYMTYPE}.items():
            info = tarfile.TarInfo(f"photos/cat/{name}")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)

    card = write(tmp_path / "photos.tar", tmp_path / "examples")

    assert card.set_aside == {
        "a device or a pipe inside an archive": 1,
        "a link inside an archive": 1,
    }


def test_odd_names_in_a_zip_cost_no_other_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for name, content in FILES.items():
            archive.writestr(name.replace("/", "\\"), content)  # as Windows' archiver did
        archive.writestr(f"cat/{'x' * 300}.png", b"long")
        archive.writestr("cat/00.png", b"again")

    card = write(tmp_path / "photos.zip", tmp_path / "examples")

    assert card.set_aside == {
        "its name is not possible here": 1,
        "another file of this name is in the archive": 1,
    }
    assert sum(map(card.num_examples, SPLITS)) == len(FILES)


def test_archive_that_unpacks_to_far_more_than_its_size_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("components.image_example_gen.sources.archive._HARMLESS_BYTES", 100_000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(100):
            archive.writestr(f"cat/{number}.png", bytes(15_000))

    with pytest.raises(UnusableDataset, match="100 times its own size"):
        write(tmp_path / "bomb.zip", tmp_path / "examples")


def test_records_with_given_splits_and_numbers_for_labels(tmp_path):
    path = tmp_path / "photos.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number, content in enumerate(FILES.values()):
            split = (b"train", b"validation", b"test", b"train")[number % 4]
            writer.write(record(content, number // 20, split=split))
        writer.write(record(b"", 1))
        writer.write(record(CONTENT, None))
        writer.write(record(CONTENT, 1, split=b"trian"))

    card = write(path, tmp_path / "examples")

    assert card.labels == ["0", "1"]
    assert [card.num_examples(split) for split in SPLITS] == [20, 10, 10]
    assert rejected(tmp_path / "examples", tmp_path) == {
        "photos.tfrecord/00000040": "the record has no image",
        "photos.tfrecord/00000041": "the record has no label that can be a class name",
        "photos.tfrecord/00000042": "the split is none of train, val, test, valid, validation",
    }


def test_records_without_the_named_features_say_which_there_are(tmp_path):
    path = tmp_path / "photos.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(record(CONTENT, None, name=b"cat"))

    with pytest.raises(UnusableDataset) as caught:
        write(path, tmp_path / "examples")

    assert "The features are image/encoded, name." in str(caught.value)
    assert "data.record_keys.label" in str(caught.value)


def test_keys_of_records_are_those_of_the_config(tmp_path):
    path = tmp_path / "photos.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, content in FILES.items():
            writer.write(record(b"", None, picture=content, kind=name[:3].encode()))

    card = write_examples(
        beam.Pipeline(runner="DirectRunner"),
        str(path),
        str(tmp_path / "examples"),
        RULE,
        LIMITS,
        record_keys=RecordKeys(image="picture", label="kind"),
    )

    assert card.labels == ["cat", "dog"]
    assert sum(map(card.num_examples, SPLITS)) == len(FILES)


def test_a_truncated_file_of_records_is_named(tmp_path):
    path = in_records(tmp_path) / "photos.tfrecord-00000-of-00002"
    path.write_bytes(path.read_bytes()[:-10])

    with pytest.raises(UnusableDataset, match=r"00000-of-00002: is damaged, or no TFRecord file"):
        write(path.parent, tmp_path / "examples")


@pytest.mark.parametrize("make", [in_zip, in_tar])
def test_a_damaged_archive_is_one_sentence(make, tmp_path):
    path = make(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(UnusableDataset, match=r"photos\..*: cannot be unpacked: .*"):
        write(path, tmp_path / "examples")


def test_a_file_that_is_listed_twice_is_read_once(tmp_path):
    path = in_csv(tmp_path)
    name = next(iter(FILES))
    path.write_text(path.read_text("utf-8-sig") + f"photos/{name},cat,x\n")

    card = write(path, tmp_path / "examples")

    assert card.set_aside == {LISTED_TWICE: 1}


def test_a_changed_file_of_a_manifest_and_a_changed_archive_are_noticed(tmp_path):
    manifest, archive = in_csv(tmp_path), in_zip(tmp_path)
    before = fingerprint(str(manifest)), fingerprint(str(archive))
    assert (fingerprint(str(manifest)), fingerprint(str(archive))) == before

    (tmp_path / "photos" / "cat" / "00.png").write_bytes(encoded("PNG", seed=999))
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("cat/new.png", b"new")

    assert fingerprint(str(manifest)) != before[0]
    assert fingerprint(str(archive)) != before[1]
