"""What a report holds, as plain data: made by `gather` and `compare`, shown by `tables`, `plots` and `page`.

Accuracies, F1 scores and differences are fractions (0.5 is 50 %) unless a name ends in ``_percent``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from fersweep.report.explained import Explained
from fersweep.report.titles import ABSENT, joined, spelled
from fersweep.runs.collect import Run


@dataclass(frozen=True)
class Mean:
    """A figure over the seeds of a row.

    Attributes:
        mean: over ``n`` seeds.
        sd: sample standard deviation (n - 1), or ``None`` with one seed.
        n: how many.
        values: of each seed, in the order of `Row.seeds`.
    """

    mean: float
    sd: float | None
    n: int
    values: tuple[float, ...]


@dataclass(frozen=True)
class Verdict:
    """Whether a reported accuracy holds up.

    Attributes:
        kind: ``within``, ``above`` or ``below`` (our accuracy against the reported one), ``too few seeds`` to say,
            ``cannot be right`` or ``none`` (nothing was reported for this row).
        sentence: the arithmetic, or what our runs did otherwise; may be empty.
        comparable: whether the runs followed the study's protocol; where not, within, above and below say little.
    """

    kind: str
    sentence: str
    comparable: bool


@dataclass(frozen=True)
class Reported:
    """What the study prints for a row, or the notebook logged.

    Attributes:
        params_m: its parameter count in millions, ``None`` where an ablation prints none.
        params_total: the count of its code, batch norm's moving statistics included; ``None`` in an ablation.
        params_trainable: without these.
        accuracy_percent: on this row's dataset and its ``part`` of ``n`` images.
        n: how many images that had.
        note: what is known to be wrong with these figures; may be empty.
        part: whether the accuracy is of ``test`` or of ``validation`` images.
        best_of: of how many runs it is the best on that part.
    """

    params_m: float | None
    params_total: int | None
    params_trainable: int | None
    accuracy_percent: float
    n: int
    note: str = ""
    part: str = "test"
    best_of: int = 1


@dataclass(frozen=True)
class Row:
    """Runs that differ in their seed alone (and in the fold, where each fold of people is a run).

    Attributes:
        key: unique in the report, safe as an id in HTML and in a file name.
        labels: column → what this row has there, an option by its name, or `fersweep.report.titles.ABSENT`; the same
            columns in every row, those alone in which rows differ; always has ``backbone`` and ``attention``.
        choices: group → option, of all groups, and ``titles`` how a person reads them.
        seeds: those of the finished runs, sorted.
        accuracy: on the test part.
        interval: Wilson's 95 % interval of the mean accuracy for ``n`` test images: what other images might have given.
        macro_f1: as accuracy.
        n: test images, each counted once.
        majority: what always answering the commonest class of train would score.
        shared_subjects: people in both train and test, ``None`` where that is not known.
        params_total: of the network, batch norm's moving statistics included, and ``params_trainable`` without.
        seconds: a run takes, mean over seeds (sum over folds).
        epochs: trained, and ``best_epoch`` tested, of each seed.
        class_names: K names.
        confusion: counts ``(K, K)``, rows true, summed over seeds and folds.
        curves: ``history.csv`` of each run: columns ``epoch``, ``train/loss``, ``train/accuracy``, ``val/loss``,
            ``val/accuracy``, ``val/macro_f1``, ``lr``.
        reported: what the study prints, or ``None``.
        verdict: about that.
        notes: sentences a reader must know, such as that folds are missing.
        correct: per seed, whether each test image was recognised: bool ``(seeds, n)``, in the order of ``ids``.
        ids: the test images, sorted.
        people: who is shown on each, ``(n,)``, or ``None`` where that is not known.
        over_people: 95 % interval of the accuracy for other people, ``None`` where they are not known or all is one's.
        best_of: the number of runs of which the study prints the best, and what the best of so many of ours is in the
            mean; ``None`` where it prints single runs.
        at_chance: the seeds of runs that never left chance, see `fersweep.report.effects.at_chance`.
        validation: accuracy of the chosen checkpoint on validation, where a reported figure is of that.
        without_twins: accuracy on the ``n_without_twins`` test images without an identical or near-identical image in
            training or validation; ``None`` where that is not known.
        explained: the contact sheets of the first of its runs that has some.
    """

    key: str
    labels: dict[str, str]
    choices: dict[str, str]
    titles: dict[str, str]
    seeds: tuple[int, ...]
    accuracy: Mean
    interval: tuple[float, float]
    macro_f1: Mean
    n: int
    majority: float
    shared_subjects: int | None
    params_total: int
    params_trainable: int
    seconds: float
    epochs: tuple[int, ...]
    best_epoch: tuple[int, ...]
    class_names: tuple[str, ...]
    confusion: npt.NDArray[np.int64]
    curves: tuple[pd.DataFrame, ...]
    reported: Reported | None
    verdict: Verdict
    notes: tuple[str, ...]
    correct: npt.NDArray[np.bool_] = field(repr=False)
    ids: npt.NDArray[np.str_] = field(repr=False)
    people: npt.NDArray[np.str_] | None = field(default=None, repr=False)
    over_people: tuple[float, float] | None = None
    best_of: tuple[int, float] | None = None
    at_chance: tuple[int, ...] = ()
    validation: Mean | None = None
    explained: Explained | None = None
    without_twins: Mean | None = None
    n_without_twins: int | None = None

    @property
    def has_twins(self) -> bool:
        """Whether some test image has a twin."""
        return self.n_without_twins is not None and self.n_without_twins < self.n

    @property
    def shown(self) -> dict[str, str]:
        """The labels as a person reads them."""
        return {column: self.titles.get(column, label) for column, label in self.labels.items()}

    @property
    def name(self) -> str:
        """What is shown in one line: ``ResNet-50 · CBAM · as its code ran``; a setting is shown with its name."""
        return joined(
            value if column in self.titles or value == ABSENT else f"{spelled(column)} {value}"
            for column, value in self.shown.items()
        )


@dataclass(frozen=True)
class Comparison:
    """Two rows that differ in one group, tested on the same images.

    Attributes:
        group: the label they differ in, such as ``attention`` or ``fidelity``.
        shared: the other labels, which both have, as a person reads them.
        first: the option of one row, and ``second`` of the other; ``names`` are how a person reads them, ``rows`` the
            keys of both.
        difference: accuracy of the first less that of the second, mean over seeds.
        interval: its 95 % interval over images and seeds.
        p: two-sided, of the same standard error; ``p_holm`` corrected for all comparisons of this group in the report.
        mcnemar_p: of McNemar's exact test, over pairs of seeds; ``mcnemar_holm`` corrected likewise.
        discordant: images that only the first, and only the second, recognised: means over pairs of seeds.
        superiority: P(first > second), the share of pairs of runs in which the first is better, ties counted half.
        power: how probable it is that a true difference of this size gives p < 0.05 with these runs.
        seeds_needed: runs of each that would raise that to 80 %, ``None`` where no number does or nothing is known.
        seeds: how many each has.
        n: test images.
        established: whether ``p_holm`` is below 0.05 and both have enough seeds to tell.
        sentence: the plain statement.
    """

    group: str
    shared: dict[str, str]
    first: str
    second: str
    names: tuple[str, str]
    rows: tuple[str, str]
    difference: float
    interval: tuple[float, float]
    p: float
    p_holm: float
    mcnemar_p: float
    mcnemar_holm: float
    discordant: tuple[float, float]
    superiority: float
    power: float
    seeds_needed: int | None
    seeds: tuple[int, int]
    n: int
    established: bool
    sentence: str


@dataclass(frozen=True)
class Claim:
    """The mean difference of two options over all settings, such as backbones and datasets, in which both were tested.

    Attributes:
        group: the label they differ in.
        shared: what all the settings have in common beyond that, as a person reads it; may be empty.
        first: how a person reads the one option, and ``second`` the other, the baseline.
        over: what the settings are, such as ``8 backbones and 3 datasets``.
        pairs: of each setting its name, and its difference as a fraction, mean over seeds.
        positive: in how many the first is better.
        seeds: the fewest and the most runs that a row has.
        difference: the mean over settings.
        interval: its 95 % interval, over settings and images.
        p: two-sided; ``p_holm`` corrected for all claims of this group.
        established: whether ``p_holm`` is below 0.05, and settings and seeds are enough to tell.
        sentence: the plain statement.
        open: why nothing can be established, such as ``2 settings; it takes 4``; empty where something can.
    """

    group: str
    shared: str
    first: str
    second: str
    over: str
    pairs: tuple[tuple[str, float], ...]
    positive: int
    seeds: tuple[int, int]
    difference: float
    interval: tuple[float, float]
    p: float
    p_holm: float
    established: bool
    sentence: str
    open: str = ""


@dataclass(frozen=True)
class Report:
    """Everything a page shows.

    Attributes:
        title: of the page: the sweep that all runs are of, else the folder's name.
        rows: best known order: by dataset, backbone, attention, fidelity.
        columns: of `Row.labels`.
        common: what all rows have in common: group → title, and the settings that matter most.
        options: comparisons between attention options, and of other choices and settings that rows differ in.
        fidelity: comparisons between fidelities.
        claims: mean differences over backbones and datasets.
        unfinished: runs that are not done, with why, and ``unfinished_names`` what was chosen for each, in a line.
        done: how many runs are, folds counted.
        missing: sentences: rows of the study's table without a run here, seeds that some rows lack.
    """

    title: str
    rows: tuple[Row, ...]
    columns: tuple[str, ...]
    common: dict[str, str]
    options: tuple[Comparison, ...]
    fidelity: tuple[Comparison, ...]
    claims: tuple[Claim, ...]
    unfinished: tuple[Run, ...]
    unfinished_names: tuple[str, ...]
    done: int
    missing: tuple[str, ...]
