"""Which weights the demo takes, from a server on this machine that is good, cut off or slow."""

import hashlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipeline.cli import demo_weights
from pipeline.cli.demo_weights import choose_weights

CONTENT = b"weights" * 1000


class Publisher(BaseHTTPRequestHandler):
    """Answers by the path: /good/w.h5, /cut/w.h5, /slow/w.h5; anything else is not there."""

    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        self.send_response(200 if kind in ("good", "cut", "slow") else 404)
        self.end_headers()
        if kind == "slow":
            for _ in range(50):
                self.wfile.write(b"x" * 2**20)
                time.sleep(0.1)
        self.wfile.write(CONTENT if kind == "good" else CONTENT[:99])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def publisher() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Publisher)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(autouse=True)
def expected_hash(monkeypatch):
    monkeypatch.setattr(demo_weights, "_MD5", hashlib.md5(CONTENT).hexdigest())


def test_cached_weights_are_taken_without_asking_the_network(tmp_path):
    (tmp_path / "w.h5").write_bytes(CONTENT)

    weights, why = choose_weights(tmp_path, "http://127.0.0.1:9/w.h5")

    assert (weights, why) == ("imagenet", f"ImageNet's, from {tmp_path / 'w.h5'}.")


def test_weights_are_downloaded_where_they_are_not_cached(tmp_path, publisher):
    weights, why = choose_weights(tmp_path / "models", f"{publisher}/good/w.h5")

    assert weights == "imagenet"
    assert "downloaded" in why
    assert (tmp_path / "models" / "w.h5").read_bytes() == CONTENT


def test_weights_that_are_cut_off_in_the_cache_are_downloaded_again(tmp_path, publisher):
    (tmp_path / "w.h5").write_bytes(CONTENT[:-1])

    assert choose_weights(tmp_path, f"{publisher}/good/w.h5")[0] == "imagenet"

    assert (tmp_path / "w.h5").read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["cut", "slow", "missing"])
def test_random_weights_are_taken_where_none_can_be_had(tmp_path, publisher, kind):
    weights, why = choose_weights(tmp_path, f"{publisher}/{kind}/w.h5", max_secs=0.5)

    assert weights == "random"
    assert why.startswith("random, calibrated on the images.")
    assert "within 0.5 s (" in why
    assert list(tmp_path.iterdir()) == []


def test_without_a_network_random_weights_are_taken(tmp_path):
    assert choose_weights(tmp_path, "http://127.0.0.1:9/w.h5")[0] == "random"
