"""The page of a report, as a browser shows it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from report_sample import MISPRINT, NASTY, SENTENCES, SHARED_NOTE, sample

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


class Elements(HTMLParser):
    """What a document is made of."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.loaded: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = {name: value or "" for name, value in attrs}
        self.ids += [values["id"]] if "id" in values else []
        if values.get("href", "").startswith("#"):
            self.targets.append(values["href"][1:])
        self.loaded += [values[name] for name in ("src", "href") if not values.get(name, "#").startswith("#")]


def table_texts(page: Page, selector: str = "#table") -> list[list[str]]:
    """The cells of the rows that are shown, white space as one."""
    cells = page.eval_on_selector_all(
        f"{selector} tbody tr:not([hidden])",
        "rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()))",
    )
    return [[" ".join(cell.split()) for cell in row] for row in cells]


def accuracies(page: Page) -> list[float]:
    return [float(row[7].split()[0]) for row in table_texts(page)]


def test_the_same_report_is_the_same_page(html: str) -> None:
    assert report_page.render(sample()) == html


def test_ids_are_unique_and_every_link_has_its_target(html: str) -> None:
    elements = Elements(html)
    assert len(elements.ids) == len(set(elements.ids))
    assert set(elements.targets) <= set(elements.ids)
    assert elements.tags.count("svg") == 4 + len(REPORT.rows)
    assert elements.loaded == ["data:,"]
    assert not {"img", "iframe", "object", "embed"} & set(elements.tags)


def test_what_runs_left_is_text(html: str) -> None:
    elements = Elements(html)
    assert elements.tags.count("script") == 1
    assert "<script>document" not in html
    assert "&lt;script&gt;document.title" in html
    assert "<title>table-2 &lt;pilot&gt; · fersweep report</title>" in html
    assert "&lt;b&gt;the score is of the other nine&lt;/b&gt;" in html


def test_a_report_without_rows_or_comparisons_is_a_page() -> None:
    row = replace(REPORT.rows[2], curves=(), best_epoch=(), verdict=replace(REPORT.rows[2].verdict, comparable=True))
    bare = replace(REPORT, options=(), fidelity=(), unfinished=(), missing=(), rows=(row,), done=1)
    one, none = report_page.render(bare), report_page.render(replace(bare, rows=(), done=0))
    assert "1 finished run makes 1 row." in " ".join(one.split())
    assert "Nothing: every run is done." in one
    assert "No run is done yet." in none
    for absent in ('id="statements"', 'id="pairs"', 'id="comparisons"', "not finished"):
        assert absent not in one
        assert absent not in none


@pytest.mark.parametrize(
    ("value", "text"), [(0.01234, "+1.23"), (-0.005, "−0.50"), (0.0, "+0.00"), (0.0004, "+0.04"), (-0.1, "−10.00")]
)
def test_points_have_a_sign(value: float, text: str) -> None:
    assert report_page.points(value) == text


def test_numbers_are_written_as_readers_expect() -> None:
    assert [report_page.p_value(p) for p in (0.0004, 0.001, 0.04951, 1.0)] == ["< 0.001", "0.001", "0.050", "1.000"]
    assert [report_page.millions(count) for count in (23_490_739, None)] == ["23.49", "–"]
    assert [report_page.percent(share) for share in (0.62345, None)] == ["62.34", "–"]
    assert [report_page.duration(s) for s in (14.2, 89.9, 900, 14_000)] == ["14 s", "90 s", "15 min", "3.9 h"]
    assert [report_page.counted(n, "person", "people") for n in (1, 1200)] == ["1 person", "1,200 people"]


def test_the_table_holds_the_rows(show: Open) -> None:
    rows = table_texts(show(viewport={"width": 1400, "height": 900}))
    assert len(rows) == 10
    for cells, row in zip(rows, REPORT.rows, strict=True):
        study, sd = row.reported, row.accuracy.sd
        names = re.sub(r"[\d,]+$", "", cells[0]) if row.labels["dataset"] == "ckplus" else cells[0]
        assert [names, *cells[1:4]] == list(row.shown.values())
        assert cells[4] == (f"{study.params_m:.2f}" if study else "–")
        assert cells[5] == f"{row.params_total / 1e6:.2f}"
        assert cells[6].removesuffix("3") == (f"{study.accuracy_percent:.2f}".removesuffix("3") if study else "–")
        assert cells[7] == f"{100 * row.accuracy.mean:.2f}" + ("" if sd is None else f" ± {100 * sd:.2f}")
        assert cells[8] == str(row.accuracy.n)
        assert cells[9] == f"{100 * row.interval[0]:.2f}–{100 * row.interval[1]:.2f}"
        assert cells[10] == f"{100 * row.majority:.2f}"
        assert cells[11] == f"{row.macro_f1.mean:.3f}"
        assert cells[12] == f"{row.n:,}"
    verdicts = ["≈ within", "✕ cannot be right", "–", "▼ below", "≈ within ≠ other protocol", "≈ within", "≈ within"]
    assert [cells[13] for cells in rows] == [*verdicts, "▲ above ≠ other protocol", "≈ within", "≈ within"]


