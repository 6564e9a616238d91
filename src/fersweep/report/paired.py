"""The columns of the tables that compare rows; to add one, add it to `TESTS` or `CLAIMS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from fersweep.report import results
from fersweep.report.columns import Choice, Column, T, choose
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


DIFFERENCE: tuple[Column[Pair], ...] = (
    Column(
        "Difference (points)",
        lambda pair: points(pair.test.difference),
        lambda pair: pair.test.difference,
        look="accuracy",
        always=True,
    ),
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
    return Column(
        "Holm",
        lambda pair: p_value(p(pair)),
        p,
        about="corrected for all comparisons of one option in this report",
        below=below,
        always=True,
    )


ESTABLISHED: Column[Pair] = _established(lambda pair: pair.test)

TESTS: tuple[Column[Pair], ...] = (
    *DIFFERENCE,
    ESTABLISHED,
    Column("p", lambda pair: p_value(pair.test.p), lambda pair: pair.test.p, always=True),
    _holm(lambda pair: pair.test.p_holm, below="p"),
    Column("p, McNemar", lambda pair: p_value(pair.test.mcnemar_p), lambda pair: pair.test.mcnemar_p, always=True),
    _holm(lambda pair: pair.test.mcnemar_holm, below="p, McNemar"),
    Column(
        "P(A > B)",
        lambda pair: f"{pair.test.superiority:.2f}",
        lambda pair: pair.test.superiority,
        about="share of pairs of runs in which the first is better, ties counted half",
        always=True,
    ),
    Column(
        "Power (%)",
        lambda pair: f"{100 * pair.test.power:.0f}",
        lambda pair: pair.test.power,
        about="how probable it is that a true difference of this size gives p < 0.05 with these runs",
        always=True,
    ),
    Column(
        "Seeds for 80 %",
        lambda pair: ABSENT if (needed := pair.test.seeds_needed) is None else str(needed),
        lambda pair: pair.test.seeds_needed,
        about="of each, with which the power would be 80 %",
        below="Power (%)",
        always=True,
    ),
    Column(
        "Only first",
        lambda pair: f"{pair.test.discordant[0]:,.1f}",
        lambda pair: pair.test.discordant[0],
        about="images that the first recognised and the second did not, mean over pairs of seeds",
        always=True,
    ),
    Column(
        "Only second",
        lambda pair: f"{pair.test.discordant[1]:,.1f}",
        lambda pair: pair.test.discordant[1],
        about="images that the second recognised and the first did not, mean over pairs of seeds",
        always=True,
    ),
    Column(
        "Seeds",
        lambda pair: " / ".join(map(str, dict.fromkeys(pair.test.seeds))),
        lambda pair: min(pair.test.seeds),
        about="of the first and of the second",
    ),
    Column("n", lambda pair: grouped(pair.test.n), lambda pair: pair.test.n, about="test images"),
)
"""The columns of the table of comparisons."""


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
    Column(
        "Difference (points)",
        lambda claim: points(claim.difference),
        lambda claim: claim.difference,
        look="accuracy",
        always=True,
    ),
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
    Column("p (Holm)", lambda claim: p_value(claim.p_holm), lambda claim: claim.p_holm, always=True),
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
    p = next(column for column in TESTS if column.below == "p")
    return _choice(names, (known, *columns, ESTABLISHED, replace(p, heading="p (Holm)", below="")), shown)


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
        Column(
            "Parameters",
            lambda pair: f"{millions(row(pair).params_total)} M",
            lambda pair: row(pair).params_total,
            below=above,
            always=True,
        ),
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
