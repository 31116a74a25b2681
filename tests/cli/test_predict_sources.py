"""Manifests, archives and lists: what `thaw predict` makes of them."""

import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from bright_model import save_bright_model
from PIL import Image
from typer.testing import CliRunner

from pipeline.cli.main import app

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    pytest.importorskip("tensorflow")
    folder = tmp_path_factory.mktemp("out")
    save_bright_model(folder)
    return folder


@pytest.fixture
def photos(tmp_path):
    Image.new("RGB", (8, 8), "white").save(tmp_path / "a.png")
    Image.new("RGB", (8, 8), "black").save(tmp_path / "b.png")
    return tmp_path


def ask(model: Path, *arguments: object, **options):
    return CliRunner().invoke(
        app, ["predict", *map(str, arguments), "--model", str(model)], **options
    )


def rows(done) -> list[dict]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def said_of(done, folder: Path) -> dict[str, str]:
    """Path below a folder -> the first class, or the error."""
    return {
        os.path.relpath(row["path"], folder): row["error"] or row["classes"][0][0]
        for row in rows(done)
    }


def test_manifest_with_labels_says_how_many_were_right(model, photos):
    text = "Image,Class\na.png,bright\nb.png,bright\nb2.png,dark\n" + f"{photos}/a.png,bright\n"
    (photos / "m.csv").write_text(text)

    done = ask(model, photos / "m.csv", "--format", "jsonl")

    assert [(Path(row["path"]).name, row["label"]) for row in rows(done)] == [
        ("a.png", "bright"),
        ("b.png", "bright"),
        ("b2.png", "dark"),
        ("a.png", "bright"),
    ]
    assert [row["error"] for row in rows(done)] == [
        "",
        "",
        "cannot be read: No such file or directory",
        "the manifest lists it twice",
    ]
    assert done.exit_code == 1
    assert done.stderr == "2 images classified, 2 rejected, correct: 1 of 2 (50.0%)\n"


def test_table_shows_the_label_that_a_class_is_not(model, photos, monkeypatch):
    (photos / "m.csv").write_text("path,label\na.png,dark\nb.png,dark\n")

    monkeypatch.chdir(photos)

    first, second = ask(model, "m.csv").stdout.splitlines()[1:]

    assert "bright 100.0%, not dark" in first
    assert "not" not in second


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.csv", "path\na.png\nb.png\n"),
        ("m.tsv", "path\tlabel\na.png\t\nb.png\t\n"),
        ("m.jsonl", '{"path": "a.png"}\n{"file": "b.png", "other": 3}\n'),
    ],
)
def test_manifest_needs_no_labels(model, photos, name, text):
    (photos / name).write_text(text)

    done = ask(model, photos / name, "--format", "jsonl")

    assert said_of(done, photos) == {"a.png": "bright", "b.png": "dark"}
    assert (done.exit_code, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,label\na.png,x\n", "line 1: there is no column for the path (one of path, image,"),
        ("path,label\na.png\n", "line 2: the line has 1 fields, and the header 2."),
        ("path,file\na.png,b\n", "line 1: there is more than one column for the path"),
        ("path,label\na.png,x\na.png,y\n", "a.png is 'y' here, and 'x' in line 2."),
    ],
)
def test_malformed_manifest_is_one_sentence_before_anything_is_classified(
    model, photos, text, said
):
    (photos / "m.csv").write_text(text)

    done = ask(model, photos / "a.png", photos / "m.csv")

    assert (done.exit_code, done.stdout) == (2, "")
    assert said in " ".join(done.stderr.split())


def test_addresses_in_a_manifest_are_errors_of_their_own(model, photos):
    (photos / "m.csv").write_text("path\ngs://bucket/a.png\na.png\n")

    first, second = rows(ask(model, photos / "m.csv", "--json"))

    assert first["error"] == "not a local file: download it first"
    assert second["classes"][0][0] == "bright"


