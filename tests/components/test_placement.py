"""Where images go when all of them are known: facts that hold for every set of images."""

import hashlib
from collections import Counter, defaultdict
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from components.image_example_gen.grouping import Sketched
from components.image_example_gen.placement import place, targets_of
from components.image_example_gen.splitting import ImageFile, split_for
from trainer.data.rules import SplitRule

from .conftest import RULE, SPLITS
from .test_near_duplicates import cut, picture, sketch

STRATIFIED = replace(RULE, stratify=True)


def image(content: int, label: str = "ant", group: str = "", splits: tuple[str, ...] = ()):
    sha256 = hashlib.sha256(str(content).encode()).hexdigest()
    file = ImageFile(sha256, f"{label}/{content}.png", label, 8, 8, splits=splits, group=group)
    return Sketched(file)


parts = st.fixed_dictionaries({name: st.integers(1, 100) for name in SPLITS})
contents = st.lists(st.integers(0, 10_000), unique=True, max_size=60)
groups = st.sampled_from(["", "", "", "anna", "ben", "carla"])
images = st.lists(
    st.builds(image, st.integers(0, 10_000), st.sampled_from(["ant", "bee"]), groups),
    unique_by=lambda one: one.image.sha256,
    max_size=60,
)
rules = st.builds(SplitRule, parts, stratify=st.booleans())


@given(images=images, rule=rules, data=st.data())
def test_every_image_has_one_split_whatever_the_order(images, rule, data):
    placed = place(images, rule)

    assert set(placed.splits) == {one.image.sha256 for one in images}
    assert set(placed.splits.values()) <= set(SPLITS)
    assert place(data.draw(st.permutations(images)), rule).splits == placed.splits


@given(images=images, rule=rules)
def test_a_group_of_the_source_is_never_divided(images, rule):
    splits = place(images, rule).splits

    found = defaultdict(set)
    for one in images:
        found[one.image.group].add(splits[one.image.sha256])
    assert all(len(places) == 1 for group, places in found.items() if group)


@given(before=images, added=images, rule=rules)
def test_new_images_move_no_other(before, added, rule):
    known = {one.image.sha256 for one in before}
    first = place(before, rule).splits

    added = [one for one in added if one.image.sha256 not in known]
    then = place([*before, *added], rule, earlier=first).splits

    assert {sha256: then[sha256] for sha256 in known} == first


@given(before=images, added=contents, parts=parts)
def test_without_groups_nothing_moves_even_if_the_earlier_run_is_forgotten(before, added, parts):
    alone = [Sketched(replace(one.image, group="")) for one in before]
    known = {one.image.sha256 for one in alone}
    new = [one for one in map(image, added) if one.image.sha256 not in known]

    first = place(alone, SplitRule(parts)).splits
    then = place([*alone, *new], SplitRule(parts)).splits

    assert {sha256: then[sha256] for sha256 in known} == first


@given(images=images, parts=parts)
def test_only_what_is_not_where_its_content_puts_it_is_handed_on(images, parts):
    placed = place(images, SplitRule(parts))

    for one in images:
        split = placed.moved.get(one.image.sha256) or split_for(one.image, parts)
        assert split == placed.splits[one.image.sha256]


def near_copies(label: str, other: str) -> list[Sketched]:
    """Twelve cuts of one picture, in two classes."""
    drawn = picture(7)
    return [
        replace(image(number, label if number < 6 else other), sketch=sketch(cut(drawn, left, top)))
        for number, (left, top) in enumerate((x, y) for x in (0, 3, 6, 8) for y in (0, 3, 6))
    ]


def test_near_copies_stand_in_one_split_and_are_listed_with_their_classes():
    copies = near_copies("ant", "bee")
    others = [replace(image(100 + n, "bee"), sketch=sketch(picture(100 + n))) for n in range(30)]

    placed = place([*copies, *others], RULE)

    assert len({placed.splits[one.image.sha256] for one in copies}) == 1
    (listed,) = placed.near_duplicates
    assert sorted(listed.paths) == sorted(one.image.path for one in copies)
    assert Counter(listed.labels) == {"ant": 6, "bee": 6}
    assert listed.is_conflicting
    assert not listed.is_divided
    ignored = place([*copies, *others], replace(RULE, near_duplicates="ignore"))
    assert ignored.near_duplicates == []
    assert len({ignored.splits[one.image.sha256] for one in copies}) > 1


def test_a_group_that_a_new_image_joins_stays_where_its_oldest_member_was():
    copies = near_copies("ant", "ant")
    for oldest in copies:
        first = place([oldest], RULE).splits

        then = place(copies, RULE, earlier=first).splits

        assert set(then.values()) == set(first.values())


def test_a_new_image_that_joins_two_splits_is_trained_on_and_the_leak_is_listed():
    one, other, new = near_copies("ant", "ant")[:3]
    earlier = {one.image.sha256: "test", other.image.sha256: "val"}

    placed = place([one, other, new], RULE, earlier)

    assert placed.splits == {**earlier, new.image.sha256: "train"}
    assert placed.near_duplicates[0].is_divided


def test_splits_of_the_source_are_kept_though_they_divide_a_group():
    trained, tested, free = (
        replace(one, image=replace(one.image, splits=splits))
        for one, splits in zip(
            near_copies("ant", "ant")[:3], [("train",), ("test",), ()], strict=True
        )
    )

    placed = place([trained, tested, free], RULE)

    assert placed.splits[trained.image.sha256] == "train"
    assert placed.splits[tested.image.sha256] == "test"
    assert placed.near_duplicates[0].is_divided


@given(counts=st.lists(st.integers(1, 40), min_size=1, max_size=4), parts=parts)
def test_stratified_classes_are_within_one_image_of_their_parts(counts, parts):
    images = [
        image(1000 * place + number, f"class {place}")
        for place, count in enumerate(counts)
        for number in range(count)
    ]

    splits = place(images, SplitRule(parts, stratify=True)).splits

    found: dict[str, Counter[str]] = defaultdict(Counter)
    for one in images:
        found[one.image.label][splits[one.image.sha256]] += 1
    for label, count in enumerate(counts):
        assert found[f"class {label}"] == Counter(targets_of(count, count, parts))


@given(total=st.integers(3, 300), parts=parts)
def test_targets_add_up_and_leave_no_split_empty(total, parts):
    targets = targets_of(total, total, parts)

    assert sum(targets.values()) == total
    assert min(targets.values()) >= 1
    for name, part in parts.items():
        assert targets[name] <= max(1, total * part / sum(parts.values()) + 1)


def test_classes_that_a_split_lacks_are_counted_and_folded_where_that_is_asked():
    images = [image(number, "ant") for number in range(60)] + [image(99, "bee")]

    assert place(images, RULE).small_classes == {"bee": 1}
    assert place(images, RULE).folded == {}
    assert place(images, replace(RULE, small_classes="fold")).folded == {"bee": "other"}
    three = [image(100 + number, "bee") for number in range(3)]
    assert place([*images[:60], *three], STRATIFIED).small_classes == {}
