"""The report of a hand-made run: what it says, and that it stands alone."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline.report.page import build_report
from pipeline.report.run_record import ReportError

from .hand_made import EXPORT_REASON, a_run, rename_class, write_run


class Page(HTMLParser):
    """What a reader sees and what a browser would fetch."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self._words: list[str] = []
        self.feed(self.source)
        self.text = " ".join(" ".join(self._words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.fetched += [
            value
            for name, value in attributes
            if name in ("src", "href", "xlink:href", "srcset", "data") and value
        ]

    def handle_data(self, data):
        if self.lasttag != "style":
            self._words.append(data)


@pytest.fixture
def page_of(tmp_path):
    return lambda run: Page(build_report(write_run(tmp_path, run)))


@pytest.mark.parametrize(
    ("blessed", "pushed", "headline"),
    [
        (True, True, "✓ Blessed and pushed"),
        (True, False, "✓ Blessed, not pushed"),
        (False, False, "✗ Not blessed: nothing was pushed"),
    ],
)
def test_verdict_stands_first_with_its_reasons(page_of, blessed, pushed, headline):
    run = a_run()
    run["verdict"].update(blessed=blessed, pushed=pushed, reasons=["It is so.", "And so."])
    run["model"] = run["model"] if pushed else None

    text = page_of(run).text

    sentence = run["verdict"]["sentence"]
    assert f"{headline} {sentence}" in text
    assert "It is so. And so." in text
    assert text.index(sentence) < text.index("It is so.")
    assert ("/out/serving/birds/7" in text) == pushed
    assert text.count("lessed and pushed") == pushed


def test_figures_of_the_verdict_are_those_of_the_run(page_of):
    text = page_of(a_run()).text

    assert "70.0% baseline, head only" in text
    assert "85.0% candidate, fine-tuned" in text
    assert "+15.0 points gain on 20 test images" in text
    assert "by the candidate only: 4; by the baseline only: 1" in text
    assert "18 groups, since some belong together" in text
    assert "The fine-tuned model is better than its baseline" in text
    assert "20 test images show a gain of 30.0 points" in text
    assert "4 March 2026, 05:16 UTC" in text


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (
            "random",
            "Backbone: mobilenet_v2, with random weights, calibrated on the training images",
        ),
        ("imagenet", "Backbone: mobilenet_v2, pre-trained on ImageNet."),
        ("birds.h5", "Backbone: mobilenet_v2, with the weights of birds.h5."),
    ],
)
def test_weights_that_the_run_began_with_are_named(page_of, weights, said):
    run = a_run()
    run["config"]["backbone"] = {"name": "mobilenet_v2", "weights": weights}

    assert said in page_of(run).text


def test_by_macro_recall_the_figures_are_mean_recalls(page_of):
    run = a_run()
    run["config"]["gate"] = {"metric": "macro_recall"}

    text = page_of(run).text

    assert "68.8% baseline, head only" in text
    assert "87.5% candidate, fine-tuned" in text
    assert "+15.0 points gain in mean recall on 20 test images" in text


def test_page_fetches_nothing(page_of, tmp_path):
    page = page_of(a_run())

    thumbnail = base64.b64encode((tmp_path / "samples" / "1.jpg").read_bytes()).decode()
    assert f"data:image/jpeg;base64,{thumbnail}" in page.fetched
    assert [link for link in page.fetched if not link.startswith(("data:", "#"))] == []
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert not re.search(r"@import|url\((?!['\"]?#)", page.source)


def test_learning_curves_are_drawn_in_the_page(page_of):
    run = a_run()
    del run["certainty"]

    assert page_of(run).tags.count("svg") == 2


MIXING = {"shares": [0.0, 0.5, 1.0], "val_losses": [0.9, 0.7, None]}
SOLVED = {"strength": 0.03, "start_strength": 0.003, "val_losses": {"0.03": 0.5}}


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (0.0, "So the candidate is the model of fit 1."),
        (0.5, "weights are 50.0% those from after fit 2"),
        (1.0, "were better on the validation images than any mixture"),
    ],
)
def test_fast_schedule_is_explained_and_its_mixtures_are_drawn(page_of, chosen, said):
    run = a_run()
    run["fits"]["head"] |= {"solved": SOLVED}
    run["fits"]["fine_tune"] |= {"mixing": {**MIXING, "chosen": chosen}}

    page = page_of(run)

    assert said in page.text
    assert "solved by L-BFGS as a logistic regression on the pooled features (C = 0.03" in page.text
    drawn = "Validation loss by the share of the weights from after fit 2"
    assert drawn in page.source
    assert drawn not in page_of(a_run()).source


