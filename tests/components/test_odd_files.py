"""Files that no run may stumble over: special ones, vanishing ones, odd names, many copies."""

import hashlib
import io
import json
import os
import signal
import socket
import stat
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import apache_beam as beam
import pytest
import tensorflow as tf

from components.image_example_gen import checking
from components.image_example_gen.checking import Limits
from components.image_example_gen.inspect import ImageRejected, Inspected
from components.image_example_gen.reading import read_file
from components.image_example_gen.sources.entry import UnusableDataset
from components.image_example_gen.sources.folder import OUTSIDE
from components.image_example_gen.splitting import ImageFile, fingerprint, split_of
from components.image_example_gen.write_examples import write_examples
from trainer import keys
from trainer.data.card import DataCard, read_card

from .conftest import RULE, SPLITS, encoded

LIMITS = Limits(max_pixels=10_000, max_file_bytes=20_000)
CAT = [encoded("PNG", seed=seed) for seed in range(20)]
DOG = [encoded("PNG", seed=seed) for seed in range(100, 140)]
CHANGED = "changed while the images were being read"
VANISHED = "cannot be read: No such file or directory"
A_COPY = "a copy of another file of its class"


@pytest.fixture(autouse=True)
def never_hangs() -> Iterator[None]:
    """Ends a test that waits for a pipe's writer, or reads what never ends."""
    signal.alarm(120)
    yield
    signal.alarm(0)


def fill(images: Path) -> Path:
    """Two classes without a flaw."""
    for label, contents in {"cat": CAT, "dog": DOG}.items():
        (images / label).mkdir(parents=True)
        for number, content in enumerate(contents):
            (images / label / f"{number:02d}.png").write_bytes(content)
    return images


def write(images: Path, uri: Path) -> DataCard:
    pipeline = beam.Pipeline(runner="DirectRunner")
    return write_examples(pipeline, str(images), str(uri), RULE, LIMITS)


