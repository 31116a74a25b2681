"""The page in a browser's tab, as a person has it."""

import base64
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.sync_api import Browser, Locator, Page, expect

from .servers import Server

NAMES = ("chromium", "chromium-browser", "google-chrome")
"""Of the commands that start one."""

# What Chromium itself says of an answer that is an error.
_REFUSED = "Failed to load resource: the server responded with a status of"

# Colours of all text against what is behind it, by WCAG 2's formula of contrast.
_CONTRASTS = """() => {
  const light = (one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4;
  const luminance = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map((one) => light(Number(one) / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    const colour = getComputedStyle(node).backgroundColor;
    return colour === "rgba(0, 0, 0, 0)" ? behind(node.parentElement) : colour;
  };
  const hasText = (node) =>
    [...node.childNodes].some((one) => one.nodeType === Node.TEXT_NODE && one.data.trim());
  const nodes = [...document.querySelectorAll("main *")];
  return nodes.filter((node) => node.checkVisibility() && hasText(node)).map((node) => {
    const [one, other] = [getComputedStyle(node).color, behind(node)].map(luminance);
    return [node.textContent, (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05)];
  });
}"""

# Hands files to the page in an event, as the browser does when somebody pastes or drops them.
_HAND_OVER = """([kind, files]) => {
  const data = new DataTransfer();
  for (const [name, base64] of files) {
    const bytes = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
    data.items.add(new File([bytes], name, { type: "image/png" }));
  }
  const options = { bubbles: true, cancelable: true, clipboardData: data, dataTransfer: data };
  const event = kind === "paste" ? new ClipboardEvent(kind, options) : new DragEvent(kind, options);
  document.body.dispatchEvent(event);
}"""


@dataclass
class Tab:
    """The page in a tab of its own, and what the browser complained about."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def choose(self, **files: bytes) -> None:
        """Chooses files by name; `a_png` is `a.png`."""
        chosen = [
            {"name": name.replace("_", "."), "mimeType": "image/png", "buffer": content}
            for name, content in files.items()
        ]
        self.page.locator("#files").set_input_files(chosen)

    def hand_over(self, kind: str, **files: bytes) -> None:
        encoded = [[name, base64.b64encode(content).decode()] for name, content in files.items()]
        self.page.evaluate(_HAND_OVER, [kind, encoded])

    def card(self, name: str) -> Locator:
        heading = self.page.get_by_role("heading", name=name, exact=True, level=3)
        return self.page.locator("#results > li", has=heading)

    def wait_for_answers(self, count: int) -> None:
        answered = self.page.locator("#results > li:not([data-state=waiting])")
        expect(answered).to_have_count(count, timeout=20_000)

    def states(self) -> dict[str, str]:
        """`known`, `unknown`, `failed` or `waiting`, by the names of the files."""
        cards = self.page.locator("#results > li").all()
        return {
            card.get_by_role("heading").inner_text(): card.get_attribute("data-state")
            for card in cards
        }

    def tab_to(self, text: str) -> None:
        """Presses the tabulator until what has the text has the focus, which must be seen."""
        for _ in range(20):
            self.page.keyboard.press("Tab")
            if self.page.evaluate("document.activeElement.textContent") == text:
                outline = "getComputedStyle(document.activeElement).outlineWidth"
                assert self.page.evaluate(outline) == "3px"
                return
        raise AssertionError(f"{text} cannot be reached")

    @property
    def width(self) -> int:
        return int(self.page.evaluate("document.documentElement.scrollWidth"))

    def contrasts(self) -> list[tuple[str, float]]:
        """Every text that is shown, and its contrast, 1 to 21."""
        return [(text, ratio) for text, ratio in self.page.evaluate(_CONTRASTS)]


@contextmanager
def tab_of(browser: Browser, server: Server, **options: object) -> Iterator[Tab]:
    """Opens the page; afterwards the browser must not have complained about anything."""
    context = browser.new_context(**options)
    tab = Tab(context.new_page())
    tab.page.on("console", lambda one: tab.complaints.append(one.text))
    tab.page.on("pageerror", lambda one: tab.complaints.append(str(one)))
    tab.page.on("dialog", lambda one: tab.complaints.append(f"dialog: {one.message}"))
    # Playwright begins to catch them some time after the first who wants one has said so.
    tab.page.on("filechooser", lambda one: None)
    tab.page.goto(f"http://127.0.0.1:{server.port}/")
    try:
        yield tab
        assert [one for one in tab.complaints if not one.startswith(_REFUSED)] == []
    finally:
        context.close()


def shown_bars(card: Locator) -> list[tuple[str, float]]:
    """Class and share, 0 to 1, of each bar of a card."""
    rows = [
        (row.locator(".class"), row.locator(".fill")) for row in card.locator(".bars > li").all()
    ]
    return [
        (
            name.inner_text(),
            float(fill.evaluate("node => node.style.width").removesuffix("%")) / 100,
        )
        for name, fill in rows
    ]


def executable() -> str | None:
    """Of the first browser that is installed."""
    return next((path for path in map(shutil.which, NAMES) if path), None)