def test_class_name_is_text_and_never_markup(page_of):
    name = "<b onclick=alert(1)>&\"'"

    page = page_of(rename_class(a_run(), "ant", name))

    assert "b" not in page.tags
    assert f"{name} 61 13 12" in page.text


def test_path_and_reason_of_a_rejected_file_are_text_too(page_of):
    run = a_run()
    run["data"]["set_aside"]["files"] = [{"path": "/<i>/1.jpg", "reason": "<u>odd</u>"}]

    page = page_of(run)

    assert not {"i", "u"} & set(page.tags)
    assert "/<i>/1.jpg" in page.text
    assert "<u>odd</u>" in page.text


def test_rejected_files_are_counted_by_reason(page_of):
    text = page_of(a_run()).text

    assert "3 files were rejected 2 × the file is empty 1 × the image data is damaged" in text
    assert "/photos/ant/broken.jpg the image data is damaged" in text


def test_what_ingestion_found_is_said_in_sentences(page_of):
    text = page_of(a_run()).text

    assert "120 of 146 images came from the trunk store: only 26 had to pass the trunk." in text
    assert "Changed since the run before label: the share of bees has grown" in text
    assert "Classes without images in every split bee (60):" in text
    assert "7 images are near-duplicates They form 3 groups, of 3 images at most" in text
    assert "1 of them stands in several classes" in text
    assert "/photos/ant/1.jpg ant train /photos/bee/1 small.jpg bee train" in text


def test_folded_classes_are_said_and_without_findings_nothing_is(page_of):
    run = a_run()
    run["data"] |= {"folded_into": "other"}
    assert "they are folded into the class other ." in page_of(run).text

    run["data"] |= {"small_classes": {}, "drift": [], "from_store": 0}
    run["data"]["near_duplicates"] = {}
    text = page_of(run).text
    for said in ("near-duplicates", "trunk store", "Changed since", "in every split"):
        assert said not in text


def test_class_without_images_in_a_split_counts_0(page_of):
    assert "bee 52 0 8" in page_of(a_run()).text


def test_metrics_that_are_no_numbers_are_dashes(page_of):
    run = a_run()
    run["metrics"]["candidate"]["loss"] = None
    run["fits"]["fine_tune"]["history"]["val_loss"] = [None, 0.4]

    assert "loss 0.500 — —" in page_of(run).text


def test_sample_whose_thumbnail_is_gone_is_told_without_it(tmp_path):
    write_run(tmp_path, a_run())
    for picture in (tmp_path / "samples").iterdir():
        picture.unlink()

    page = Page(build_report(tmp_path))

    assert "img" not in page.tags
    assert "✗ baseline: bee 60.0%" in page.text
    assert "✓ candidate: ant 90.0%" in page.text


def test_hundred_classes_get_pictures_and_a_list_in_place_of_tables(page_of):
    run = a_run()
    names = [f"class {number}" for number in range(100)]
    matrix = [[0] * 100 for _ in names]
    matrix[7][8] = 3
    run["data"]["classes"] = names
    run["metrics"]["candidate"]["confusion"] = run["metrics"]["baseline"]["confusion"] = matrix

    page = page_of(run)

    assert "class 7 class 8 3" in page.text
    assert "predicted classes in columns" not in page.text
    assert 'aria-label="Confusion matrix of the candidate, 100 classes"' in page.source
    assert len(page.source) < 1_000_000


def test_heat_map_stands_below_its_picture(page_of, tmp_path):
    page = page_of(a_run())

    picture = base64.b64encode((tmp_path / "samples" / "1-candidate.jpg").read_bytes()).decode()
    assert f"data:image/jpeg;base64,{picture}" in page.fetched
    assert 'alt="where the candidate sees ant"' in page.source


def test_how_sure_the_models_are_is_said_and_drawn(page_of):
    page = page_of(a_run())

    assert "calibration error of the probabilities 15.0% 15.0%" in page.text
    assert "of the calibrated probabilities — 4.0%" in page.text
    assert (
        "at most 2.0% of the validation images are marked; of the test images 10.0% are"
        in page.text
    )
    assert "right on 87.5% of the others, and on 50.0% of those" in page.text
    assert "bee 0.600" in page.text
    assert page.tags.count("svg") == 4


