"""Features that earlier runs have kept: who uses them, and what becomes of damaged ones."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions

from components.trunk_features.executor import Counts, write_backbone, write_features
from components.trunk_features.store.prune import look, prune
from components.trunk_features.store.reading import StoreReader
from components.trunk_features.store.trunks import sha256_of_weights
from components.trunk_features.store.writing import SegmentWriter
from trainer import keys
from trainer.data.card import DataCard, write_card
from trainer.model.trunk import BACKBONE_FILE
from trainer.specs import NO_CHANGE, Augmentation, TrunkFeaturesArgs, TrunkSpec, TrunkStoreArgs

from ..conftest import ROOT
from ..image_examples import image_example, noise, read_examples, value, write_shard

SIZE_PX = 32
SPEC = TrunkSpec("mobilenet_v2", SIZE_PX, "block_1_project_BN", "float32", "float32")
PLAIN = TrunkFeaturesArgs(SPEC, "random", "", 5, 0, NO_CHANGE)
VIEWS = replace(PLAIN, augmented_views=2, augmentation=Augmentation(True, 0.5, 0.3))
# As in `test_trunk_features`: other batches sum in another order.
SAME = 2e-5
A_DAY = 86_400.0


def write_source(uri: Path, numbers: dict[str, list[range]]) -> Path:
    """Examples with the images of these numbers, a file for each range."""
    counts = {}
    for split, files in numbers.items():
        folder = uri / keys.split_folder(split)
        folder.mkdir(parents=True)
        for place, shard in enumerate(files):
            examples = [
                image_example(noise(1, SIZE_PX, number)[0], str(number), 0).SerializeToString()
                for number in shard
            ]
            write_shard(folder / f"images-{place:05d}-of-{len(files):05d}.gz", examples)
        counts[split] = {"ant": sum(map(len, files))}
    write_card(DataCard("images", "f", counts), str(uri))
    return uri


@pytest.fixture(scope="module")
def first_images(tmp_path_factory) -> Path:
    splits = {
        "train": [range(40), range(40, 44)],
        "val": [range(100, 103)],
        "test": [range(200, 202)],
    }
    return write_source(tmp_path_factory.mktemp("first") / "examples", splits)


@pytest.fixture(scope="module")
def more_images(tmp_path_factory) -> Path:
    """Two new ones among the old, one of them the last of its file; other files, and one move."""
    train = [range(20), range(20, 45)]
    splits = {"train": train, "val": [range(99, 103)], "test": [range(200, 202)]}
    return write_source(tmp_path_factory.mktemp("more") / "examples", splits)


@pytest.fixture(scope="module")
def weights(first_images, tmp_path_factory) -> str:
    path = str(tmp_path_factory.mktemp("weights") / BACKBONE_FILE)
    write_backbone(PLAIN, str(first_images), path)
    return path


Run = Callable[..., tuple[Path, Counts]]


@pytest.fixture(scope="module")
def run(weights, tmp_path_factory) -> Run:
    def run(
        images: Path,
        store: Path | None,
        settings: TrunkFeaturesArgs = PLAIN,
        options: tuple[str, ...] = (),
        max_bytes: int = 10**9,
    ) -> tuple[Path, Counts]:
        uri = tmp_path_factory.mktemp("features")
        pipeline = beam.Pipeline(runner="DirectRunner", options=PipelineOptions(list(options)))
        kept = TrunkStoreArgs(str(store), max_bytes) if store else None
        return uri, write_features(pipeline, settings, str(images), str(uri), weights, kept)

    return run


def rows(uri: Path) -> dict[str, list[tuple[bytes, np.ndarray]]]:
    """File -> the id and the features of each of its rows."""
    return {
        str(path.relative_to(uri)): [
            (value(one, keys.ID), tf.io.parse_tensor(value(one, keys.TRUNK), "float32").numpy())
            for one in read_examples(path)
        ]
        for path in sorted(uri.glob("Split-*/*"))
    }


def assert_same(one: Path, other: Path) -> None:
    first, second = rows(one), rows(other)
    assert first.keys() == second.keys()
    for name, expected in first.items():
        assert [key for key, _ in second[name]] == [key for key, _ in expected]
        for (_, found), (_, kept) in zip(second[name], expected, strict=True):
            np.testing.assert_allclose(found, kept, rtol=0, atol=SAME)


@pytest.fixture(scope="module")
def finished(run, first_images, tmp_path_factory) -> tuple[Path, Path]:
    """The features of a run, and its store."""
    store = tmp_path_factory.mktemp("finished") / "store"
    uri, counts = run(first_images, store)
    assert counts == Counts(0, 49)
    return uri, store


@pytest.fixture
def fresh(finished) -> Path:
    """Features that no store had a part in."""
    return finished[0]


@pytest.fixture
def store(finished, tmp_path) -> Path:
    """Of a finished run."""
    return Path(shutil.copytree(finished[1], tmp_path / "store"))


def age(store: Path) -> None:
    """Makes everything a day old."""
    for path in store.rglob("*"):
        os.utime(path, (time.time() - A_DAY,) * 2)


def test_only_new_images_pass_the_trunk_and_all_is_as_in_a_fresh_run(run, store, more_images):
    with_store, counts = run(more_images, store)
    fresh, _ = run(more_images, None)

    assert counts == Counts(49, 2)
    assert_same(fresh, with_store)


def test_the_same_images_need_no_trunk_and_leave_the_same_bytes(run, store, fresh, first_images):
    again, counts = run(first_images, store)

    assert counts == Counts(49, 0)
    for path in fresh.glob("Split-*/*"):
        assert (again / path.relative_to(fresh)).read_bytes() == path.read_bytes()


def test_views_are_kept_by_their_pixels(run, first_images, tmp_path):
    _, first = run(first_images, tmp_path / "store", VIEWS)
    _, second = run(first_images, tmp_path / "store", VIEWS)
    _, other_seed = run(first_images, tmp_path / "store", replace(VIEWS, seed=6))

    assert first == Counts(0, 49 + 2 * 44)
    assert second == Counts(49 + 2 * 44, 0)
    assert other_seed.stored < 60


def test_other_weights_and_other_trunks_have_stores_of_their_own(
    run, store, first_images, tmp_path, weights
):
    lower = replace(PLAIN, spec=replace(SPEC, dtype="float16"))
    assert run(first_images, store, lower)[1] == Counts(0, 49)
    assert len(look(str(store))) == 2

    other = str(tmp_path / BACKBONE_FILE)
    write_backbone(replace(PLAIN, seed=99), str(first_images), other)
    again = str(tmp_path / "again" / BACKBONE_FILE)
    write_backbone(PLAIN, str(first_images), again)
    assert sha256_of_weights(other) != sha256_of_weights(weights)
    assert sha256_of_weights(again) == sha256_of_weights(weights)


@pytest.mark.parametrize("pattern", ["*.tensors", "*.index"])
@pytest.mark.parametrize("damage", ["flipped", "truncated", "emptied", "deleted"])
def test_damaged_segments_are_not_trusted(run, store, fresh, first_images, pattern, damage):
    (path, *_) = sorted(store.rglob(pattern), key=lambda found: -found.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = {"flipped": bytes(content), "truncated": bytes(content[:-7]), "emptied": b""}
    path.unlink() if damage == "deleted" else path.write_bytes(damaged[damage])

    uri, counts = run(first_images, store)

    assert counts.computed > 0
    assert counts.stored + counts.computed == 49
    assert_same(fresh, uri)
    assert run(first_images, store)[1] == Counts(49, 0)


def test_what_a_killed_writer_leaves_is_not_found_and_is_removed_a_day_later(store):
    script = """
