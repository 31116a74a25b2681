"""Which file goes where: facts that hold for every set of files."""

import hashlib
from collections import Counter, defaultdict
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from components.image_example_gen.splitting import (
    ImageFile,
    fingerprint,
    group_copies,
    shard_of,
    split_for,
    split_of,
)

from .conftest import SPLITS

SEVERAL_CLASSES = "the same image stands in several classes"


def image(content: int, label: str, name: str) -> ImageFile:
    sha256 = hashlib.sha256(str(content).encode()).hexdigest()
    return ImageFile(sha256, f"{label}/{name}", label, 8, 8)


parts = st.fixed_dictionaries({name: st.integers(1, 100) for name in SPLITS})
# Few contents and classes, so that the same bytes often come back.
files = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(["ant", "bee"]), st.integers(0, 30)),
    unique_by=lambda file: file[1:],
    max_size=20,
).map(lambda found: [image(content, label, f"{name}.png") for content, label, name in found])
distinct_images = st.lists(
    st.tuples(st.integers(0, 1000), st.sampled_from(["ant", "bee"])), unique=True, max_size=20
)


@given(content=st.integers(), names=st.lists(st.text(), min_size=2), splits=parts)
def test_same_bytes_never_stand_in_two_splits(content, names, splits):
    copies = [image(content, "ant", name) for name in names]

    assert len({split_for(copy, splits) for copy in copies}) == 1
    assert len({shard_of(copy, num_shards=7) for copy in copies}) == 1


@given(files=files, splits=parts, num_shards=st.integers(1, 9))
def test_every_file_gets_one_of_the_splits_and_a_shard_that_exists(files, splits, num_shards):
    for file in files:
        assert split_for(file, splits) in splits
        assert 0 <= shard_of(file, num_shards) < num_shards


@given(
    contents=st.lists(st.integers(), min_size=1),
    group=st.text(min_size=1),
    splits=parts,
    allowed=st.sets(st.sampled_from(list(SPLITS))),
)
def test_a_group_is_in_one_split_and_in_one_that_its_source_allows(
    contents, group, splits, allowed
):
    images = [
        replace(image(content, "ant", "1.png"), group=group, splits=tuple(allowed))
        for content in contents
    ]

    found = {split_for(one, splits) for one in images}

    assert len(found) == 1
    assert found <= (allowed or set(SPLITS))


@given(splits=parts, first=st.integers(0, 10**9))
def test_shares_are_near_the_ratios(splits, first):
    contents = range(first, first + 2000)

    found = Counter(split_of(image(content, "ant", "1.png").sha256, splits) for content in contents)

    for name, part in splits.items():
        # Six standard deviations of a share of 2,000 draws are 0.067.
        assert abs(found[name] / 2000 - part / sum(splits.values())) < 0.067


def test_split_without_parts_gets_nothing():
    hashes = [image(content, "ant", "1.png").sha256 for content in range(300)]

    assert {split_of(sha256, {"train": 1, "val": 0, "test": 1}) for sha256 in hashes} == {
        "train",
        "test",
    }


def test_shards_of_a_split_fill_evenly():
    images = [image(content, "ant", "1.png") for content in range(4000)]

    found = Counter((split_for(file, SPLITS), shard_of(file, 4)) for file in images)

    for split, part in SPLITS.items():
        sizes = [found[split, shard] for shard in range(4)]
        expected = 4000 * part / 100 / 4
        assert max(abs(size - expected) for size in sizes) < 6 * expected**0.5, split


def test_split_of_a_file_is_the_same_in_every_version():
    """Another assignment would carry images from training into the test of later runs."""
    hashes = [hashlib.sha256(bytes([number])).hexdigest() for number in range(12)]

    assert "".join(split_of(sha256, SPLITS)[:2] for sha256 in hashes) == "trvatrtrtrtrtrvatrtrtrte"


@given(files=files)
def test_every_file_is_in_a_group_or_rejected_once(files):
    groups, rejected = group_copies(sorted(files))

    paths = [file.path for group in groups for file in group] + [file.path for file, _ in rejected]
    assert sorted(paths) == sorted(file.path for file in files)


@given(files=files)
def test_each_content_of_one_class_has_one_group_and_of_several_none(files):
    labels_of = defaultdict(set)
    for file in files:
        labels_of[file.sha256].add(file.label)

    groups, _ = group_copies(sorted(files))

    assert [len({file.sha256 for file in group}) for group in groups] == [1] * len(groups)
    assert Counter(group[0].sha256 for group in groups) == {
        sha256: 1 for sha256, labels in labels_of.items() if len(labels) == 1
    }


def test_copies_within_a_class_stand_by_path():
    first, second, third = (image(1, "ant", f"{name}.png") for name in "abc")

    assert group_copies(sorted([third, first, second])) == ([[first, second, third]], [])


def test_image_in_two_classes_is_rejected_wherever_it_stands():
    twice = [image(1, "ant", "a.png"), image(1, "ant", "b.png"), image(1, "bee", "a.png")]
    other = image(2, "bee", "other.png")

    groups, rejected = group_copies(sorted([*twice, other]))

    assert groups == [[other]]
    assert sorted(rejected) == [(file, SEVERAL_CLASSES) for file in sorted(twice)]


def test_a_copy_of_a_test_image_is_never_trained_on():
    trained, tested, valued = (
        replace(image(1, "ant", f"{name}.png"), splits=splits)
        for name, splits in zip("abc", [("train",), ("test",), ("val",)], strict=True)
    )

    assert group_copies(sorted([trained, tested, valued])) == ([[tested, valued, trained]], [])


@given(pairs=distinct_images, data=st.data())
def test_fingerprint_depends_on_neither_order_nor_names(pairs, data):
    shuffled = data.draw(st.permutations(pairs))

    one = fingerprint(image(content, label, "1.png") for content, label in pairs)
    other = fingerprint(image(content, label, "other.jpg") for content, label in shuffled)

    assert one == other
    assert len(one) == 64


@given(pairs=distinct_images.filter(bool))
def test_fingerprint_changes_with_a_label_a_content_or_a_file_less(pairs):
    images = [image(content, label, "1.png") for content, label in pairs]
    (content, label), rest = pairs[0], images[1:]

    relabelled = [image(content, f"not {label}", "1.png"), *rest]
    changed = [image(content + 10_000, label, "1.png"), *rest]

    assert len({fingerprint(found) for found in (images, relabelled, changed, rest)}) == 4


@given(pairs=distinct_images, at=st.integers(0, 20))
def test_fingerprints_of_two_parts_combine_to_that_of_the_whole(pairs, at):
    images = [image(content, label, "1.png") for content, label in pairs]

    halves = int(fingerprint(images[:at]), 16) ^ int(fingerprint(images[at:]), 16)

    assert f"{halves:064x}" == fingerprint(images)