def test_notes_are_numbered_once_and_verdicts_open(show: Open) -> None:
    page = show(viewport={"width": 1400, "height": 900})
    assert page.locator("ol.notes li").all_inner_texts() == [SHARED_NOTE, "97 people in both train and test.", MISPRINT]
    marks = [
        page.locator(f"#row-{row.key} .marks").all_inner_texts()
        for row in (REPORT.rows[0], *REPORT.rows[2:4], REPORT.rows[8])
    ]
    assert marks == [["1,2"], ["2"], [], ["3"]]
    verdict = page.locator(f"#row-{REPORT.rows[1].key} .verdict")
    assert SENTENCES["cannot be right"] not in verdict.inner_text()
    verdict.locator("summary").click()
    assert SENTENCES["cannot be right"] in verdict.inner_text()


def test_statements_come_established_first_and_lead_to_their_rows(show: Open) -> None:
    page = show()
    assert page.locator("#statements > ul .mark.yes").count() == 3
    sentences = [each.sentence for each in (*REPORT.options, *REPORT.fidelity) if each.established]
    shown = page.locator("#statements > ul > li").all_inner_texts()
    assert all(sentence in text for sentence, text in zip(sentences, shown, strict=True))
    assert page.locator("#statements details summary").inner_text() == "6 differences not established"
    page.locator("#statements > ul > li").first.get_by_role("link").first.click()
    key = next(each for each in REPORT.options if each.established).rows[0]
    assert page.evaluate("document.querySelector(':target').id") == f"row-{key}"


def test_comparisons_and_pairs_hold_their_numbers(show: Open) -> None:
    page = show(viewport={"width": 1600, "height": 900})
    first = table_texts(page, "#comparisons table")[0]
    pair = REPORT.options[0]
    assert first[:6] == ["CK+", "ResNet-50", "CBAM − none", "as its code ran", "+3.48", "−6.79 to +13.75"]
    assert first[6:10] == [f"{p:.3f}" for p in (pair.p, pair.p_holm, pair.mcnemar_p, pair.mcnemar_holm)]
    assert first[10:] == [*(f"{count:.1f}" for count in pair.discordant), "3", "182", "○ no"]
    groups = page.locator("#pairs thead .group").all_inner_texts()
    assert groups == ["as its code ran", "as its paper defines it"]
    published, paper = REPORT.rows[6], REPORT.rows[7]
    cells = table_texts(page, "#pairs table")[2]
    assert cells[:4] == ["FER2013", "ResNet-50", "CBAM", "59.90"]
    for at, row in ((4, published), (6, paper)):
        ours = f"{100 * row.accuracy.mean:.2f} ± {100 * row.accuracy.sd:.2f}"
        assert cells[at : at + 2] == [f"{row.params_total / 1e6:.2f}", ours]
    assert cells[8] == f"+{100 * (paper.accuracy.mean - published.accuracy.mean):.2f}"
    assert cells[-1] == "● yes"


def test_sorting_by_click_and_by_keyboard(show: Open) -> None:
    page = show()
    header = page.locator("#table th", has_text="ours").nth(1)
    header.get_by_role("button").click()
    assert accuracies(page) == sorted(accuracies(page))
    assert header.get_attribute("aria-sort") == "ascending"
    header.get_by_role("button").press("Enter")
    assert accuracies(page) == sorted(accuracies(page), reverse=True)
    assert header.get_attribute("aria-sort") == "descending"
    page.locator("#table th", has_text="study").first.get_by_role("button").press("Space")
    published = [row[4] for row in table_texts(page)]
    assert published == [*sorted(published[:-1], key=float), "–"]
    assert header.get_attribute("aria-sort") == "none"
    page.locator("#table th", has_text="study").first.get_by_role("button").click()
    assert table_texts(page)[-1][4] == "–"


def test_sorting_is_stable_and_by_size_not_by_letter(show: Open) -> None:
    page = show()
    for name in ("Macro-F1", "backbone", "n"):
        page.locator("#table").get_by_role("button", name=name, exact=True).click()
    rows = [(int(row[12].replace(",", "")), row[1], float(row[11])) for row in table_texts(page)]
    assert rows == sorted(rows)
    assert {row[0] for row in rows} == {182, 7178}


