"""The sample images."""

import pytest
from PIL import Image

from pipeline.cli.demo_images import SIDE_PX, SamplesError, write_sample_images


def contents(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.glob("*/*"))}


def test_ten_class_folders_of_png_files(tmp_path):
    assert write_sample_images(tmp_path / "s", 3) == 30

    assert sorted(p.name for p in (tmp_path / "s").iterdir() if p.is_dir()) == list("0123456789")
    with Image.open(tmp_path / "s" / "7" / "0002.png") as image:
        assert (image.format, image.size) == ("PNG", (SIDE_PX, SIDE_PX))
        assert image.getextrema()[0] < image.getextrema()[1]


def test_all_of_them_by_default(tmp_path):
    assert write_sample_images(tmp_path) == 1797


def test_same_bytes_every_time_and_writing_again_replaces(tmp_path):
    write_sample_images(tmp_path / "a", 5)
    write_sample_images(tmp_path / "a", 2)
    write_sample_images(tmp_path / "b", 2)

    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert len(contents(tmp_path / "a")) == 20


def test_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")

    with pytest.raises(SamplesError, match="not empty"):
        write_sample_images(tmp_path, 2)

    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
