"""Which test images the report shows, and how small."""

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.report.thumbnails import choose, write_samples
from trainer.data.predictions import Choice, Row

LABELS = ["ant", "bee"]
MOST = 24


def row(identity: str, baseline: int, candidate: int, path: str = "", label: str = "ant") -> Row:
    return Row(identity, path, label, Choice(baseline, 0.5), Choice(candidate, 0.75))


def disagreeing(count: int) -> list[Row]:
    return [row(f"disagree {number:03d}", 1, 0) for number in range(count)]


def wrong(count: int) -> list[Row]:
    return [row(f"wrong {number:03d}", 1, 1) for number in range(count)]


def right(count: int) -> list[Row]:
    return [row(f"right {number:03d}", 0, 0) for number in range(count)]


def kinds(rows: list[Row]) -> list[str]:
    return [found.id.split()[0] for found in rows]


def test_a_third_each_of_disagreements_mistakes_and_others():
    found = choose([*right(50), *wrong(50), *disagreeing(50)], LABELS)

    assert kinds(found) == ["disagree"] * 8 + ["wrong"] * 8 + ["right"] * 8


def test_few_of_one_kind_leave_room_for_others():
    found = choose([*right(50), *wrong(2), *disagreeing(9)], LABELS)

    assert kinds(found) == ["disagree"] * 8 + ["wrong"] * 2 + ["right"] * 8 + [
        "disagree",
        *["right"] * 5,
    ]


rows = st.lists(
    st.tuples(st.integers(0, 999), st.integers(0, 1), st.integers(0, 1)),
    unique_by=lambda found: found[0],
    max_size=60,
).map(lambda found: [row(str(identity), *choices) for identity, *choices in found])


@given(rows=rows, data=st.data())
def test_choice_is_as_many_as_there_are_each_once_in_whatever_order_they_come(rows, data):
    shuffled = data.draw(st.permutations(rows))

    found = choose(rows, LABELS)

    assert choose(shuffled, LABELS) == found
    assert len({sample.id for sample in found}) == len(found) == min(MOST, len(rows))


def test_thumbnails_are_small_jpegs_of_the_images_that_are_still_there(tmp_path):
    Image.new("RGBA", (400, 200), (255, 0, 0, 255)).save(tmp_path / "large.png")
    (tmp_path / "text.png").write_text("text")
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "old.jpg").touch()
    rows = [
        row("1", 0, 1, str(tmp_path / "large.png")),
        row("2", 0, 1, str(tmp_path / "gone.png")),
        row("3", 0, 1, str(tmp_path / "text.png")),
    ]

    (shown,) = write_samples(rows, LABELS, tmp_path)

    sample = shown.model_dump(by_alias=True)

    assert [path.name for path in (tmp_path / "samples").iterdir()] == [
        sample["thumbnail"].removeprefix("samples/")
    ]
    with Image.open(tmp_path / sample["thumbnail"]) as image:
        assert (image.format, image.size) == ("JPEG", (160, 80))
        assert image.getpixel((80, 40))[0] > 240
    assert sample["path"] == str(tmp_path / "large.png")
    assert sample["label"] == "ant"
    assert sample["baseline"] == {"class": "ant", "probability": 0.5}
    assert sample["candidate"] == {"class": "bee", "probability": 0.75}
