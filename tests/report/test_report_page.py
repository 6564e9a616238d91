"""The page of a report in a browser: tables, sorting, filters and details."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import report_browser
from playwright.sync_api import Browser, expect
from report_browser import REPORT, Open, accuracies, table_texts
from report_sample import MISPRINT, NASTY, PEOPLE_NOTE, SENTENCES, SHARED_NOTE

from fersweep.report import page as report_page
from fersweep.report.paired import by_options

browser, html, show = report_browser.browser, report_browser.html, report_browser.show


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
    assert "In all rows: backbone ResNet-50." in page.locator("#pairs caption").inner_text()
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


def test_without_scripts_the_page_says_the_same(show: Open) -> None:
    page = show(java_script_enabled=False, viewport={"width": 1400, "height": 900})
    assert not page.locator("#filters").is_visible()
    assert page.locator("th button").count() == 0
    table = page.locator("#table tbody tr")
    assert table.count() == 10
    assert "58.10 ± 0.54" in table.nth(3).inner_text()
    page.locator("details.row summary").first.click()
    assert page.locator("details.row .confusion").first.is_visible()
