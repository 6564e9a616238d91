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
from report_sample import MISPRINT, NASTY, PEOPLE_NOTE, SENTENCES, SHARED_NOTE, sample

from fersweep.report import formats
from fersweep.report import page as report_page
from fersweep.report.paired import by_options

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
    return [float(row[4].split()[0]) for row in table_texts(page)]


def test_the_same_report_is_the_same_page(html: str) -> None:
    assert report_page.render(sample()) == html


def test_ids_are_unique_and_every_link_has_its_target(html: str) -> None:
    elements = Elements(html)
    assert len(elements.ids) == len(set(elements.ids))
    assert set(elements.targets) <= set(elements.ids)
    assert elements.tags.count("svg") == 3 + len(REPORT.rows)
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
    assert formats.points(value) == text


def test_numbers_are_written_as_readers_expect() -> None:
    assert [formats.p_value(p) for p in (0.0004, 0.001, 0.04951, 1.0)] == ["< 0.001", "0.001", "0.050", "1.000"]
    assert [formats.millions(count) for count in (23_490_739, None)] == ["23.49", "–"]
    assert [formats.percent(share) for share in (0.62345, None)] == ["62.34", "–"]
    assert [formats.duration(s) for s in (14.2, 89.9, 900, 14_000)] == ["14 s", "90 s", "15 min", "3.9 h"]


