"""A report's page in a browser: fixtures and helpers of its tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from report_sample import sample

from fersweep.report import page as report_page

REPORT = sample()
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def html() -> str:
    return report_page.render(REPORT)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def show(browser: Browser, html: str, tmp_path: Path) -> Iterator[Open]:
    """``show(viewport=..., color_scheme=...)`` opens a page, which may complain of nothing and load nothing."""
    complaints: list[str] = []
    requests: list[str] = []
    contexts = []
    file = tmp_path / "index.html"
    file.write_text(html, encoding="utf-8")

    def open_page(**options: Any) -> Page:
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints
    assert set(requests) == {file.as_uri()}


def table_texts(page: Page, selector: str = "#table") -> list[list[str]]:
    """The cells of the rows that are shown, white space as one."""
    cells = page.eval_on_selector_all(
        f"{selector} tbody tr:not([hidden])",
        "rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()))",
    )
    return [[" ".join(cell.split()) for cell in row] for row in cells]


def accuracies(page: Page) -> list[float]:
    return [float(row[4].split()[0]) for row in table_texts(page)]
