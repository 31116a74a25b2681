"""Files in a real S3 server: TFX's file functions, pushes, images, and state that is kept."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tfx.dsl.io import fileio
from tfx.utils import io_utils

import launchers.s3_files  # noqa: F401 - under test
import trainer  # noqa: F401 - chooses the Keras
from components.image_example_gen.inspect import ImageRejected
from components.image_example_gen.reading import read_file
from components.image_example_gen.sources.folder import Folder
from serving.push import push_atomically
from trainer.store import mirror, s3
from trainer.store.mirror import Mirror
from trainer.store.s3 import StoreError

from ..cluster.certificates import write_self_signed
from ..cluster.s3_server import S3Server

pytestmark = pytest.mark.slow
BUCKET = "s3://mlpipeline"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    directory = tmp_path_factory.mktemp("seaweedfs")
    certificate = write_self_signed(directory / "certificate.pem")
    with S3Server(directory, certificate=certificate) as running:
        yield running


@pytest.fixture(autouse=True)
def access(server, monkeypatch):
    """As a pod gets it."""
    for name, value in server.variables().items():
        monkeypatch.setenv(name, value)
    s3._filesystem.cache_clear()
    yield
    s3._filesystem.cache_clear()


def test_tfx_reads_and_writes_text_and_bytes():
    io_utils.write_string_file(f"{BUCKET}/text/a.txt", "Grüße")

    assert io_utils.read_string_file(f"{BUCKET}/text/a.txt") == "Grüße"
    assert fileio.open(f"minio{BUCKET[2:]}/text/a.txt", "rb").read() == "Grüße".encode()
    assert fileio.exists(f"{BUCKET}/text")
    assert not fileio.exists(f"{BUCKET}/tex")
    with pytest.raises(fileio.NotFoundError, match="there is no such file"):
        fileio.open(f"{BUCKET}/text/b.txt")


def test_folders_are_listed_walked_and_removed(server):
    for key in ("tree/a/1", "tree/a/b/2", "tree/3"):
        server.put(key, b"x")

    assert fileio.listdir(f"{BUCKET}/tree") == ["a/", "3"]
    assert list(fileio.walk(f"{BUCKET}/tree")) == [
        (f"{BUCKET}/tree", ["a"], ["3"]),
        (f"{BUCKET}/tree/a", ["b"], ["1"]),
        (f"{BUCKET}/tree/a/b", [], ["2"]),
    ]
    fileio.rmtree(f"{BUCKET}/tree")
    assert server.keys("tree") == []


def test_a_model_is_pushed_as_the_next_version(server, tmp_path):
    for name in ("saved_model.pb", "variables/variables.index"):
        path = tmp_path / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())

    pushed = [push_atomically(str(tmp_path / "model"), f"{BUCKET}/serving") for _ in range(2)]

    assert pushed == [f"{BUCKET}/serving/1", f"{BUCKET}/serving/2"]
    assert server.get("serving/2/variables/variables.index") == b"variables/variables.index"
    assert server.get("serving/1/saved_model.pb") == b"saved_model.pb"


def test_images_are_listed_and_read_where_they_are(server):
    server.put("photos/cat/1.jpg", b"meow")
    server.put("photos/dog/2.jpg", b"x" * 100)

    cat, dog = Folder(f"{BUCKET}/photos").entries()

    assert (cat.label, cat.path) == ("cat", f"{BUCKET}/photos/cat/1.jpg")
    assert (dog.label, dog.path) == ("dog", f"{BUCKET}/photos/dog/2.jpg")
    assert read_file(cat.path, 10) == b"meow"
    with pytest.raises(ImageRejected, match="larger than 10 bytes"):
        read_file(dog.path, 10)
    with pytest.raises(ImageRejected, match="cannot be read"):
        read_file(f"{BUCKET}/photos/cat/3.jpg", 10)


def test_a_store_that_refuses_is_an_error_that_says_what_to_do(monkeypatch, server):
    """Not a rejected image: no other could be read either."""
    server.put("photos/cat/1.jpg", b"meow")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    s3._filesystem.cache_clear()

    with pytest.raises(StoreError, match="ACCESS_DENIED") as refused:
        read_file(f"{BUCKET}/photos/cat/1.jpg", 10)

    assert refused.value.where == f"{BUCKET}/photos/cat/1.jpg"
    assert "credentials of cluster.store" in refused.value.to_do


def test_a_server_with_a_certificate_of_its_own_is_reached_by_its_authority(
    server, tmp_path_factory
):
    """The variable is what a pod gets for `cluster.store.ca_secret`. Arrow reads it once, when
    it is imported: so in a process of its own.
    """
    certificate = next(tmp_path_factory.getbasetemp().glob("seaweedfs*/certificate.pem"))
    server.put("secret/a", b"x")
    program = (
        f"from trainer.store import s3; s3._ATTEMPTS = 1; print(s3.read_bytes('{BUCKET}/secret/a'))"
    )

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "AWS_ENDPOINT_URL_S3": server.secure_endpoint, **more}
        command = [sys.executable, "-c", program]
        return subprocess.run(command, env=environ, capture_output=True, text=True)

    trusting, wary = run(SSL_CERT_FILE=str(certificate)), run()

    assert trusting.stdout == "b'x'\n", trusting.stderr
    assert "StoreError" in wary.stderr
    assert "SSL peer certificate" in wary.stderr


def test_state_follows_a_folder_and_comes_back(server, tmp_path, monkeypatch):
    monkeypatch.setattr(mirror, "_EVERY_SECS", 0.1)
    first, second = tmp_path / "first", tmp_path / "second"
    with Mirror(str(first), f"{BUCKET}/state"):
        write(first / "fit" / "epoch-1.npz", "one")
        wait_for(lambda: server.keys("state") == ["state/fit/epoch-1.npz"])
        write(first / "fit" / "epoch-2.npz", "two")
        write(first / "fit" / "epoch-3.npz.part", "thr")
        (first / "fit" / "epoch-1.npz").unlink()
    assert server.keys("state") == ["state/fit/epoch-2.npz"]

    with Mirror(str(second), f"{BUCKET}/state", writes=False):
        found = (second / "fit" / "epoch-2.npz").read_text()
        (second / "fit" / "epoch-2.npz").unlink()

    assert found == "two"
    assert server.keys("state") == ["state/fit/epoch-2.npz"], "a reader removes nothing"


def test_a_store_that_is_gone_is_reported_once_and_stops_no_work(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(mirror, "_EVERY_SECS", 0.02)

    with Mirror(str(tmp_path), f"{BUCKET}/lost"):
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "withdrawn")
        s3._filesystem.cache_clear()
        write(tmp_path / "epoch-1.npz", "one")
        time.sleep(1)

    said = capfd.readouterr().err
    assert said.count(f"{BUCKET}/lost/epoch-1.npz: cannot be written") == 1
    assert "it resumes from an older state" in said


def test_work_that_fails_keeps_its_state(server, tmp_path):
    with pytest.raises(RuntimeError), Mirror(str(tmp_path), f"{BUCKET}/failed"):  # noqa: PT012
        write(tmp_path / "epoch-1.npz", "one")
        raise RuntimeError("out of memory")

    assert server.get("failed/epoch-1.npz") == b"one"


def test_a_finished_fit_removes_its_state(server, tmp_path):
    server.put("done/epoch-1.npz", b"one")

    with Mirror(str(tmp_path), f"{BUCKET}/done"):
        os.remove(tmp_path / "epoch-1.npz")

    assert server.keys("done") == []


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def wait_for(true, timeout_secs: float = 30) -> None:
    until = time.monotonic() + timeout_secs
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_the_served_model_is_asked_where_it_is(server, tmp_path):
    import tensorflow as tf

    from components.gate.served import ask_served
    from trainer import keys
    from trainer.data.card import DataCard, write_card

    from ..cli.bright_model import save_bright_model

    save_bright_model(tmp_path / "bright")
    folder = tmp_path / "examples" / "Split-test"
    folder.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / "images-0.gz"), "GZIP") as writer:
        example = tf.train.Example()
        white = tf.io.encode_png(tf.fill([8, 8, 3], tf.constant(250, tf.uint8))).numpy()
        for name, value in ((keys.ID, b"1"), (keys.IMAGE_BYTES, white)):
            example.features.feature[name].bytes_list.value.append(value)
        writer.write(example.SerializeToString())
    write_card(DataCard("photos", "", {"test": {"bright": 1}}), str(tmp_path / "examples"))

    before = ask_served(f"{BUCKET}/served", str(tmp_path / "examples"))
    for _ in range(2):
        push_atomically(str(tmp_path / "bright"), f"{BUCKET}/served")
    server.put("served/3/variables/variables.index", b"not complete yet")
    found = ask_served(f"{BUCKET}/served", str(tmp_path / "examples"))

    assert before is None
    assert found.version == "2"
    assert found.answers["1"].class_name == "bright"
