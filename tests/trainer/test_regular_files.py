"""Regular files are read up to a limit; whatever else has a name is refused at once."""

import ast
import os
import pickle
import socket
from pathlib import Path

import pytest

from trainer.data import regular_files
from trainer.data.regular_files import UnreadableFile, read_regular_file


@pytest.fixture
def content(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 200_000)
    return tmp_path / "file"


@pytest.mark.parametrize("size", [0, 1, 200_000])
def test_file_and_link_to_it_are_read_whole(tmp_path, size):
    (tmp_path / "file").write_bytes(b"x" * size)
    (tmp_path / "link").symlink_to("file")

    assert read_regular_file(str(tmp_path / "file"), size) == b"x" * size
    assert read_regular_file(str(tmp_path / "link"), 10**12) == b"x" * size


def test_file_over_the_limit_is_refused(content):
    assert len(read_regular_file(str(content), 200_000)) == 200_000
    with pytest.raises(UnreadableFile, match=r"^larger than 199,999 bytes$"):
        read_regular_file(str(content), 199_999)


def test_file_that_grows_while_it_is_read_is_refused_beyond_the_limit(content, monkeypatch):
    real, asked = os.read, []

    def read(descriptor: int, length: int) -> bytes:
        asked.append(length)
        with content.open("ab") as file:
            file.write(b"y" * 200_000)
        return real(descriptor, length)

    monkeypatch.setattr(regular_files.os, "read", read)

    with pytest.raises(UnreadableFile, match="larger than 250,000 bytes"):
        read_regular_file(str(content), 250_000)
    assert sum(asked) < 2 * 250_001


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (os.mkfifo, "a named pipe, not a regular file"),
        (os.mkdir, "a folder, not a regular file"),
        (lambda path: os.symlink("/dev/zero", path), "a device, not a regular file"),
        (lambda path: os.symlink("nowhere", path), "cannot be read: No such file"),
        (lambda path: os.symlink("link", path), "cannot be read: Too many levels"),
        (lambda path: None, "cannot be read: No such file"),
    ],
)
@pytest.mark.timeout(10)
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, make, reason):
    make(str(tmp_path / "link"))

    with pytest.raises(UnreadableFile, match=f"^{reason}"):
        read_regular_file(str(tmp_path / "link"), 100)


def test_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket may have 107 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")

        with pytest.raises(UnreadableFile, match=r"^a socket, not a regular file$"):
            read_regular_file("socket", 100)


@pytest.mark.timeout(10)
def test_file_that_becomes_a_pipe_after_the_first_look_does_not_block(content, monkeypatch):
    real = os.open

    def swap(path: str, flags: int) -> int:
        content.unlink()
        os.mkfifo(content)
        return real(path, flags)

    monkeypatch.setattr(regular_files.os, "open", swap)

    with pytest.raises(UnreadableFile, match="a named pipe"):
        read_regular_file(str(content), 10**6)


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_name_that_no_file_can_have_is_refused(name):
    with pytest.raises(UnreadableFile, match="no file can have this name"):
        read_regular_file(name, 100)


def test_name_that_is_not_utf_8_is_read(tmp_path):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")
    Path(name).write_bytes(b"x")

    assert read_regular_file(name, 100) == b"x"


def test_reason_survives_the_way_between_processes():
    assert str(pickle.loads(pickle.dumps(UnreadableFile("a reason")))) == "a reason"


def test_nothing_heavy_is_imported():
    tree = ast.parse(Path(regular_files.__file__).read_text())

    imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imported] == ["import os", "import stat"]
