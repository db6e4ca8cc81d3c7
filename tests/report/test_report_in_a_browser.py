"""The report in a browser: it asks for nothing, nothing fails, and all of it works by keyboard."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine"),
    # Playwright's own loop, closed at the interpreter's end.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
REAL = os.environ.get("KAGGLE_DIGITS_REPORT")
"""A page to look at in the place of the made one."""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page stays for all tests."""
    return tmp_path_factory.mktemp("report") / "report.html"


@pytest.fixture
def page_file(kept: Path, request: pytest.FixtureRequest) -> Path:
    """The report of the filled workspace, made once."""
    if REAL:
        return Path(REAL).resolve()
    if not kept.exists():
        call, filled = (request.getfixturevalue(name) for name in ("call", "filled"))
        code, _, err = call("report", *filled.words, "--output", kept)
        assert code == 0, err
    return kept


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, page_file: Path) -> Iterator[Any]:
    """The report, open; at the end nothing has failed and nothing was asked for."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    opened = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("dialog", lambda dialog: said.append(dialog.message) or dialog.dismiss())
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(page_file.as_uri())
    yield opened
    assert said == []
    assert [url for url in asked if not url.startswith(("data:", page_file.as_uri()))] == []
    context.close()


def shown(page: Any) -> int:
    return page.locator("[data-name=hardest] .pictures > li:not([hidden])").count()


def test_filters_show_only_what_is_chosen(page):
    everything = shown(page)
    selects = page.locator("[data-name=hardest] select")
    selects.nth(0).select_option(index=1)
    one = shown(page)
    assert 0 < one < everything
    assert (
        f"{one} of {everything} images" in page.locator("[data-name=hardest] .count").inner_text()
    )
    selects.nth(1).select_option(index=2)
    assert shown(page) <= one
    page.locator("[data-name=hardest] .reset").click()
    assert shown(page) == everything


def test_a_cell_of_the_confusion_matrix_opens_its_images(page):
    everything = shown(page)
    cell = page.locator(".matrix td.wrong button").first
    cell.click()
    assert cell.get_attribute("aria-pressed") == "true"
    assert 0 < shown(page) < everything
    assert page.evaluate("document.activeElement.id") == "hardest"
    chosen = page.locator("[data-name=hardest] select").evaluate_all("all => all.map(s => s.value)")
    assert chosen == cell.evaluate("b => JSON.parse(b.dataset.values)")


def test_tables_are_sorted_by_the_column_that_is_pressed(page):
    table = page.locator("#members table.sortable", has_text="geometric").first
    head = table.locator("th").nth(2)

    def column() -> list[float]:
        return [float(text) for text in table.locator("tbody td:nth-child(3)").all_inner_texts()]

    before = column()
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending" and column() == sorted(before)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert column() == sorted(before, reverse=True)


def test_the_keyboard_reaches_all_of_it(page):
    wanted = page.evaluate(
        "[...document.querySelectorAll('a[href], button, select, summary, [tabindex=\"0\"]')]"
        ".filter(e => e.checkVisibility()).length"
    )
    reached = page.evaluate(
        "[...document.querySelectorAll('a[href], button, select, summary, [tabindex=\"0\"]')]"
        ".filter(e => e.checkVisibility() && e.tabIndex >= 0).length"
    )
    assert reached == wanted > 20
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    everything = shown(page)
    page.locator(".matrix td.wrong button").first.focus()
    page.keyboard.press("Enter")
    assert 0 < shown(page) < everything
    page.locator("[data-name=hardest] li:not([hidden]) summary").first.focus()
    page.keyboard.press("Space")
    assert page.locator("[data-name=hardest] details[open]").count() == 1
    page.locator(".fold summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator(".fold[open]").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_axe_finds_no_serious_fault(browser, page_file, scheme, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
    )
    page = context.new_page()
    page.goto(page_file.as_uri())
    found = axe.Axe().run(page).response["violations"]
    grave = [
        (one["id"], [node["html"][:200] for node in one["nodes"][:3]])
        for one in found
        if one["impact"] in ("serious", "critical", "moderate")
    ]
    context.close()
    assert grave == []


@pytest.mark.parametrize("width", [1200, 390, 320])
def test_nothing_stands_over_the_edge(browser, page_file, width):
    context = browser.new_context(viewport={"width": width, "height": 800})
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    context.close()
