"""Where `write_examples` puts images that belong together, and what a later run keeps."""

import hashlib
import io
import os
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from components.image_example_gen.checking import Limits
from components.image_example_gen.splitting import split_of
from components.image_example_gen.summaries import read_near_duplicates
from components.image_example_gen.write_examples import write_examples
from trainer import keys
from trainer.data.card import NearDuplicateCounts, read_card
from trainer.data.rules import SplitRule

from .conftest import RULE, SPLITS
from .test_near_duplicates import cut, picture
from .test_write_examples import DOG, GOOD, read, refusal, values, write


def near_copies() -> dict[str, bytes]:
    """Twelve cuts of one picture, in two classes."""
    drawn = picture(7)
    files = {}
    for number in range(12):
        buffer = io.BytesIO()
        cut(drawn, number % 4 * 2, number // 4 * 3).save(buffer, "PNG")
        files[f"{'cat' if number < 6 else 'dog'}/near {number:02d}.png"] = buffer.getvalue()
    return files


def splits_by_path(uri: Path) -> dict[str, str]:
    return {
        Path(values(example)[keys.PATH].decode()).name: split
        for split in SPLITS
        for example in read(uri, split)
    }


def groups_by_path(uri: Path) -> dict[str, str]:
    found = (values(example) for split in SPLITS for example in read(uri, split))
    return {Path(one[keys.PATH].decode()).name: one[keys.GROUP].decode() for one in found}


def near_names() -> set[str]:
    return {Path(name).name for name in near_copies()}


def test_near_copies_share_a_split_and_are_listed_in_whatever_order_they_are_read(
    make_folder, tmp_path
):
    limits = Limits(max_pixels=100_000, max_file_bytes=200_000)
    folder = make_folder({**GOOD, **near_copies()})
    found = []
    for workers in (1, 3):
        options = PipelineOptions(direct_num_workers=workers, direct_running_mode="multi_threading")
        uri = tmp_path / f"{workers} workers"
        card = write_examples(beam.Pipeline(options=options), str(folder), str(uri), RULE, limits)
        splits = splits_by_path(uri)
        near = {split for name, split in splits.items() if name.startswith("near")}
        assert len(near) == 1
        assert len(splits) == len(GOOD) + 12
        groups = groups_by_path(uri)
        assert len({groups[name] for name in near_names()}) == 1
        assert {groups[name] != "" for name in near_names()} == {True}
        assert {groups[name] for name in groups.keys() - near_names()} == {""}
        found.append((splits, card, list(read_near_duplicates(str(uri)))))

    assert found[0] == found[1]
    assert card.near_duplicates == NearDuplicateCounts(1, 12, 12, conflicting=1)
    (group,) = found[0][2]
    assert [os.path.relpath(path, folder) for path in group.paths] == sorted(near_copies())


def test_new_images_leave_the_earlier_ones_where_they_were(make_folder, tmp_path):
    """TFX numbers the folders of one output. The group's smallest hash is another each time."""
    limits = Limits(max_pixels=100_000, max_file_bytes=200_000)
    files = near_copies()
    by_hash = sorted(files, key=lambda name: hashlib.sha256(files[name]).hexdigest(), reverse=True)[
        :4
    ]
    folder = make_folder(GOOD)
    placed: dict[str, str] = {}
    for number, name in enumerate(by_hash, 1):
        (folder / name).write_bytes(files[name])
        uri = tmp_path / "examples" / str(number)
        card = write_examples(
            beam.Pipeline(runner="DirectRunner"), str(folder), str(uri), RULE, limits
        )
        then = splits_by_path(uri)
        assert {path: then[path] for path in placed} == placed
        assert card.splits_kept_from == (str(uri.parent / str(number - 1)) if placed else "")
        placed = then

    assert len({placed[name.split("/")[1]] for name in by_hash}) == 1


def test_another_rule_forgets_where_images_were(make_folder, tmp_path):
    folder = make_folder(GOOD)
    write(folder, tmp_path / "1")

    write(folder, tmp_path / "2", SplitRule({"train": 1, "val": 1, "test": 1}))

    assert read_card(str(tmp_path / "2")).splits_kept_from == ""


def test_small_classes_are_named_folded_or_refused(make_folder, tmp_path):
    few = {
        f"{label}/1.jpg": next(
            content
            for content in DOG
            if split_of(hashlib.sha256(content).hexdigest(), SPLITS) == split
        )
        for label, split in [("ape", "train"), ("bee", "val"), ("yak", "test")]
    }
    dogs = {name: content for name, content in GOOD.items() if content not in few.values()}
    folder = make_folder({**dogs, **few})

    message = refusal(folder, replace(RULE, small_classes="refuse"))
    assert message.startswith(
        "IMAGES: too few images to have some in every split: ape (1 image), bee (1 image), "
        "yak (1 image).\n"
    )
    assert "data.small_classes=fold" in message
    write(folder, tmp_path / "folded", replace(RULE, small_classes="fold", folded_class="rest"))
    card = read_card(str(tmp_path / "folded"))
    assert card.labels == ["cat", "dog", "rest"]
    assert {split: counts["rest"] for split, counts in card.counts.items()} == dict.fromkeys(
        SPLITS, 1
    )
    assert card.small_classes == {"ape": 1, "bee": 1, "yak": 1}
