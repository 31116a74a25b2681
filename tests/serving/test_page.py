"""The page at `/`, in a real browser that asks a real server."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from .page_browser import NAMES, Tab, executable, shown_bars, tab_of
from .page_model import HOSTILE, LABELS, export_with_papers, picture, unknown_picture
from .servers import Server, serving

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]

GONE = "The server does not answer. It may have been stopped."


@pytest.fixture(scope="module")
def output(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    export_with_papers(folder)
    return folder


@pytest.fixture(scope="module")
def versions(output) -> Path:
    return output / "serving" / "birds"


@pytest.fixture(scope="module")
def server(versions) -> Iterator[Server]:
    with serving(versions) as running:
        yield running


@pytest.fixture(scope="module")
def strict_server(versions) -> Iterator[Server]:
    with serving(versions, token="s3cret", max_body_bytes=2**20) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = executable()
    if not path:
        pytest.skip(f"needs a browser: one of {', '.join(NAMES)}")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])


@pytest.fixture
def open_tab(browser) -> Callable[..., AbstractContextManager[Tab]]:
    return partial(tab_of, browser)


@pytest.fixture
def tab(server, open_tab) -> Iterator[Tab]:
    with open_tab(server) as opened:
        yield opened


def test_several_images_are_answered_as_the_api_answers_them(server, tab):
    contents = {"a_png": picture("PNG", 1), "b_jpg": picture("JPEG", 2), "c_webp": picture("WEBP")}

    tab.choose(**contents)
    tab.wait_for_answers(3)

    assert tab.page.get_by_role("heading", level=3).all_inner_texts() == [
        "a.png",
        "b.jpg",
        "c.webp",
    ]
    assert tab.page.get_by_role("status").inner_text() == "3 images"
    for name, content in contents.items():
        answer = server.answer(content)
        pairs = zip(LABELS, answer["calibrated_probabilities"], strict=True)
        ranked = sorted(pairs, key=lambda pair: -pair[1])
        *bars, others = shown_bars(tab.card(name.replace("_", ".")))
        assert bars == [(label, pytest.approx(value, abs=1e-5)) for label, value in ranked[:5]]
        assert others[0] == "2 other classes"
        assert sum(value for _, value in [*bars, others]) == pytest.approx(1, abs=1e-5)
    expect(tab.card("a.png").get_by_text("Calibrated probabilities")).to_be_visible()


def test_page_tells_version_verdict_accuracy_and_links_the_papers(tab):
    expect(tab.page.get_by_role("heading", level=1)).to_have_text("m")
    facts = tab.page.locator("#facts > li").all_inner_texts()

    assert facts == [
        "Version 1",
        "7 classes",
        "trained on 70 images",
        "accuracy 81.3% on 1,234 test images",
        "pushed 2 January 2026",
    ]
    verdict = "Better than its baseline, <b>beyond chance</b>."
    expect(tab.page.locator("#verdict")).to_have_text(verdict)
    with tab.page.expect_popup() as popup:
        tab.page.get_by_role("link", name="Report of its run").click()
    title = popup.value.get_by_role("heading", name="The report")
    expect(title).to_have_css("color", "rgb(1, 2, 3)")
    assert tab.page.get_by_role("link", name="Model card").get_attribute("href") == "model_card"


def test_names_of_classes_and_files_are_shown_as_text(tab):
    tab.choose(**{"<img src=x onerror=alert(2)>": picture()})
    tab.wait_for_answers(1)

    expect(tab.card("<img src=x onerror=alert(2)>").locator(".choice")).to_contain_text(HOSTILE)
    tab.page.get_by_role("button", name="Where does the model look?").click()
    expect(tab.page.get_by_text(f"Coloured where it speaks for “{HOSTILE}”")).to_be_visible()
    assert tab.page.locator('img[src="x"]').count() == 0


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_images_can_be_pasted_and_dropped(tab, kind):
    expect(tab.page.get_by_role("button", name="Choose images")).to_be_visible()

    tab.hand_over(kind, **{"one.png": picture(), "two.png": picture(seed=1)})
    tab.wait_for_answers(2)

    assert tab.states() == {"one.png": "known", "two.png": "known"}


def test_model_that_abstains_is_not_made_to_choose(tab):
    tab.choose(white_png=unknown_picture())
    tab.wait_for_answers(1)

    expect(tab.card("white.png").locator(".choice")).to_have_text("Not one of the known classes")
    expect(tab.page.get_by_role("log")).to_have_text("white.png: Not one of the known classes")


def test_bad_file_gets_the_servers_sentence_and_others_their_answers(tab):
    tab.choose(good_png=picture(), bad_jpg=b"no image", cut_png=picture()[:300], last_png=picture())
    tab.wait_for_answers(4)

    problem = "not a JPEG, PNG, GIF, BMP, WebP, TIFF, AVIF or HEIC file"
    expect(tab.card("bad.jpg").locator(".problem")).to_have_text(problem)
    expect(tab.card("bad.jpg").get_by_text("No preview in this browser")).to_be_visible()
    expect(tab.card("cut.png").locator(".problem")).to_have_text("the image data is damaged")
    assert list(tab.states().values()) == ["known", "failed", "failed", "known"]
    assert len(tab.complaints) == 2


def test_heat_map_lies_over_the_picture_and_can_be_taken_off(tab):
    tab.choose(a_png=picture())
    tab.wait_for_answers(1)
    button = tab.page.get_by_role("button", name="Where does the model look? a.png")
    assert button.get_attribute("aria-pressed") == "false"

    button.click()

    heat = tab.page.get_by_role("img", name=f"a.png, coloured where the model sees {HOSTILE}")
    expect(button).to_have_attribute("aria-pressed", "true")
    assert heat.evaluate("image => image.decode().then(() => image.naturalWidth)") == 480
    assert heat.bounding_box() == tab.page.get_by_alt_text("a.png", exact=True).bounding_box()
    button.click()
    expect(heat).to_be_hidden()


def test_image_that_the_browser_does_not_show_gets_a_tile_and_its_answer(tab):
    tab.choose(scan_tiff=picture("TIFF"))
    tab.wait_for_answers(1)

    tile = tab.page.get_by_text("No preview in this browser")
    expect(tile).to_be_visible()
    assert tab.states() == {"scan.tiff": "known"}
    tab.page.get_by_role("button", name="Where does the model look?").click()
    expect(tab.page.get_by_role("img", name=re.compile("scan.tiff, coloured"))).to_be_visible()
    expect(tile).to_be_hidden()


def test_server_that_has_gone_is_a_message_and_can_be_asked_again(server, tab):
    expect(tab.page.get_by_role("button", name="Choose images")).to_be_visible()
    tab.page.context.set_offline(True)
    tab.choose(a_png=picture())
    tab.wait_for_answers(1)
    expect(tab.card("a.png").locator(".problem")).to_have_text(GONE)

    tab.page.context.set_offline(False)
    tab.page.get_by_role("button", name="Try again a.png").click()

    expect(tab.card("a.png")).to_have_attribute("data-state", "known")
    tab.complaints = [one for one in tab.complaints if "ERR_INTERNET_DISCONNECTED" not in one]


def test_busy_server_is_asked_again_and_one_that_was_stopped_is_a_message(versions, open_tab):
    with ExitStack() as opened:
        with serving(versions, max_queued_rows=1, batch_wait_ms=200.0) as server:
            tab = opened.enter_context(open_tab(server))
            tab.choose(a_png=picture(), b_png=picture())
            tab.wait_for_answers(2)
            states = tab.states()
            metrics = server.client.get("/metrics").text
        tab.choose(late_png=picture())
        tab.wait_for_answers(3)

        assert set(states.values()) == {"known"}
        assert 'thaw_requests_total{route="page_predict",status="503"}' in metrics
        expect(tab.card("late.png").locator(".problem")).to_have_text(GONE)
        tab.complaints = [one for one in tab.complaints if "ERR_CONNECTION_REFUSED" not in one]


def test_token_is_asked_for_and_kept_in_the_tab_only(strict_server, open_tab):
    with open_tab(strict_server) as tab:
        token = tab.page.get_by_label("Token of this server")
        expect(token).to_be_focused()
        token.fill("wrong")
        token.press("Enter")
        expect(tab.page.get_by_role("alert")).to_have_text("That is not the token.")
        token.fill("s3cret")
        token.press("Enter")
        expect(tab.page.get_by_role("alert")).to_be_hidden()
        tab.choose(a_png=picture())
        tab.wait_for_answers(1)

        assert tab.states() == {"a.png": "known"}
        expect(tab.page.locator("#example")).to_contain_text("Authorization: Bearer $THAW_TOKEN")
        with tab.page.expect_download() as download:
            tab.page.get_by_role("button", name="Report of its run (download)").click()
        assert "The report" in Path(download.value.path()).read_text()
        kept = "[Object.values(sessionStorage), localStorage.length, document.cookie]"
        assert tab.page.evaluate(kept) == [["s3cret"], 0, ""]


def test_file_above_the_limit_is_not_sent(strict_server, open_tab):
    with open_tab(strict_server) as tab:
        tab.page.get_by_label("Token of this server").fill("s3cret")
        tab.page.get_by_role("button", name="Continue").click()
        tab.choose(large_png=bytes(2**20 + 1), small_png=picture())
        tab.wait_for_answers(2)

        expect(tab.card("large.png").locator(".problem")).to_have_text("larger than 1 MiB")
        assert tab.states() == {"large.png": "failed", "small.png": "known"}
        assert len(tab.complaints) == 1  # of the token that was not there


def test_without_the_token_only_the_pages_own_files_are_open(strict_server):
    client = strict_server.client
    status = {
        path: client.get(path).status_code
        for path in ("/", "/page/page.js", "/page/model", "/report", "/model_card", "/metrics")
    }
    posted = client.post("/page/predict", content=picture()).status_code

    assert [path for path, code in status.items() if code == 200] == ["/", "/page/page.js"]
    assert {*status.values(), posted} == {200, 401}


def test_a_few_are_asked_about_at_once_and_clearing_forgets_all(tab):
    tab.page.route("**/page/predict", lambda route: None)  # never answered
    tab.choose(**{f"{number}_png": picture() for number in range(5)})

    expect(tab.page.get_by_text("Asking the model …")).to_have_count(3)
    expect(tab.page.get_by_text("Waiting …")).to_have_count(2)
    expect(tab.page.get_by_role("progressbar", name="0 of 5 images")).to_be_visible()
    tab.page.get_by_role("button", name="Clear").click()
    expect(tab.page.locator("#results > li")).to_have_count(0)
    expect(tab.page.get_by_role("progressbar")).to_be_hidden()


def test_keyboard_alone_is_enough(tab):
    page = tab.page
    expect(page.get_by_role("button", name="Choose images")).to_be_visible()

    tab.tab_to("Choose images")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    assert chooser.value.is_multiple()
    files = [{"name": "a.png", "mimeType": "image/png", "buffer": picture()}]
    chooser.value.set_files(files)
    tab.wait_for_answers(1)
    tab.tab_to("Clear")
    tab.tab_to("Where does the model look?")
    page.keyboard.press("Space")
    expect(page.get_by_role("img", name=re.compile("coloured"))).to_be_visible()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")

    assert page.locator("#results > li").count() == 0
    expect(page.get_by_role("button", name="Choose images")).to_be_focused()


def test_everything_has_a_name_for_those_who_listen(tab):
    tab.choose(a_png=picture(), bad_png=b"no image")
    tab.wait_for_answers(2)
    snapshot = tab.page.locator("main").aria_snapshot()

    for line in (
        '- heading "m" [level=1]',
        '- region "Try it on images":',
        '- button "Choose images"',
        "- status: 2 images",
        '- list "Results":',
        '- img "a.png"',
        '- heading "a.png" [level=3]',
        '- button "Where does the model look? a.png"',
        '- log "Answers":',
        '- region "From a program":',
    ):
        assert line in snapshot
    assert not re.search(
        r"- (button|img|link|textbox|list|progressbar)( \[|:|$)(?! *\n *- listitem)", snapshot, re.M
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_what_is_behind_them(server, open_tab, scheme):
    with open_tab(server, color_scheme=scheme) as tab:
        tab.choose(a_png=picture(), bad_png=b"no image", white_png=unknown_picture())
        tab.wait_for_answers(3)
        contrasts = tab.contrasts()
        paper = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")

    assert paper == {"light": "rgb(251, 250, 248)", "dark": "rgb(20, 22, 26)"}[scheme]
    assert len(contrasts) > 20
    assert [one for one in contrasts if one[1] < 4.5] == []


def test_phone_shows_all_without_scrolling_sideways_and_offers_its_camera(server, open_tab):
    phone = {"viewport": {"width": 360, "height": 640}, "is_mobile": True, "has_touch": True}
    with open_tab(server, **phone) as tab:
        with tab.page.expect_file_chooser() as chooser:
            tab.page.get_by_role("button", name="Take a photograph").tap()
        camera = chooser.value
        assert camera.element.get_attribute("capture") == "environment"
        camera.set_files([{"name": "x" * 90, "mimeType": "image/png", "buffer": picture()}])
        tab.wait_for_answers(1)

        assert tab.width == 360


def test_still_for_those_who_asked_for_no_motion(server, open_tab):
    found = {}
    for wish in ("reduce", "no-preference"):
        with open_tab(server, reduced_motion=wish) as tab:
            tab.page.route("**/page/predict", lambda route: None)  # never answered
            tab.choose(a_png=picture())
            waiting = tab.page.get_by_text("Asking the model")
            found[wish] = waiting.evaluate("node => getComputedStyle(node).animationName")

    assert found == {"reduce": "none", "no-preference": "breathe"}


def test_model_of_anything_else_shows_its_signatures_and_how_to_ask(model, open_tab):
    with serving(model) as server, open_tab(server) as tab:
        expect(tab.page.get_by_role("heading", name="Signatures")).to_be_visible()
        expect(tab.page.get_by_role("button", name="Choose images")).to_be_hidden()
        signatures = tab.page.locator("#signature-list").inner_text()
        example = tab.page.locator("#example").inner_text()
        body = re.search(r"'(.*)'", example)[1]
        answer = server.predict(**json.loads(body)).json()
        refused = server.client.post("/page/predict", content=picture())

    assert "two_inputs\ntakes a: int32 [n], b: float32 [n, 2]" in signatures
    assert answer == {"outputs": [2.0]}
    assert f"curl http://127.0.0.1:{server.port}/v1/models/m:predict -d @-" in example
    assert refused.status_code == 404
    assert refused.json() == {"error": "The model that is served does not classify images."}


def test_browser_can_be_open_while_the_version_changes(versions, open_tab, tmp_path):
    newer = tmp_path / "birds"
    shutil.copytree(versions, newer)
    with serving(newer) as server, open_tab(server) as tab:
        expect(tab.page.locator("#facts")).to_contain_text("Version 1")
        shutil.copytree(newer / "1", tmp_path / "2")
        (tmp_path / "2").rename(newer / "2")
        path = "/v1/models/m/versions/2"
        while (
            server.client.get(path).status_code != 200
            or "AVAILABLE" not in server.client.get(path).text
        ):
            tab.page.wait_for_timeout(50)
        tab.choose(a_png=picture())
        tab.wait_for_answers(1)

        expect(tab.page.locator("#facts")).to_contain_text("Version 2")
        # It is no run's output any more.
        expect(tab.page.get_by_role("link", name="Report")).to_have_count(0)


def test_report_is_shown_only_with_the_version_that_its_run_pushed(server, output):
    ours = (output / "run.json").read_text()
    (output / "run.json").write_text('{"run_id": "another"}')
    try:
        has_report = server.client.get("/page/model").json()["classifier"]["has_report"]
        report = server.client.get("/report")
    finally:
        (output / "run.json").write_text(ours)

    assert not has_report
    assert report.status_code == 404
    assert "sandbox" in server.client.get("/report").headers["content-security-policy"]
    assert server.client.get("/model_card").text == "# Model card: birds"
