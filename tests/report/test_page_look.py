"""The look of a report's page in a browser: widths, phones, contrast, print, screen readers."""

from __future__ import annotations

import re

import pytest
import report_browser
from report_browser import REPORT, Open, accuracies

browser, html, show = report_browser.browser, report_browser.html, report_browser.show


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_column_is_visible_at_1280_pixels(show: Open, scheme: str) -> None:
    page = show(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    for table in ("#results", "#claims", "#comparisons", "#pairs"):
        widths = page.locator(f"{table} .scroll").evaluate_all(
            "each => each.map(one => [one.scrollWidth, one.clientWidth])"
        )
        assert widths
        assert all(content <= room for content, room in widths), table


@pytest.mark.parametrize("width", [390, 641, 900, 1280])
def test_nothing_makes_the_page_scroll_sideways(show: Open, width: int) -> None:
    page = show(viewport={"width": width, "height": 844})
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    sizes = page.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth, innerWidth]")
    assert max(sizes[:2]) <= sizes[2] == width


def test_on_a_phone_a_row_is_a_card_with_all_it_says(show: Open) -> None:
    page = show(viewport={"width": 390, "height": 844})
    row = REPORT.rows[3]
    card = page.locator(f"#row-{row.key}")
    assert row.name in card.inner_text()
    assert "FER2013" in row.name
    for heading, text in (("Verdict", "▼ below"), ("n", "7,178"), ("95 % interval", f"{100 * row.interval[0]:.2f}")):
        cell = card.locator(f"[data-heading='{heading}']")
        assert text in cell.inner_text()
        box = cell.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert cell.evaluate("each => getComputedStyle(each, '::before').content") == f'"{heading}"'
    assert not card.locator("[data-heading='Backbone']").is_visible()  # the name has it
    tables = page.locator("#results .scroll, #comparisons .scroll, #pairs .scroll")
    assert tables.evaluate_all("each => each.every(one => one.scrollWidth <= one.clientWidth)")
    page.get_by_label("Sort by").select_option("Accuracy (%)")
    assert accuracies(page) == sorted(accuracies(page), reverse=True)


def luminance(colour: str) -> float:
    channels = [float(each) / 255 for each in re.findall(r"[\d.]+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


TEXTS = """
() => [...document.querySelectorAll(
  "h1, p, li, a, caption, th, td, small, summary, figcaption, dt, dd, label, output, td span, .state, svg text")]
  .map(each => each.tagName === "text" ? getComputedStyle(each).fill : getComputedStyle(each).color)
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_in_light_and_dark(show: Open, scheme: str) -> None:
    page = show(color_scheme=scheme)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (luminance(paper) < 0.1) == (scheme == "dark")
    texts = set(page.evaluate(TEXTS))
    assert len(texts) >= 6
    assert min(contrast(text, paper) for text in texts) >= 4.5
    ink = page.evaluate("getComputedStyle(document.querySelector('#plots svg text')).fill")
    assert (luminance(ink) > 0.5) == (scheme == "dark")
    shaded = page.locator(".confusion tbody td").evaluate_all(
        "each => each.map(one => getComputedStyle(one).backgroundColor)"
    )
    worst = max(shaded, key=lambda colour: float([*re.findall(r"[\d.]+", colour), "1"][3]))
    red, green, blue, alpha = (float(each) for each in re.findall(r"[\d.]+", worst))
    behind = [float(each) for each in re.findall(r"[\d.]+", paper)[:3]]
    mixed = [alpha * top + (1 - alpha) * below for top, below in zip((red, green, blue), behind, strict=True)]
    body = page.evaluate("getComputedStyle(document.body).color")
    assert contrast(body, f"rgb({mixed[0]}, {mixed[1]}, {mixed[2]})") >= 4.5


def test_print_is_black_on_white_without_controls(show: Open) -> None:
    page = show(color_scheme="dark")
    page.locator("details.row summary").nth(1).click()
    page.emulate_media(media="print", color_scheme="dark")
    for control in ("nav", "#filters", "#details .buttons"):
        assert not page.locator(control).is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.evaluate("getComputedStyle(document.querySelector('#table thead')).display") == "table-header-group"
    visible = page.locator("details.row").evaluate_all("each => each.map(one => one.checkVisibility())")
    assert visible == [False, True, *[False] * 8]
    assert page.locator("details.error summary").is_visible()


def test_tables_and_figures_are_named_for_those_who_hear_the_page(show: Open) -> None:
    page = show()
    assert page.locator("table").evaluate_all("each => each.every(one => one.caption.textContent.length > 20)")
    assert page.locator("th").evaluate_all("each => each.every(one => one.hasAttribute('scope'))")
    assert page.locator("svg").evaluate_all("each => each.every(one => one.getAttribute('aria-label').length > 20)")
    page.locator("#filters input").focus()
    page.keyboard.press("Tab")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