def test_filtering_counts_rows_and_hides_what_belongs_to_others(show: Open) -> None:
    page = show()
    count = page.locator("#filters output")
    assert count.inner_text() == "10 of 10 rows"
    assert page.locator("#filters select").evaluate_all(
        "each => each.map(one => one.parentElement.firstChild.textContent.trim())"
    ) == ["dataset", "backbone", "attention", "fidelity"]
    page.get_by_label("backbone").select_option("VGG-19")
    assert count.inner_text() == "2 of 10 rows"
    assert {row[1] for row in table_texts(page)} == {"VGG-19"}
    shown = "each => each.filter(one => !one.hidden).map(one => one.dataset.rows)"
    vgg = [row.key for row in REPORT.rows if row.labels["backbone"] == "vgg19"]
    assert page.locator("details.row").evaluate_all(shown) == vgg
    assert page.locator("#comparisons tr[data-rows]").evaluate_all(shown) == [f"{vgg[1]} {vgg[0]}"]
    page.get_by_label("Filter", exact=True).fill("CBAM")
    assert count.inner_text() == "1 of 10 rows"
    page.get_by_label("Filter", exact=True).fill("nothing has this")
    assert count.inner_text() == "0 of 10 rows"
    assert not page.locator("details.row").first.is_visible()
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#filters output")).to_have_text("10 of 10 rows")
    assert page.locator("details.row").evaluate_all("each => each.filter(one => !one.hidden).length") == 10


def test_a_link_to_a_row_that_is_filtered_out_brings_it_back(show: Open) -> None:
    page = show()
    page.get_by_label("dataset").select_option("CK+")
    page.locator("#statements > ul > li").first.get_by_role("link").first.click()
    expect(page.locator("#filters output")).to_have_text("10 of 10 rows")
    row = REPORT.rows[0]
    page.locator(f"#row-{row.key} th a").first.click()
    expect(page.locator(f"[id='details-{row.key}']")).to_have_attribute("open", "")


def test_details_hold_confusions_and_curves(show: Open) -> None:
    page = show()
    page.get_by_role("button", name="Open all").click()
    assert page.locator("details.row[open]").count() == 10
    row = REPORT.rows[3]
    details = page.locator(f"[id='details-{row.key}']")
    cells = details.locator(".confusion tbody tr").first.locator("td").all_inner_texts()
    counts = row.confusion[0]
    expected = [f"{100 * count / counts.sum():.1f}\n{count:,}" for count in counts]
    assert [cell.strip() for cell in cells] == [*expected, f"{counts.sum():,}"]
    assert details.locator(".confusion thead th").all_inner_texts()[2:9] == list(row.class_names)
    assert "epoch tested" in details.locator("svg").text_content()
    assert "58.57 % (seed 1)" in details.locator("dl").inner_text()
    page.get_by_role("button", name="Close all").click()
    assert page.locator("details.row[open]").count() == 0


def test_what_is_missing_is_said_with_its_reason_and_runs_no_script(show: Open) -> None:
    page = show()
    assert page.locator("#missing li").all_inner_texts() == list(REPORT.missing)
    states = page.locator("#missing .state").all_inner_texts()
    assert states == ["failed", "unreadable", "running", "pending"]
    page.locator("details.error summary").click()
    assert page.locator("details.error pre").inner_text() == NASTY
    assert page.title() == "table-2 <pilot> · fersweep report"
    assert "UserError: images <3 & labels disagree" in page.locator("#missing").inner_text()
    assert "recipe.lr=0.1" in page.locator("#missing").inner_text()


@pytest.mark.parametrize("width", [390, 641, 900, 1280])
def test_nothing_makes_the_page_scroll_sideways(show: Open, width: int) -> None:
    page = show(viewport={"width": width, "height": 844})
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    sizes = page.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth, innerWidth]")
    assert max(sizes[:2]) <= sizes[2] == width


def test_on_a_phone_the_name_of_a_row_stays_while_numbers_scroll(show: Open) -> None:
    page = show(viewport={"width": 390, "height": 844})
    name = page.locator("#table tbody th").first
    assert "ResNet-50 · none · as its code ran" in name.inner_text()
    before = name.bounding_box()
    page.locator("#results .scroll").evaluate("each => { each.scrollLeft = 300; }")
    assert page.locator("#results .scroll").evaluate("each => each.scrollLeft") == 300
    assert name.bounding_box() == before


def luminance(colour: str) -> float:
    channels = [float(each) / 255 for each in re.findall(r"[\d.]+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


TEXTS = """
() => [...document.querySelectorAll(
  "h1, p, li, a, caption, th, td, small, summary, figcaption, dt, dd, label, output, .verdict span, .state, svg text")]
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


def test_without_scripts_the_page_says_the_same(show: Open) -> None:
    page = show(java_script_enabled=False, viewport={"width": 1400, "height": 900})
    assert not page.locator("#filters").is_visible()
    assert page.locator("th button").count() == 0
    table = page.locator("#table tbody tr")
    assert table.count() == 10
    assert "58.10 ± 0.54" in table.nth(3).inner_text()
    page.locator("details.row summary").first.click()
    assert page.locator("details.row .confusion").first.is_visible()


def test_tables_and_figures_are_named_for_those_who_hear_the_page(show: Open) -> None:
    page = show()
    assert page.locator("table").evaluate_all("each => each.every(one => one.caption.textContent.length > 20)")
    assert page.locator("th").evaluate_all("each => each.every(one => one.hasAttribute('scope'))")
    assert page.locator("svg").evaluate_all("each => each.every(one => one.getAttribute('aria-label').length > 20)")
    page.locator("#filters input").focus()
    page.keyboard.press("Tab")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