def make_zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "b.png", "deep/b.png")
        archive.write(folder / "a.png", "a.png")
        archive.write(folder / "b.png", "a.png")
        archive.write(folder / "a.png", "../a.png")
        archive.writestr("notes.txt", "no image")
        archive.writestr("text.png", "no image, only text")
        archive.writestr("__MACOSX/a.png", "left by a system")
    return folder / "z.zip"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zip_is_read_in_its_order_and_nothing_is_unpacked(model, photos):
    archive = make_zip(photos)
    before = sorted(photos.rglob("*"))

    done = ask(model, archive, photos / "b.png", "--format", "jsonl")

    assert [(row["path"].removeprefix(f"{photos}/"), row["error"]) for row in rows(done)] == [
        ("z.zip/deep/b.png", ""),
        ("z.zip/a.png", ""),
        ("z.zip/a.png", "another file of this name is in the archive"),
        ("z.zip/../a.png", "its name leads out of the archive"),
        ("z.zip/text.png", "not a JPEG, PNG, GIF or BMP file"),
        ("b.png", ""),
    ]
    assert [row["classes"][0][0] for row in rows(done) if row["classes"]] == [
        "dark",
        "bright",
        "dark",
    ]
    assert sorted(photos.rglob("*")) == before


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"])
def test_tar_is_read_whatever_compresses_it(model, photos, ending):
    kinds = {".tar": "", ".tar.gz": "gz", ".tgz": "gz", ".tar.bz2": "bz2", ".tar.xz": "xz"}
    with tarfile.open(photos / f"t{ending}", f"w:{kinds[ending]}") as archive:
        archive.add(photos / "a.png", "x/a.png")
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)

    done = ask(model, photos / f"t{ending}", "--json")

    assert said_of(done, photos / f"t{ending}") == {
        "x/a.png": "bright",
        "link.png": "a link inside an archive",
    }


def test_damaged_archive_costs_neither_its_first_images_nor_other_files(model, photos):
    with tarfile.open(photos / "t.tar.gz", "w:gz") as archive:
        archive.add(photos / "a.png", "a.png")
        noise = tarfile.TarInfo("noise.png")
        noise.size = 2**20
        archive.addfile(noise, io.BytesIO(os.urandom(2**20)))
    os.truncate(photos / "t.tar.gz", 2**19)

    done = ask(model, photos / "t.tar.gz", photos / "missing.zip", photos / "b.png", "--json")

    errors = {Path(row["path"]).name: row["error"] for row in rows(done)}
    assert errors.pop("t.tar.gz").startswith(("cannot be unpacked: ", "damaged"))
    assert errors.pop("missing.zip") == "cannot be read: No such file or directory"
    assert errors.pop("b.png") == ""
    assert errors.pop("a.png") == ""
    assert done.exit_code == 1


def test_archive_that_unpacks_to_far_more_than_its_size_ends_with_a_sentence(
    model, photos, monkeypatch
):
    monkeypatch.setattr("components.image_example_gen.sources.archive._HARMLESS_BYTES", 100_000)
    with zipfile.ZipFile(photos / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(100):
            archive.writestr(f"{number}.png", bytes(15_000))

    *_, last = rows(ask(model, photos / "bomb.zip", "--json"))

    assert last["path"] == str(photos / "bomb.zip")
    assert last["error"].startswith("unpacks to more than ")


def test_empty_archive_is_an_error_of_its_own(model, photos):
    with zipfile.ZipFile(photos / "z.zip", "w") as archive:
        archive.writestr("notes.txt", "no image")

    done = ask(model, photos / "z.zip", "--json")

    assert said_of(done, photos) == {"z.zip": "holds no images"}


def test_large_member_is_refused_by_the_models_limit(model, photos):
    with zipfile.ZipFile(photos / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(2**26 + 1))

    done = ask(model, photos / "z.zip", "--json")

    assert said_of(done, photos / "z.zip") == {"a.png": "larger than 67,108,864 bytes"}


def test_dash_reads_a_list_from_standard_input(model, photos):
    os.rename(os.fsencode(photos / "b.png"), os.fsencode(photos) + b"/\xff.png")
    listed = os.fsencode(photos / "a.png") + b"\n\n" + os.fsencode(photos) + b"/\xff.png\n"

    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli.main", "predict", "-", "--json", "--model", model],
        input=listed,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=100,
    )

    assert done.stderr == b""
    assert [json.loads(line)["path"] for line in done.stdout.splitlines()] == [
        str(photos / "a.png"),
        f"{photos}/\\xff.png",
    ]


def test_empty_list_is_one_sentence(model):
    done = ask(model, "-", input=b"\n")

    assert (done.exit_code, done.stderr) == (2, "thaw: no images in standard input.\n")
