"""The HTML of a report's page, without a browser."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest
import report_browser
from report_browser import REPORT
from report_sample import sample

from fersweep.report import formats
from fersweep.report import page as report_page

html = report_browser.html


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
    assert "None: every run is done." in one
    assert "No run is done." in none
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
