"""The project's prose: docstrings that name a thing by what it is, the field's own words, one sentence a line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    str(path.relative_to(ROOT)) for folder in ("src", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "results" / "README.md")
)
LONGEST = 140
QUESTION = re.compile(r"(What|How|Whether|Where|When|Who|Which|Why)\b")
PRIVATE = re.compile(
    r"\b(arithmetic|from_zero|told apart|surer of itself|what survives what|is no choice of|meets? (?:there|again))\b",
    re.IGNORECASE,
)


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of every docstring, those of attributes included."""
    for node in ast.walk(tree):
        for each in getattr(node, "body", []) if not isinstance(node, ast.Lambda | ast.IfExp) else []:
            if (
                isinstance(each, ast.Expr)
                and isinstance(each.value, ast.Constant)
                and isinstance(each.value.value, str)
            ):
                yield each.lineno, each.value.value


@pytest.mark.parametrize("path", SOURCES)
def test_docstrings_say_what_a_thing_is(path: str) -> None:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert not [f"{path}:{line}: {text[:60]}" for line, text in docstrings(tree) if QUESTION.match(text.strip())]


@pytest.mark.parametrize("path", [*SOURCES, *PAGES])
def test_terms_are_the_fields_own(path: str) -> None:
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    assert not [f"{path}:{number}: {line}" for number, line in enumerate(lines, 1) if PRIVATE.search(line)]


@pytest.mark.parametrize("path", PAGES)
def test_a_line_is_one_sentence_and_not_too_long(path: str) -> None:
    found, fenced = [], False
    for number, line in enumerate((ROOT / path).read_text(encoding="utf-8").splitlines(), 1):
        fenced ^= line.lstrip().startswith("```")
        code = fenced or (line.startswith("    ") and not re.match(r" +(?:[-*]|\d+\.|\S.*[a-z] )", line))
        if len(line) > LONGEST and not code and not line.startswith(("|", "[", "!")):
            found.append(f"{path}:{number}: {line}")
    assert not found