def test_exports_are_a_table_and_what_was_not_pushed_says_why(page_of):
    text = page_of(a_run()).text

    assert "SavedModel ✓ 85.0% — — 16.8 MB 11.9 ms" in text
    assert "tflite ✓ 85.0% 1 (1 tie) 0.01 7.1 MB 4.1 ms" in text
    assert "onnx ✗ 75.0% 3 (1 tie) 0.01 7.1 MB 4.1 ms" in text
    assert f"The export onnx was not pushed. {EXPORT_REASON}" in text
    assert "tflite was not pushed" not in text
    assert "/out/exports/birds/7" in text


def test_exports_that_are_no_numbers_or_none_at_all_are_said_so(page_of):
    run = a_run()
    run["exports"]["path"] = ""
    run["exports"]["exports"][1]["max_difference"] = None

    text = page_of(run).text

    assert "onnx ✗ 75.0% 3 (1 tie) not numbers" in text
    assert "Those that agree" not in text


def test_formats_that_were_asked_for_in_vain_are_said_so(page_of):
    run = {**a_run(), "exports": None, "config": {"export": {"formats": ["onnx"]}}}

    assert "No model was pushed, so none was exported." in page_of(run).text


def test_run_without_exports_has_no_section_of_them(page_of):
    page = page_of({**a_run(), "exports": None})

    assert 'id="exports"' not in page.source


def test_recall_of_a_class_has_its_interval(page_of):
    assert "bee 8 62.5% 100.0% +37.5 points +2 to +60" in page_of(a_run()).text


def test_labels_to_check_are_shown(page_of):
    text = page_of(a_run()).text

    assert "labelled ant both say bee, 97.0% ant/9.jpg" in text


def test_sections_can_be_reached_by_links(page_of):
    page = page_of(a_run())

    targets = {link[1:] for link in page.fetched if link.startswith("#")}
    assert {"steps", "metrics", "certainty", "data"} <= targets
    assert all(f'id="{target}"' in page.source for target in targets)


def test_outputs_are_listed_by_their_ids(page_of):
    assert "FineTuner model 1 /out/artifacts/FineTuner/model/1" in page_of(a_run()).text


def test_missing_run_is_named_with_the_command_that_makes_one(tmp_path):
    with pytest.raises(ReportError) as caught:
        build_report(tmp_path)

    assert str(caught.value) == (
        f"{tmp_path}/run.json: cannot be read: No such file or directory. "
        f"`thaw run --output {tmp_path}` writes it."
    )


@pytest.mark.parametrize("content", [b'{"schema": 1, "na', b"", b"\xff\xfe"])
def test_damaged_run_is_named_and_the_older_report_stays(tmp_path, content):
    (tmp_path / "report.html").write_text("older")
    (tmp_path / "run.json").write_bytes(content)

    with pytest.raises(ReportError, match=r"run\.json: is damaged: .*`thaw run` writes it again"):
        build_report(tmp_path)

    assert (tmp_path / "report.html").read_text() == "older"


@pytest.mark.parametrize("content", ["[]", "{}", '{"schema": 0}', "null"])
def test_run_of_another_version_is_refused(tmp_path, content):
    (tmp_path / "run.json").write_text(content)

    with pytest.raises(ReportError, match="was not written by this version of thaw"):
        build_report(tmp_path)


@pytest.mark.parametrize("missing", ["fits", "verdict", "nodes"])
def test_run_without_one_of_its_parts_is_damaged_and_the_older_report_stays(tmp_path, missing):
    write_run(tmp_path, {key: value for key, value in a_run().items() if key != missing})
    (tmp_path / "report.html").write_text("older")

    with pytest.raises(ReportError) as caught:
        build_report(tmp_path)

    assert str(caught.value).startswith(f"{tmp_path}/run.json: is damaged: ")
    assert str(caught.value).endswith(". `thaw run` writes it again.")
    assert f"'{missing}'" in str(caught.value)
    assert (tmp_path / "report.html").read_text() == "older"


@pytest.mark.parametrize(
    ("part", "lacking"),
    [("fits", ("head", "history")), ("metrics", ("baseline", "accuracy")), ("data", ("classes",))],
)
def test_run_that_lacks_something_deeper_is_damaged_too(tmp_path, part, lacking):
    run = a_run()
    *path, last = (part, *lacking)
    inner = run
    for key in path:
        inner = inner[key]
    del inner[last]
    write_run(tmp_path, run)

    with pytest.raises(ReportError, match=r"run\.json: is damaged: .*`thaw run` writes it again"):
        build_report(tmp_path)


def test_schema_alone_is_no_run(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"schema": a_run()["schema"]}))

    with pytest.raises(ReportError, match=r"run\.json: is damaged: .*`thaw run` writes it again"):
        build_report(tmp_path)
