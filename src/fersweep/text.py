"""Text for people: counts, durations, lists, and the errors of other libraries in one line."""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_WIDEST = 10_000  # columns of a table

FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠].", re.DOTALL)
"""Beginning of a cell that a spreadsheet computes, after any number of quotes."""


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a number and its noun: ``1 run``, ``1,200 runs``."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def listed(words: Sequence[str], conjunction: str) -> str:
    """Return ``a, b or c``."""
    *most, last = words
    return f"{', '.join(most)} {conjunction} {last}" if most else last


def duration(seconds: float) -> str:
    """Return a length of time: ``4.1 s``, ``41 s``, ``3 min 05 s`` or ``2 h 07 min``."""
    rounded = round(seconds)
    if rounded < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60:02d} s"
    return f"{rounded // 3600} h {rounded % 3600 // 60:02d} min"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message without its full stop; the error's type where it has no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def printable(text: str) -> str:
    """Return ``text`` for a terminal: what cannot be printed, such as a line end, is escaped."""
    return text if text.isprintable() else repr(text)[1:-1]


SENTENCE = 2000
"""Longest error message in characters."""


def shortened(message: object) -> str:
    """Return an error message without its middle if that is too long.

    A value of a damaged file, which a message repeats, can have a million characters.
    """
    text, half = str(message), SENTENCE // 2
    return text if len(text) <= SENTENCE else f"{text[:half]} … {text[3 - half :]}"


def visible(text: str) -> str:
    """Return ``text`` with everything escaped that cannot be printed, such as control characters; lines stay."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in "\n\t" else each.encode("unicode_escape").decode() for each in text
    )


@contextmanager
def visible_traceback(*others: type[Exception]) -> Iterator[None]:
    """Print the traceback of an exception that leaves the block with control characters escaped.

    Whoever catches it, such as Hydra, would print them, of a file's name say, as they are.

    Args:
        others: exceptions that leave the block as they are.

    Raises:
        SystemExit: with code 1, in place of the exception.
    """
    try:
        yield
    except others:
        raise
    except Exception as error:
        print(visible(traceback.format_exc()), end="", file=sys.stderr)
        raise SystemExit(1) from error


def visible_json(text: str) -> str:
    """Return JSON with everything escaped that cannot be printed; to a program it stays the same."""
    return "".join(each if each.isprintable() or each == "\n" else _json_escape(each) for each in text)


def _json_escape(character: str) -> str:
    return f"\\u{ord(character):04x}" if ord(character) < 2**16 else json.dumps(character)[1:-1]


def cells(values: Iterable[Any]) -> list[Any]:
    """Return the values of a CSV record, with a quote before texts that a spreadsheet would compute as formulas.

    Numbers stay as they are, also as text. `from_cell` is the inverse for text.
    """
    return [f"'{each}" if isinstance(each, str) and _is_formula(each) else each for each in values]


def from_cell(text: str) -> str:
    """Return the text of a cell that `cells` wrote."""
    return text[1:] if text.startswith("'") and _is_formula(text) else text


def _is_formula(text: str) -> bool:
    if FORMULA.match(text) is None:
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return `` (did you mean X?)``, or an empty string; case is ignored.

    X is the only one of ``choices`` that begins with ``word``, or else the closest.
    """
    named = {choice.casefold(): choice for choice in choices}
    begun = [name for name in named if len(word) > 2 and name.startswith(word.casefold())]
    close = begun if len(begun) == 1 else difflib.get_close_matches(word.casefold(), list(named), n=1, cutoff=0.6)
    return f" (did you mean {named[close[0]]}?)" if close else ""


def print_whole(*parts: Any) -> None:
    """Print tables and lines of ``rich`` with names in one piece, also where they are wider than the terminal.

    A sentence among them is wrapped to the terminal, or to the widest table.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console()
    wide = console.options.update(width=_WIDEST)
    whole = [each for each in parts if not isinstance(each, Text) or each.no_wrap]
    widths = [console.measure(each, options=wide).maximum for each in whole]
    wider = Console(width=max(console.width, *widths), highlight=False)
    with wider.capture() as printed:
        wider.print(*parts, sep="\n")
    for line in printed.get().splitlines():
        print(re.sub(r" +(\x1b\[0m)? *$", r"\1", line))  # padding, of which a narrow terminal would make empty lines


def command(verb: str = "train") -> str:
    """Return the command of a verb, as this process was started: ``uv run train.py``, ``fersweep train``."""
    started = Path(sys.argv[0])
    if started.stem == "fersweep":
        uv = "uv run " if "UV_RUN_RECURSION_DEPTH" in os.environ else ""
        return f"{uv}fersweep {verb}"
    if (started.parent.name, started.name) == ("fersweep", "__main__.py"):
        return f"python -m fersweep {verb}"
    return "uv run train.py" if verb == "train" else f"uv run fersweep {verb}"