def rejected(uri: Path) -> dict[str, str]:
    """Path -> reason."""
    lines = [
        json.loads(line)
        for path in sorted(uri.glob("set_aside/*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return {line["path"]: line["reason"] for line in lines}


def rows(uri: Path) -> Iterator[tuple[str, bytes, str, str, bytes]]:
    """(split, path, label, id, content) of each example."""
    for split in SPLITS:
        paths = [str(path) for path in sorted(uri.glob(f"Split-{split}/*"))]
        for record in tf.data.TFRecordDataset(paths, "GZIP").as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature
            path, label, identity, content = (
                feature[name].bytes_list.value[0]
                for name in (keys.PATH, keys.LABEL, keys.ID, keys.IMAGE_BYTES)
            )
            yield split, path, label.decode(), identity.decode(), content


def assert_right(uri: Path) -> Counter[str]:
    """Checks that examples, card and fingerprint agree; the number of images by class."""
    card, counts = read_card(str(uri)), {split: Counter[str]() for split in SPLITS}
    kept = []
    for split, _, label, identity, content in rows(uri):
        assert hashlib.sha256(content).hexdigest() == identity
        assert split_of(identity, SPLITS) == split
        counts[split][label] += 1
        kept.append(ImageFile(identity, "", label, 7, 9))
    assert card.counts == counts
    assert card.fingerprint == fingerprint(kept)
    assert card.set_aside == Counter(rejected(uri).values())
    return sum(counts.values(), Counter())


def dds_of_unknown_pixels() -> bytes:
    """Pillow raises NotImplementedError on it."""
    return b"DDS " + struct.pack("<I", 124) + struct.pack("<5I", 7, 8, 8, 32, 0) + bytes(200)


def ftex_of_two_formats() -> bytes:
    """Pillow raises AssertionError on it."""
    return b"FTEX" + struct.pack("<6i", 1, 8, 8, 1, 2, 0) + bytes(200)


@pytest.fixture(scope="module")
def odd(tmp_path_factory) -> tuple[Path, Path]:
    """Images with every odd file there is among them, in a folder named like a pattern."""
    root = tmp_path_factory.mktemp("odd")
    images = fill(root / "p [2024] x" / "im*g {a}?")
    cat = images / "cat"
    (cat / "dangling.png").symlink_to("nowhere.png")
    (cat / "itself.png").symlink_to("itself.png")
    (cat / "dds.jpg").write_bytes(dds_of_unknown_pixels())
    (cat / "ftex.jpg").write_bytes(ftex_of_two_formats())
    (cat / "line\nbreak.png").write_bytes(encoded("PNG", seed=201))
    (cat / "[a]*?.png").write_bytes(encoded("PNG", seed=202))
    (cat / ".kept.png").write_bytes(encoded("PNG", seed=203))
    (cat / "link.png").symlink_to(cat / ".kept.png")
    (root / "elsewhere.png").write_bytes(encoded("PNG", seed=205))
    (cat / "elsewhere.png").symlink_to(root / "elsewhere.png")
    (cat / os.fsdecode(b"caf\xe9.png")).write_bytes(encoded("PNG", seed=204))
    os.mkfifo(cat / "pipe.png")
    (cat / "to a pipe.png").symlink_to("pipe.png")
    (cat / "zero.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as unix:
        before = Path.cwd()
        os.chdir(cat)  # a socket's path is short
        unix.bind("socket.png")
        os.chdir(before)
    for folder in (images, images / "cat", images / "dog"):
        folder.chmod(0o555)
    uri = root / "examples"
    signal.alarm(120)
    write(images, uri)
    return images, uri


def test_special_and_foreign_files_are_rejected_with_their_reasons(odd):
    images, uri = odd

    found = {path.removeprefix(f"{images}/cat/"): why for path, why in rejected(uri).items()}

    assert found == {
        "caf\\xe9.png": "the file name is not UTF-8: rename it",
        "dangling.png": VANISHED,
        "dds.jpg": "not an image, whatever its name says",
        "ftex.jpg": "not an image, whatever its name says",
        "itself.png": "cannot be read: Too many levels of symbolic links",
        "pipe.png": "a named pipe, not a regular file",
        "socket.png": "a socket, not a regular file",
        "to a pipe.png": "a named pipe, not a regular file",
        "elsewhere.png": OUTSIDE,
        "zero.png": OUTSIDE,
    }


def test_files_with_odd_names_and_links_to_images_are_taken(odd):
    images, uri = odd

    found = {path.decode(): content for _, path, _, _, content in rows(uri)}

    for number, name in enumerate(("line\nbreak.png", "[a]*?.png", "link.png")):
        assert found[f"{images}/cat/{name}"] == encoded("PNG", seed=201 + number)
    assert assert_right(uri) == {"cat": len(CAT) + 3, "dog": len(DOG)}


def test_nothing_is_written_to_the_images_folder(odd):
    images, _ = odd

    names = sorted(path.name for path in images.iterdir())

    assert names == ["cat", "dog"]
    assert len(list((images / "dog").iterdir())) == len(DOG)
    assert stat.S_IMODE(images.stat().st_mode) == 0o555


@pytest.fixture
def after_check(monkeypatch) -> Callable[[dict[str, Callable[[Path], object]]], None]:
    """Has something happen to files between the two passes: name -> what."""

    def arrange(events: dict[str, Callable[[Path], object]]) -> None:
        check = checking.inspect_image

        def check_and_change(name: str, content: bytes, *settings: object) -> Inspected:
            found = check(name, content, *settings)
            path = Path(name)
            event = events.get(f"{path.parent.name}/{path.name}")
            if event:
                event(path)
            return found

        monkeypatch.setattr(checking, "inspect_image", check_and_change)

    return arrange


def test_files_that_vanish_or_change_are_rejected_and_the_rest_is_right(tmp_path, after_check):
    images = fill(tmp_path / "images")
    after_check(
        {
            "cat/00.png": Path.unlink,
            "cat/01.png": lambda path: path.write_bytes(CAT[1] + b"more"),
            "cat/02.png": lambda path: path.write_bytes(encoded("PNG", seed=300)),
            "cat/03.png": lambda path: path.write_bytes(bytes(30_000)),
            "cat/04.png": lambda path: (path.unlink(), os.mkfifo(path)),
        }
    )

    write(images, tmp_path / "examples")

    assert rejected(tmp_path / "examples") == {
        f"{images}/cat/00.png": VANISHED,
        f"{images}/cat/01.png": CHANGED,
        f"{images}/cat/02.png": CHANGED,
        f"{images}/cat/03.png": "larger than 20,000 bytes",
        f"{images}/cat/04.png": "a named pipe, not a regular file",
    }
    assert assert_right(tmp_path / "examples") == {"cat": len(CAT) - 5, "dog": len(DOG)}


def test_copy_takes_the_place_of_a_file_that_vanished(tmp_path, after_check):
    images = fill(tmp_path / "images")
    for name in ("copy a.png", "copy b.png"):
        (images / "cat" / name).write_bytes(CAT[0])
    after_check({"cat/00.png": Path.unlink})

    write(images, tmp_path / "examples")

    assert rejected(tmp_path / "examples") == {
        f"{images}/cat/00.png": VANISHED,
        f"{images}/cat/copy b.png": A_COPY,
    }
    assert assert_right(tmp_path / "examples") == {"cat": len(CAT), "dog": len(DOG)}


def test_class_that_vanishes_with_its_folder_is_named(tmp_path, after_check):
    images = fill(tmp_path / "images")

    def remove(path: Path) -> None:
        path.unlink()
        if not list(path.parent.iterdir()):
            path.parent.rmdir()

    after_check({f"cat/{number:02d}.png": remove for number in range(len(CAT))})

    with pytest.raises(UnusableDataset, match="not one usable image in cat") as caught:
        write(images, tmp_path / "examples")

    assert f"cat: {len(CAT)} × {VANISHED}" in str(caught.value)


def test_of_2000_identical_files_one_is_kept(tmp_path):
    images = fill(tmp_path / "images")
    for number in range(2_000):
        os.link(images / "cat" / "00.png", images / "cat" / f"copy {number}.png")

    card = write(images, tmp_path / "examples")

    assert card.set_aside == {A_COPY: 2_000}
    assert assert_right(tmp_path / "examples") == {"cat": len(CAT), "dog": len(DOG)}


def test_object_that_vanished_from_a_bucket_is_rejected(monkeypatch):
    """Its client's errors are no OSErrors."""

    class NotFound(Exception):
        code = 404

    def vanish(*_: object) -> io.BytesIO:
        raise NotFound("404 GET https://storage.googleapis.com/…")

    monkeypatch.setattr("apache_beam.io.filesystems.FileSystems.open", vanish)

    with pytest.raises(ImageRejected) as caught:
        read_file("gs://bucket/images/cat/1.png", 100)

    assert str(caught.value) == "cannot be read"


def test_refusal_of_a_bucket_is_no_matter_of_one_file(monkeypatch):
    class Forbidden(Exception):
        code = 403

    def refuse(*_: object) -> io.BytesIO:
        raise Forbidden("403 GET https://storage.googleapis.com/…")

    monkeypatch.setattr("apache_beam.io.filesystems.FileSystems.open", refuse)

    with pytest.raises(Forbidden):
        read_file("gs://bucket/images/cat/1.png", 100)


def test_remote_file_is_read_up_to_the_limit(monkeypatch):
    monkeypatch.setattr(
        "apache_beam.io.filesystems.FileSystems.open", lambda *_: io.BytesIO(b"12345678")
    )

    assert read_file("gs://bucket/images/cat/1.png", 8) == b"12345678"
    with pytest.raises(ImageRejected, match="larger than 7 bytes"):
        read_file("gs://bucket/images/cat/1.png", 7)
