"""The disk and memory that `thaw compile` says each pod needs."""

import pytest

from pipeline.cluster import sizes
from pipeline.cluster.placement import place_training_nodes
from pipeline.cluster.target import Target

from .conftest import COMMON, config_of, needs_kfp

pytestmark = [pytest.mark.slow, needs_kfp]
STAGED = ("cluster.pipeline_root=s3://bucket/root", "cluster.store=staged")


def of(settings, num_images=1_000_000):
    config = config_of((*COMMON, *settings), "s3://bucket/images")
    placements = place_training_nodes(Target.KUBEFLOW, config)
    found = sizes.node_sizes(config, placements, num_images)
    return {size.node: size for size in found}


def test_bytes_of_an_image_are_those_that_files_hold():
    """At mixed8 and 299 px: 8 × 8 × 1280 values of two bytes."""
    each = sizes.image_sizes(config_of(COMMON))

    assert each.features - 8 * 8 * 1280 * 2 == each.pixels - 299 * 299 * 3 == 500
    assert each.vector == 2048 * 4
    # 21.8 million weights of InceptionV3 and 2 million of the head, four bytes each, twice.
    assert each.model == pytest.approx(2 * 4 * 23.9e6, rel=0.01)


def test_staged_pods_hold_what_they_read_and_write():
    found = of(STAGED)

    features = 1_000_000 * (8 * 8 * 1280 * 2 + 500)
    vectors = 1_000_000 * 2048 * 4
    assert found["HeadTrainer"].disk_bytes == pytest.approx(features + vectors, rel=0.01)
    assert found["Transform"].disk_bytes == 1_000_000 * (110_000 + 299 * 299 * 3 + 500)
    assert found["SchemaGen"].disk_bytes == 0
    assert next(iter(found)) == "ImageExampleGen"
    assert "Tuner" not in found


def test_a_pod_that_starts_workers_needs_next_to_none():
    found = of((*STAGED, "train.workers=2"))

    assert found["FineTuner"].disk_bytes < 2**30
    assert found["FineTuner, each worker"].disk_bytes > 150 * 2**30


def test_a_store_that_nodes_read_themselves_leaves_their_disks_alone():
    found = of(())

    assert found["FineTuner"].disk_bytes == found["Transform"].disk_bytes == 0
    assert found["HeadTrainer"].disk_bytes == 1_000_000 * 2048 * 4


def test_augmented_views_are_counted():
    plain, augmented = (
        of((*STAGED, *more))["FineTuner"].disk_bytes
        for more in ((), ("augmentation.flip=true", "augmentation.views=2"))
    )

    assert augmented / plain == pytest.approx(1 + 2 * 0.7, rel=0.01)


def test_a_search_keeps_its_vectors_in_memory():
    found = of((*STAGED, "tuner.enabled=true"))

    assert found["Tuner"].memory_bytes - found["HeadTrainer"].memory_bytes == 100_000 * 2048 * 4


def test_images_are_counted_where_they_can_be(tmp_path):
    for name in ("a/1", "a/2", "b/3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    assert sizes.count_images(config_of(COMMON, str(tmp_path))) == 3
    assert sizes.count_images(config_of(COMMON, "s3://bucket/images")) is None
    counted = (*COMMON, "cluster.num_images=7")
    assert sizes.count_images(config_of(counted, "s3://bucket/images")) == 7


@pytest.mark.parametrize(
    ("size", "words", "quantity"), [(0, "0.0 GiB", "1Gi"), (2**30 + 1, "1.1 GiB", "2Gi")]
)
def test_sizes_are_rounded_up(size, words, quantity):
    assert (sizes.in_words(size), sizes.whole_gibibytes(size)) == (words, quantity)