import sys, os, signal
from components.trunk_features.store.writing import SegmentWriter
writer = SegmentWriter(sys.argv[1])
for number in range(100):
    writer.add(bytes([number]) * 32, b"x" * 10_000)
writer._file.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""
    (trunk,) = look(str(store))
    done = subprocess.run([sys.executable, "-c", script, trunk.folder], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL

    (after,) = look(str(store))
    assert after.images == trunk.images
    assert sum(after.leftovers.values()) >= 900_000
    assert prune(str(store)).num_bytes == 0
    age(store)
    assert prune(str(store)).num_bytes == sum(after.leftovers.values())
    assert look(str(store)) == [replace(trunk, segments=look(str(store))[0].segments, leftovers={})]


def test_two_writers_of_the_same_images_do_not_disturb_each_other(tmp_path):
    writers = [SegmentWriter(str(tmp_path)) for _ in range(2)]
    for number in range(20):
        for writer in writers:
            writer.add(number.to_bytes(32, "big"), bytes([number]) * 100)
    writers[0].finish()
    one = StoreReader(str(tmp_path))
    writers[1].finish()

    for reader in (one, StoreReader(str(tmp_path))):
        found = [reader.find(number.to_bytes(32, "big")) for number in range(21)]
        assert [place is not None for place in found] == [True] * 20 + [False]


def test_the_store_stays_as_small_as_it_is_asked_to_but_keeps_what_is_in_use(
    run, store, first_images, more_images
):
    (trunk,) = look(str(store))
    age(store)
    newest = max(trunk.segments, key=lambda one: one.num_bytes)
    os.utime(newest.segment.index)

    removed = prune(str(store), max_bytes=0)

    (left,) = look(str(store))
    assert [one.segment for one in left.segments] == [newest.segment]
    assert removed.num_bytes == trunk.num_bytes - left.num_bytes
    _, counts = run(more_images, store, max_bytes=1)
    assert counts.stored == newest.images


def test_a_run_marks_what_it_uses(run, store, first_images):
    age(store)

    run(first_images, store)

    assert prune(str(store), max_bytes=0).images == 0


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_store_that_cannot_be_written_costs_no_run(run, store, more_images):
    for path in [store, *store.rglob("*")]:
        path.chmod(0o555)

    assert run(more_images, store)[1] == Counts(49, 2)


@pytest.mark.slow
def test_several_processes_share_a_store(run, store, more_images):
    processes = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")

    run(more_images, store, options=processes)

    assert run(more_images, store)[1] == Counts(51, 0)
