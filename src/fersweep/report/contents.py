"""The contents of a report as plain data: made by `rows` and `compare`, shown by `tables`, `plots` and `page`.

Accuracies, F1 scores and differences are fractions (0.5 is 50 %) unless a name ends in ``_percent``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fersweep.report.answers import Answers
from fersweep.report.explained import Explained
from fersweep.report.search import Searched
from fersweep.report.sheet import Section
from fersweep.report.titles import ABSENT, joined, spelled
from fersweep.runs.collect import Run


@dataclass(frozen=True)
class Mean:
    """A figure over the seeds of a row.

    Attributes:
        mean: over ``n`` seeds.
        sd: sample standard deviation (n - 1), or ``None`` with one seed.
        values: one per seed, in the order of `Row.seeds`.
    """

    mean: float
    sd: float | None
    n: int
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Mean:
        """Return the mean of one figure per seed."""
        sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
        return cls(float(np.mean(values)), sd, len(values), tuple(values))


@dataclass(frozen=True)
class Verdict:
    """The verdict on a reported accuracy.

    Attributes:
        kind: ``within``, ``above`` or ``below`` (our accuracy against the reported one), ``too few seeds`` to say,
            ``cannot be right`` or ``none`` (nothing was reported for this row).
        sentence: the calculation, or the deviations of our runs; may be empty.
        comparable: whether the runs followed the protocol; if not, within, above and below say little.
    """

    kind: str
    sentence: str
    comparable: bool


@dataclass(frozen=True)
class Reported:
    """The figures that the study prints for a row, or that the notebook logged.

    Attributes:
        params_m: its parameter count in millions, ``None`` if an ablation prints none.
        params_total: the count of its code, including batch norm's moving statistics; ``None`` in an ablation.
        params_trainable: without these.
        accuracy_percent: on this row's dataset and its ``part`` of ``n`` images.
        note: known faults of these figures; may be empty.
        part: ``test`` or ``validation``.
        best_of: the number of runs of which it is the best on that part.
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
class Elsewhere:
    """The accuracy of a row's networks on other data, or on another part of their own (``fersweep test``).

    Attributes:
        key: equal for tests on the same images by the same rules.
        title: the data in words.
        accuracy: over the seeds that were tested, each the mean over its folds.
        interval: Wilson's 95 % interval of the mean accuracy for ``n`` images.
        majority: share of the commonest class among these images.
        result: ``result.json`` of the first test.
        notes: sentences that readers must know, such as that images were seen in training.
    """

    key: str
    title: str
    accuracy: Mean
    interval: tuple[float, float]
    n: int
    majority: float
    result: Mapping[str, Any]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """Runs that differ in their seed alone (and in the fold, where each fold of people is a run).

    Attributes:
        key: unique in the report, safe as an id in HTML and in a file name.
        labels: column → value, an option by its name, or `fersweep.report.titles.ABSENT`; every row has the same
            columns: those in which rows differ, and ``backbone`` and ``attention``.
        choices: group → option, of all groups; ``titles``: group → title.
        own: setting → value, of settings in which rows differ beside their labels (`fersweep.report.labels.beside`).
        accuracy: on the test part, as is ``macro_f1``.
        interval: Wilson's 95 % interval of the mean accuracy for ``n`` test images, over other images.
        n: test images, each counted once.
        majority: accuracy of always answering the commonest class of train.
        shared_subjects: people in both train and test, ``None`` if unknown.
        params_total: of the network, including batch norm's moving statistics; ``params_trainable``: without these.
        seconds: duration of a run, mean over seeds (sum over folds); ``training_flops``: floating-point operations of
            its training, likewise, ``None`` if unknown.
        epochs: trained epochs of each run; ``best_epoch``: the tested ones.
        confusion: counts ``(K, K)``, rows true, summed over seeds and folds.
        curves: ``history.csv`` of each run.
        reported: the figures of the study or the notebook; ``verdict``: on these.
        notes: sentences that readers must know, such as that folds are missing.
        correct: per seed, whether each test image was classified correctly: bool ``(seeds, n)``, in the order of
            ``ids``.
        ids: the test images, sorted.
        people: the person on each, ``(n,)``, or ``None`` if unknown.
        over_people: 95 % interval of the accuracy over other people, ``None`` if they are unknown or only one.
        best_of: the number of runs of which the study prints the best, and the mean best of so many of ours; ``None``
            if it prints single runs.
        at_chance: the seeds of runs that never left chance, see `fersweep.report.effects.at_chance`.
        validation: accuracy of the chosen checkpoint on validation, if the reported figure is on validation.
        without_twins: accuracy on the ``n_without_twins`` test images without an identical or near-identical image in
            training or validation; ``None`` if unknown.
        explained: the contact sheets of the first run that has some.
        elsewhere: tests on other data, by `Elsewhere.key`.
        chosen_at: validation accuracy of the tested epochs, mean over its runs.
        answers: of its networks to the test images; ``None`` if some have no probabilities, or had other images.
        code: digest and commit of each state of the code that trained its runs; empty if they did not record it.
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
    training_flops: float | None = None
    elsewhere: dict[str, Elsewhere] = field(default_factory=dict)
    code: tuple[tuple[str, str], ...] = ()
    chosen_at: float | None = None
    own: dict[str, str] = field(default_factory=dict)
    answers: Answers | None = field(default=None, repr=False)

    @property
    def has_twins(self) -> bool:
        """True if some test image has a twin in training or validation."""
        return self.n_without_twins is not None and self.n_without_twins < self.n

    @property
    def shown(self) -> dict[str, str]:
        """The labels with titles for options."""
        return {column: self.titles.get(column, label) for column, label in self.labels.items()}

    @property
    def name(self) -> str:
        """The shown labels in one line: ``ResNet-50 · CBAM · as its code ran``; settings with their names."""
        return joined(
            value if column in self.titles or value == ABSENT else f"{spelled(column)} {value}"
            for column, value in self.shown.items()
        )


@dataclass(frozen=True)
class Comparison:
    """Two rows that differ in one group, tested on the same images.

    Attributes:
        group: the label in which they differ, such as ``attention`` or ``fidelity``.
        shared: the other labels, which both share, as shown.
        first: the option of one row; ``second``: that of the other; ``names``: their titles; ``rows``: the rows' keys.
        difference: accuracy of the first minus that of the second, mean over seeds.
        interval: its 95 % interval over images and seeds.
        p: two-sided, from the same standard error; ``p_holm``: corrected for all comparisons of this group.
        mcnemar_p: of McNemar's exact test, over pairs of seeds; ``mcnemar_holm``: corrected likewise.
        discordant: images that only the first, and only the second, classified correctly: means over pairs of seeds.
        superiority: P(first > second), the share of pairs of runs in which the first is better, ties counted half.
        power: probability that a true difference of this size gives p < 0.05 with these runs.
        seeds_needed: runs of each for a power of 80 %, ``None`` if unknown or no number suffices.
        established: whether ``p_holm`` is below 0.05 and both have enough seeds.
        sentence: the conclusion in words.
        beside: settings in which the rows differ beside ``group``, see `Row.own`.
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
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    """The mean difference of two options over all settings, such as backbones and datasets, in which both were tested.

    Attributes:
        group: the label in which they differ.
        shared: the labels that all settings share otherwise, as shown; may be empty.
        first: the title of one option; ``second``: that of the other, the baseline.
        over: the settings in words, such as ``8 backbones and 3 datasets``.
        pairs: name of each setting, and its difference as a fraction, mean over seeds.
        positive: number of settings in which the first is better.
        seeds: the fewest and the most seeds of a row.
        difference: the mean over settings.
        interval: its 95 % interval, over settings and images.
        p: two-sided; ``p_holm``: corrected for all claims of this group.
        established: whether ``p_holm`` is below 0.05 and there are enough settings and seeds.
        sentence: the conclusion in words.
        open: why nothing can be established, such as ``2 settings; it takes 4``; else empty.
        beside: settings in which some of the rows compared differ, too, see `Comparison`.
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
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """The contents of a report.

    Attributes:
        title: the sweep of all runs, or the folder's name if there are several.
        rows: sorted by dataset, split, backbone, attention, fidelity.
        columns: those of `Row.labels`.
        common: group → title, and the most important settings, where all rows share them.
        options: comparisons between attention options, and of other choices and settings in which rows differ.
        unfinished: runs that are not done; ``unfinished_names``: the choices of each, in a line.
        done: number of finished runs, folds counted.
        missing: sentences on rows of the study's table without a run here, and on seeds that some rows lack.
        searches: in the folders of the runs.
        controls: comparisons of attention with networks without it that have as many parameters.
        code: a sentence on rows that come from different code; empty if all come from one.
        protocol: the sheet of `fersweep.report.protocol`.
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
    searches: tuple[Searched, ...] = ()
    controls: tuple[Comparison, ...] = ()
    code: tuple[str, ...] = ()
    protocol: tuple[Section, ...] = ()
