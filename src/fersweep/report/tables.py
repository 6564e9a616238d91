"""The main table as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from fersweep.config import GROUPS
from fersweep.report.contents import Report, Row
from fersweep.report.titles import ABSENT

SPECIAL = {"\\": r"\textbackslash{}", "±": r"$\pm$", "–": "--", "−": "$-$", "…": r"\dots{}", "·": r"$\cdot$"}
SPECIAL |= {character: rf"\{character}" for character in "&%$#_{}"}
SPECIAL |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def header(report: Report) -> list[str]:
    """The names of the columns of `cells`."""
    known = _known(report)
    ours = ["accuracy %", "seeds", "95 % interval", "macro-F1", "n", "majority %"]
    before, after = (["reported params"], ["reported %"]) if known else ([], [])
    return [*report.columns, *before, "params", *after, *ours, *(["verdict"] if known else [])]


def _known(report: Report) -> bool:
    """Whether the study prints anything for some row; else its columns are left out."""
    return any(row.reported for row in report.rows)


def cells(report: Report, row: Row) -> list[str]:
    """A row of the table as text; what is not known is an en dash."""
    figures, known = row.reported, _known(report)
    spread = "" if row.accuracy.sd is None else f" ± {100 * row.accuracy.sd:.2f}"
    verdict = ABSENT if row.verdict.kind == "none" else row.verdict.kind
    verdict += "" if row.verdict.comparable or verdict in (ABSENT, "cannot be right") else " (other protocol)"
    params = ABSENT if figures is None or figures.params_m is None else f"{figures.params_m:.2f}M"
    return [
        *(row.shown[column] for column in report.columns),
        *([params] * known),
        f"{row.params_total / 1e6:.2f}M",
        *([printed(row)] * known),
        f"{100 * row.accuracy.mean:.2f}{spread}",
        str(row.accuracy.n),
        " to ".join(f"{100 * end:.2f}" for end in row.interval),
        f"{row.macro_f1.mean:.3f}",
        str(row.n),
        f"{100 * row.majority:.2f}",
        *([verdict] * known),
    ]


def printed(row: Row) -> str:
    """A row's reported accuracy in percent, beside ours where it is of validation; an en dash where there is none."""
    if row.reported is None:
        return ABSENT
    ours = "" if row.validation is None else f" (validation; ours {100 * row.validation.mean:.2f})"
    return f"{row.reported.accuracy_percent:.2f}{ours}"


def as_markdown(report: Report) -> str:
    """A GitHub table, its notes and what is missing below it."""
    names = header(report)
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    for row in report.rows:
        lines.append("| " + " | ".join(each.replace("|", "\\|") for each in cells(report, row)) + " |")
    lines += ["", *(f"- {sentence}" for sentence in remarks(report))]
    return "\n".join(lines).rstrip() + "\n"


def remarks(report: Report) -> list[str]:
    """What a reader of the table must know: how to read it, what is odd about rows, what is missing."""
    fixed = ", ".join(f"{name} {value}" for name, value in report.common.items())
    general = [
        *([f"In all rows: {fixed}."] if fixed else []),
        "Accuracy: mean ± standard deviation over seeds, of the checkpoint chosen on validation. Interval: Wilson, for "
        "n test images; it says nothing of training again.",
    ]
    by_note: dict[str, list[str]] = {}
    for row in report.rows:
        for note in (*row.notes, *([row.reported.note] if row.reported and row.reported.note else [])):
            by_note.setdefault(note, []).append(row.name)
        if row.verdict.kind != "none" and row.verdict.sentence:
            by_note.setdefault(row.verdict.sentence, []).append(row.name)
    undone = len(report.unfinished)
    waiting = [f"{undone} {'run is' if undone == 1 else 'runs are'} not done."] if undone else []
    claims = [f"{claim.sentence}." for claim in report.claims]
    return [
        *general,
        *claims,
        *(f"{'; '.join(names)}: {note}" for note, names in by_note.items()),
        *report.missing,
        *waiting,
    ]


def as_csv(report: Report) -> str:
    """RFC 4180 text, one record a row, numbers as they are: fractions, not percent; what is not known is empty.

    All groups are columns, also those in which rows do not differ, so that files of several reports fit together.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    figures = ("reported_params_m", "reported_params_total", "reported_accuracy", "reported_part")
    ours = ("params_total", "params_trainable", "accuracy", "accuracy_sd", "seeds", "interval_low", "interval_high")
    rest = (
        "validation",
        "macro_f1",
        "macro_f1_sd",
        "n",
        "majority",
        "seconds",
        "verdict",
        "comparable",
        "verdict_sentence",
    )
    groups = [group for group in GROUPS if group not in ("trainer", "logger")]
    settings = [column for column in report.columns if column not in groups]
    writer.writerow([*groups, *settings, *figures, *ours, *rest])
    for row in report.rows:
        known = row.reported
        about: tuple[object, ...] = (None,) * len(figures)
        if known:
            about = (known.params_m, known.params_total, known.accuracy_percent / 100, known.part)
        writer.writerow(
            [
                *(row.choices[group] for group in groups),
                *(row.labels[column] for column in settings),
                *about,
                *(row.params_total, row.params_trainable, row.accuracy.mean, row.accuracy.sd, row.accuracy.n),
                *(
                    *row.interval,
                    row.validation and row.validation.mean,
                    row.macro_f1.mean,
                    row.macro_f1.sd,
                    row.n,
                    row.majority,
                    row.seconds,
                ),
                *(row.verdict.kind, row.verdict.comparable, row.verdict.sentence),
            ]
        )
    return text.getvalue()


def as_latex(report: Report) -> str:
    """A ``tabular`` with booktabs' rules; a line separates datasets and backbones."""
    names = header(report)
    labels, verdicts = len(report.columns), int(_known(report))
    alignment = "l" * labels + "r" * (len(names) - labels - verdicts) + "l" * verdicts
    lines = [
        r"% needs \usepackage{booktabs}",
        *(f"% {sentence}" for sentence in remarks(report)),
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        _latex_line(names),
        r"\midrule",
    ]
    before = None
    for row in report.rows:
        block = (row.choices["dataset"], row.choices["backbone"])
        if before not in (None, block):
            lines.append(r"\addlinespace")
        lines.append(_latex_line(cells(report, row)))
        before = block
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex_line(values: Sequence[str]) -> str:
    return " & ".join("".join(SPECIAL.get(each, each) for each in value) for value in values) + r" \\"