def test_the_table_holds_the_rows(show: Open) -> None:
    page = show(viewport={"width": 1280, "height": 900})
    rows = table_texts(page)
    assert len(rows) == 10
    for cells, row in zip(rows, REPORT.rows, strict=True):
        study, sd = row.reported, row.accuracy.sd
        names = re.sub(r"[\d,]+$", "", cells[0]) if row.labels["dataset"] == "ckplus" else cells[0]
        assert [names, *cells[1:4]] == list(row.shown.values())
        accuracy = f"{100 * row.accuracy.mean:.2f}" + ("" if sd is None else f" ± {100 * sd:.2f}")
        assert cells[4] == f"{accuracy} {100 * row.interval[0]:.2f}–{100 * row.interval[1]:.2f}"
        assert cells[5] == (f"{study.accuracy_percent:.2f}{'3' if study.note else ''}" if study else "–")
        assert cells[7] == f"{row.macro_f1.mean:.3f}"
        assert cells[8] == str(row.accuracy.n)
        assert cells[9] == f"{row.n:,}"
        assert cells[10] == f"{100 * row.majority:.2f}"
        assert cells[11] == f"{row.params_total / 1e6:.2f}" + (f" {study.params_m:.2f}" if study else "")
    verdicts = ["≈ within", "✕ cannot be right", "–", "▼ below", "≈ within ≠ other protocol", "≈ within", "≈ within"]
    assert [cells[6] for cells in rows] == [*verdicts, "▲ above ≠ other protocol", "≈ within", "≈ within"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_column_is_visible_at_1280_pixels(show: Open, scheme: str) -> None:
    page = show(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    for table in ("#results", "#claims", "#comparisons", "#pairs"):
        widths = page.locator(f"{table} .scroll").evaluate_all(
            "each => each.map(one => [one.scrollWidth, one.clientWidth])"
        )
        assert widths
        assert all(content <= room for content, room in widths), table


def test_many_settings_are_gathered_in_one_column(browser: Browser, tmp_path: Path) -> None:
    names = [f"setting_{number}" for number in range(8)]
    rows = tuple(
        replace(row, labels={**row.labels, **{name: f"{k * row.params_total}" for k, name in enumerate(names, 1)}})
        for row in REPORT.rows[:3]
    )
    report = replace(REPORT, rows=rows, columns=(*REPORT.columns, *names), options=(), fidelity=())
    (tmp_path / "many.html").write_text(report_page.render(report), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto((tmp_path / "many.html").as_uri())
    headings = page.locator("#table .head").all_inner_texts()
    assert headings[:5] == ["Attention", "Fidelity", "Setting 0", "Setting 1", "Settings"]
    assert f"setting 7 {8 * rows[0].params_total}" in table_texts(page)[0][4]
    assert page.locator("#results .scroll").evaluate("each => each.scrollWidth <= each.clientWidth")
    page.close()


def test_notes_are_numbered_once_and_verdicts_open(show: Open) -> None:
    page = show(viewport={"width": 1400, "height": 900})
    assert page.locator("ol.notes li").all_inner_texts() == [SHARED_NOTE, PEOPLE_NOTE, MISPRINT]
    marks = [
        page.locator(f"#row-{row.key} .marks").all_inner_texts()
        for row in (REPORT.rows[0], *REPORT.rows[2:4], REPORT.rows[8])
    ]
    assert marks == [["1,2"], ["2"], [], ["3"]]
    verdict = page.locator(f"#row-{REPORT.rows[1].key} [data-heading='Verdict']")
    assert SENTENCES["cannot be right"] not in verdict.inner_text()
    verdict.locator("summary").click()
    assert SENTENCES["cannot be right"] in verdict.inner_text()


def test_statements_come_established_first_and_lead_to_their_rows(show: Open) -> None:
    page = show()
    assert page.locator("#statements > ul:not(.claims) .mark.yes").count() == 3
    sentences = [each.sentence for each in (*REPORT.options, *REPORT.fidelity) if each.established]
    shown = page.locator("#statements > ul:not(.claims) > li").all_inner_texts()
    assert all(sentence in text for sentence, text in zip(sentences, shown, strict=True))
    assert page.locator("#statements details summary").inner_text() == "6 differences not established"
    page.locator("#statements > ul:not(.claims) > li").first.get_by_role("link").first.click()
    key = next(each for each in REPORT.options if each.established).rows[0]
    assert page.evaluate("document.querySelector(':target').id") == f"row-{key}"


def test_comparisons_and_pairs_hold_their_numbers(show: Open) -> None:
    page = show(viewport={"width": 1280, "height": 900})
    headings = page.locator("#comparisons .head").all_inner_texts()
    first = dict(zip(headings, table_texts(page, "#comparisons table")[0], strict=True))
    pair = REPORT.options[0]
    assert (first["Dataset"], first["Backbone"], first["Attention"]) == ("CK+", "ResNet-50", "CBAM − none")
    assert (first["Fidelity"], first["Difference (points)"]) == ("as its code ran", "+3.48 −6.79 to +13.75")
    assert first["p"] == f"{pair.p:.3f} {pair.p_holm:.3f}"
    assert first["p, McNemar"] == f"{pair.mcnemar_p:.3f} {pair.mcnemar_holm:.3f}"
    assert (first["P(A > B)"], first["Power (%)"]) == ("0.75", "40 9" if pair.seeds_needed else "40")
    claim = dict(
        zip(page.locator("#claims .head").all_inner_texts(), table_texts(page, "#claims table")[0], strict=True)
    )
    assert claim["Difference (points)"] == "+1.70 −3.00 to +6.40"
    assert (claim["Options"], claim["Above zero"], claim["Seeds"]) == ("CBAM − none", "2 of 3", "1 to 3")
    assert [first["Only first"], first["Only second"]] == [f"{count:.1f}" for count in pair.discordant]
    assert (first["Seeds"], first["n"], first["Established"]) == ("3", "182", "○ no")
    published, paper = REPORT.rows[6], REPORT.rows[7]
    headings = page.locator("#pairs .head").all_inner_texts()
    cells = dict(zip(headings, table_texts(page, "#pairs table")[2], strict=True))
    assert (cells["Dataset"], cells["Attention"], cells["Reported (%)"]) == ("FER2013", "CBAM", "59.90")
    assert "Backbone" not in cells  # all are ResNet-50
    assert "In all lines: backbone ResNet-50." in page.locator("#pairs caption").inner_text()
    for name, row in (("As its code ran (%)", published), ("As its paper defines it (%)", paper)):
        ours = f"{100 * row.accuracy.mean:.2f} ± {100 * row.accuracy.sd:.2f}"
        assert cells[name] == f"{ours} {row.params_total / 1e6:.2f} M"
    (found,) = by_options(REPORT.fidelity, {row.key: row for row in REPORT.rows})
    assert cells["Difference (points)"].split()[0] == f"+{100 * (paper.accuracy.mean - published.accuracy.mean):.2f}"
    assert cells["Established"] == "● yes"
    assert len(found) == len(REPORT.fidelity)


def test_sorting_by_click_and_by_keyboard(show: Open) -> None:
    page = show(viewport={"width": 1280, "height": 900})
    header = page.locator("#table th", has_text="Accuracy")
    header.get_by_role("button").click()
    assert accuracies(page) == sorted(accuracies(page))
    assert header.get_attribute("aria-sort") == "ascending"
    header.get_by_role("button").press("Enter")
    assert accuracies(page) == sorted(accuracies(page), reverse=True)
    assert header.get_attribute("aria-sort") == "descending"
    reported = page.locator("#table th", has_text="Reported (%)")
    reported.get_by_role("button").press("Space")
    published = [row[5][:5] for row in table_texts(page)]  # without the number of a note
    assert published == [*sorted(published[:-1], key=float), "–"]
    assert header.get_attribute("aria-sort") == "none"
    reported.get_by_role("button").click()
    assert table_texts(page)[-1][5] == "–"


def test_sorting_is_stable_and_by_size_not_by_letter(show: Open) -> None:
    page = show(viewport={"width": 1280, "height": 900})
    for name in ("Macro-F1", "Backbone", "n"):
        page.locator("#table").get_by_role("button", name=name, exact=True).click()
    rows = [(int(row[9].replace(",", "")), row[1], float(row[7])) for row in table_texts(page)]
    assert rows == sorted(rows)
    assert {row[0] for row in rows} == {182, 7178}


def test_filtering_counts_rows_and_hides_what_belongs_to_others(show: Open) -> None:
    page = show()
    count = page.locator("#filters output")
    assert count.inner_text() == "10 of 10 rows"
    assert page.locator("#filters select").evaluate_all(
        "each => each.map(one => one.parentElement.firstChild.textContent.trim())"
    ) == ["Dataset", "Backbone", "Attention", "Fidelity", "Sort by"]
    page.locator("#filters").get_by_label("Backbone").select_option("VGG-19")
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
    page.get_by_label("Dataset").select_option("CK+")
    page.locator("#statements > ul:not(.claims) > li").first.get_by_role("link").first.click()
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
