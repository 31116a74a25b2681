"""What counts as a change of the images, so that they are ingested again."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.localfilesystem import LocalFileSystem

from components.image_example_gen import driver
from components.image_example_gen.driver import fingerprint

PATHS = ["p [2024] x/im*g", "{SPAN}", "plain"]


@pytest.fixture(params=PATHS)
def images(tmp_path, request) -> Path:
    folder = tmp_path / request.param
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for number in range(3):
            (folder / label / f"{number}.jpg").write_bytes(f"{label}{number}".encode())
    return folder


class PhotosFileSystem(LocalFileSystem):
    """The local file system as a remote one: everything is below `photos://`."""

    @classmethod
    def scheme(cls) -> str:
        return "photos"

    def has_dirs(self) -> bool:
        return False

    def _list(self, prefix: str) -> Iterator[FileMetadata]:
        for found in super()._list(os.path.dirname(prefix.removeprefix("photos:/"))):
            path = f"photos:/{found.path}"
            if path.startswith(prefix):
                yield FileMetadata(path, found.size_in_bytes, found.last_updated_in_seconds)


def edit(path: Path, content: bytes) -> None:
    """Another content at the same time."""
    found = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


CHANGES = {
    "moved to another class": lambda root: (root / "cat/0.jpg").rename(root / "dog/9.jpg"),
    "swapped between classes": lambda root: (
        (root / "cat/0.jpg").rename(root / "cat/t"),
        (root / "dog/0.jpg").rename(root / "cat/0.jpg"),
        (root / "cat/t").rename(root / "dog/0.jpg"),
    ),
    "class renamed": lambda root: (root / "cat").rename(root / "cow"),
    "file renamed": lambda root: (root / "cat/0.jpg").rename(root / "cat/7.jpg"),
    "removed": lambda root: (root / "cat/0.jpg").unlink(),
    "added": lambda root: (root / "cat/3.jpg").write_bytes(b"new"),
    "grown": lambda root: (root / "cat/0.jpg").write_bytes(b"larger than before"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_of_names_and_sizes_is_noticed(images, change):
    before = fingerprint(str(images))

    CHANGES[change](images)

    assert fingerprint(str(images)) != before


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_is_noticed_on_a_remote_file_system(images, change):
    before = fingerprint(f"photos:/{images}")

    CHANGES[change](images)

    assert fingerprint(f"photos:/{images}") != before


def test_remote_files_outside_the_folder_do_not_count(images):
    before = fingerprint(f"photos:/{images}")

    (images.parent / f"{images.name}2" / "cat").mkdir(parents=True)
    (images.parent / f"{images.name}2" / "cat" / "1.jpg").write_bytes(b"other")

    assert fingerprint(f"photos:/{images}") == before


def test_content_decides_where_reading_it_is_cheap(images):
    before = fingerprint(str(images))

    os.utime(images / "cat/0.jpg")
    assert fingerprint(str(images)) == before

    edit(images / "cat/0.jpg", b"CAT0")
    assert fingerprint(str(images)) != before


def test_times_decide_where_there_is_much_to_read(images, monkeypatch):
    monkeypatch.setattr(driver, "MAX_HASHED_BYTES", 5)
    before = fingerprint(str(images))

    assert fingerprint(str(images)) == before
    os.utime(images / "cat/0.jpg", ns=(1, 1))
    assert fingerprint(str(images)) != before


def test_special_files_are_never_opened(images):
    os.mkfifo(images / "cat" / "pipe.jpg")
    (images / "cat" / "endless.jpg").symlink_to("/dev/zero")
    (images / "cat" / "lost.jpg").symlink_to("nowhere")
    (images / "cat" / "loop.jpg").symlink_to("loop.jpg")
    before = fingerprint(str(images))

    assert fingerprint(str(images)) == before
    (images / "cat" / "lost.jpg").unlink()
    assert fingerprint(str(images)) != before


def test_the_folder_itself_may_move(images):
    before = fingerprint(str(images))

    images.rename(images.with_name("elsewhere"))

    assert fingerprint(str(images.with_name("elsewhere"))) == before
