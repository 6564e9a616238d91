"""The columns of the tables that compare rows; to add one, add it to `TESTS` or `CLAIMS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fersweep.report import results
from fersweep.report.columns import Choice, Column, T, choose, figures
from fersweep.report.compare import oriented
from fersweep.report.contents import Claim, Comparison, Report, Row
from fersweep.report.formats import grouped, millions, p_value, points
from fersweep.report.titles import ABSENT, heading


@dataclass(frozen=True)
class Pair:
    """A comparison and its rows, in its order."""

    test: Comparison
    one: Row
    other: Row


def _figures(
    heading: str, value: Callable[[Pair], float | None], write: Callable[[Any], str], **more: Any
) -> Column[Pair]:
    return figures(heading, value, write, **{"always": True, **more})


DIFFERENCE: tuple[Column[Pair], ...] = (
    _figures("Difference (points)", lambda pair: pair.test.difference, points, look="accuracy"),
    Column(
        "95 % interval",
        lambda pair: " to ".join(map(points, pair.test.interval)),
        lambda pair: pair.test.interval[0],
        below="Difference (points)",
        always=True,
    ),
)


def _established(of: Callable[[T], Comparison | Claim]) -> Column[T]:
    return Column(
        "Established",
        lambda each: "● yes" if of(each).established else "○ no",
        lambda each: int(of(each).established),
        look=lambda each: "yes" if of(each).established else "no",
        number=False,
        always=True,
    )


def _holm(p: Callable[[Pair], float], below: str) -> Column[Pair]:
    return _figures("Holm", p, p_value, about="corrected for all comparisons of one option in this report", below=below)


ESTABLISHED: Column[Pair] = _established(lambda pair: pair.test)

TESTS: tuple[Column[Pair], ...] = (
    *DIFFERENCE,
    ESTABLISHED,
    _figures("p", lambda pair: pair.test.p, p_value),
    _holm(lambda pair: pair.test.p_holm, below="p"),
    _figures("p, McNemar", lambda pair: pair.test.mcnemar_p, p_value),
    _holm(lambda pair: pair.test.mcnemar_holm, below="p, McNemar"),
    _figures(
        "P(A > B)",
        lambda pair: pair.test.superiority,
        "{:.2f}".format,
        about="share of pairs of runs in which the first is better, ties counted half",
    ),
    _figures(
        "Power (%)",
        lambda pair: pair.test.power,
        lambda power: f"{100 * power:.0f}",
        about="how probable it is that a true difference of this size gives p < 0.05 with these runs",
    ),
    _figures(
        "Seeds for 80 %",
        lambda pair: pair.test.seeds_needed,
        str,
        about="of each, with which the power would be 80 %",
        below="Power (%)",
    ),
    _figures(
        "Only first",
        lambda pair: pair.test.discordant[0],
        "{:,.1f}".format,
        about="images that the first recognised and the second did not, mean over pairs of seeds",
    ),
    _figures(
        "Only second",
        lambda pair: pair.test.discordant[1],
        "{:,.1f}".format,
        about="images that the second recognised and the first did not, mean over pairs of seeds",
    ),
    Column(
        "Seeds",
        lambda pair: " / ".join(map(str, dict.fromkeys(pair.test.seeds))),
        lambda pair: min(pair.test.seeds),
        about="of the first and of the second",
    ),
    _figures("n", lambda pair: pair.test.n, grouped, about="test images", always=False),
)
"""The columns of the table of comparisons."""

HOLM = replace(next(column for column in TESTS if column.below == "p"), heading="p (Holm)", below="")

CLAIMS: tuple[Column[Claim], ...] = (
    Column("Options", lambda claim: f"{claim.first} − {claim.second}", number=False, always=True),
    Column("Of", lambda claim: claim.shared or ABSENT, number=False),
    Column(
        "Mean over",
        lambda claim: claim.over,
        lambda claim: len(claim.pairs),
        details=lambda claim: "; ".join(f"{name}: {points(value)}" for name, value in claim.pairs) + ".",
        number=False,
        always=True,
    ),
    figures("Difference (points)", lambda claim: claim.difference, points, look="accuracy", always=True),
    Column(
        "95 % interval",
        lambda claim: " to ".join(map(points, claim.interval)),
        about="over other networks, runs and images",
        below="Difference (points)",
        always=True,
    ),
    Column(
        "Above zero",
        lambda claim: f"{claim.positive} of {len(claim.pairs)}",
        lambda claim: claim.positive / len(claim.pairs),
        about="settings in which the first is better, of all",
        always=True,
    ),
    Column(
        "Seeds",
        lambda claim: " to ".join(map(str, dict.fromkeys(claim.seeds))),
        lambda claim: claim.seeds[0],
        about="the fewest and the most that a row has",
    ),
    figures("p (Holm)", lambda claim: claim.p_holm, p_value, always=True),
    _established(lambda claim: claim),
)
"""The columns of the table of mean differences over backbones and datasets."""


def pairs(comparisons: Sequence[Comparison], rows: Mapping[str, Row]) -> list[Pair]:
    """Return comparisons with their rows, which are given by key."""
    return [Pair(each, rows[each.rows[0]], rows[each.rows[1]]) for each in comparisons]


def tested(report: Report, shown: Sequence[Pair]) -> Choice[Pair]:
    """Return the columns of the table of all comparisons: the options compared, what both rows share, and `TESTS`."""
    names = [Column(heading(name), _label(name), look=_is_compared(name), number=False) for name in report.columns]
    return _choice(names, TESTS, shown)


def side_by_side(report: Report, shown: Sequence[Pair]) -> Choice[Pair]:
    """Return the columns of the table of one pair of options (fidelities): both accuracies and the reported one."""
    group, (first, second) = shown[0].test.group, shown[0].test.names
    names = [Column(heading(name), _label(name), number=False) for name in report.columns if name != group]
    known: Column[Pair] = Column(
        "Reported (%)",
        lambda pair: results.reported(_published(pair)),
        lambda pair: row.reported.accuracy_percent if (row := _published(pair)).reported else None,
        page=lambda pair: results.on_two_lines(results.reported(_published(pair))),
        about="what the study prints, or the notebook logged",
    )
    columns = (*_scores(second, lambda pair: pair.other), *_scores(first, lambda pair: pair.one), *DIFFERENCE)
    return _choice(names, (known, *columns, ESTABLISHED, HOLM), shown)


def controlled(report: Report, rows: Mapping[str, Row]) -> tuple[list[Pair], Choice[Pair]] | None:
    """Return attention beside its controls, in the order of the rows, and the columns of their table; or ``None``."""
    if not report.controls:
        return None
    order = list(rows)
    shown = sorted(pairs(oriented(report.controls), rows), key=lambda pair: order.index(pair.test.rows[0]))
    shared = [name for name in report.columns if name in shown[0].test.shared]
    names: list[Column[Pair]] = [
        Column("Attention", lambda pair: pair.test.names[0], number=False, always=True),
        Column("Control", lambda pair: pair.test.names[1], number=False, always=True),
        *(Column(heading(name), _label(name), number=False) for name in shared),
    ]
    scores = (*_scores("with attention", lambda pair: pair.one), *_scores("control", lambda pair: pair.other))
    return shown, _choice(names, (*scores, *DIFFERENCE, ESTABLISHED, HOLM), shown)


def _choice(names: Sequence[Column[Pair]], columns: Sequence[Column[Pair]], shown: Sequence[Pair]) -> Choice[Pair]:
    labels, found = choose(names, shown), choose(columns, shown)
    return Choice((*(labels.shown or names[:1]), *found.shown), labels.common | found.common)


def _published(pair: Pair) -> Row:
    """Return the row of a pair that has reported figures, if any."""
    return pair.one if pair.one.reported else pair.other


def _scores(name: str, row: Callable[[Pair], Row]) -> tuple[Column[Pair], Column[Pair]]:
    """Return the columns of the accuracy of one of two options and, below it, its parameters."""
    above = f"{name[0].upper()}{name[1:]} (%)"
    return (
        Column(
            above,
            lambda pair: results.mean_and_sd(row(pair)),
            lambda pair: row(pair).accuracy.mean,
            about="accuracy, mean ± standard deviation over seeds",
            look="accuracy",
            link=lambda pair: f"row-{row(pair).key}",
            always=True,
        ),
        _figures("Parameters", lambda pair: row(pair).params_total, lambda n: f"{millions(n)} M", below=above),
    )


def _label(name: str) -> Callable[[Pair], str]:
    """Return the text of a comparison in a column: both options, or the label that its rows share."""
    return lambda pair: " − ".join(pair.test.names) if name == pair.test.group else pair.test.shared.get(name, ABSENT)


def _is_compared(name: str) -> Callable[[Pair], str]:
    return lambda pair: "pair" if name == pair.test.group else ""


def by_options(comparisons: Sequence[Comparison], rows: Mapping[str, Row]) -> list[list[Pair]]:
    """Group pairs by the two options that they compare, all in the same direction."""
    found: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs(oriented(comparisons), rows):
        found.setdefault(pair.test.names, []).append(pair)
    return list(found.values())
