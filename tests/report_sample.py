"""A report with made-up runs, the same at every call: every kind of row, comparison and unfinished run there is."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from fersweep.report.contents import Claim, Comparison, Mean, Report, Reported, Row, Verdict
from fersweep.report.statistics import wilson
from fersweep.runs.collect import Run

CLASSES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
COLUMNS = ("dataset", "backbone", "attention", "fidelity")
TITLES = {
    **{"fer2013": "FER2013", "ckplus": "CK+", "resnet50": "ResNet-50", "vgg19": "VGG-19", "se": "SE", "cbam": "CBAM"},
    **{"code": "as its code ran", "paper": "as its paper defines it", "elu": "ELU"},
}
SUPPORT = {"fer2013": (958, 111, 1024, 1774, 1233, 1247, 831), "ckplus": (9, 12, 5, 14, 119, 6, 17)}
PEOPLE_NOTE = "97 people of the test part are in training too, on 180 of the 182 test images."
SHARED_NOTE = "Fold 3 of 10 is missing: <b>the score is of the other nine</b>."
MISPRINT = "The study prints 42.87 M: that run lacked one convolution."
NASTY = (
    'RuntimeError in "stage 4":\n<script>document.title = "hacked"</script>\n  CUDA out of memory & more\n' + "x" * 150
)

# dataset, backbone, attention, fidelity, seeds, accuracy, params, reported params and accuracy, verdict
SPECIFICATIONS = [
    ("ckplus", "resnet50", "none", "code", 3, 0.882, 23_490_739, (23.49, 87.91), "within"),
    ("ckplus", "resnet50", "cbam", "code", 3, 0.915, 26_023_315, (26.02, 91.21), "cannot be right"),
    ("ckplus", "resnet50", "cbam", "paper", 1, 0.923, 26_040_112, None, "none"),
    ("fer2013", "resnet50", "none", "code", 3, 0.579, 23_490_739, (23.49, 58.61), "below"),
    ("fer2013", "resnet50", "none", "paper", 3, 0.591, 23_520_839, (23.49, 58.61), "within"),
    ("fer2013", "resnet50", "se", "code", 3, 0.584, 26_021_731, (26.02, 58.84), "within"),
    ("fer2013", "resnet50", "cbam", "code", 3, 0.598, 26_023_315, (26.02, 59.90), "within"),
    ("fer2013", "resnet50", "cbam", "paper", 3, 0.627, 26_040_112, (26.02, 59.90), "above"),
    ("fer2013", "vgg19", "none", "code", 1, 0.612, 45_225_927, (42.87, 60.92), "within"),
    ("fer2013", "vgg19", "cbam", "code", 1, 0.637, 45_259_338, (45.26, 64.07), "within"),
]
SENTENCES = {
    "within": "60.9 % lies in our interval.",
    "above": "Ours is 2.80 points above 59.90 %.",
    "below": "Ours is 0.71 points below 58.61 %; the difference is larger than chance.",
    "cannot be right": "91.21 % of 182 images is 166.002: the nearest counts give 91.21 % & 91.76 %.",
    "none": "",
}


def sample() -> Report:
    """The report: 10 rows, 24 finished runs, 4 unfinished ones."""
    rows = tuple(_row(number, *specification) for number, specification in enumerate(SPECIFICATIONS))
    return Report(
        title="table-2 <pilot>",
        rows=rows,
        columns=COLUMNS,
        common={"dataset": "FER2013", "recipe.max_epochs": "3"},
        options=compared(rows, "attention"),
        fidelity=compared(rows, "fidelity"),
        claims=(_claim(),),
        unfinished=_unfinished(),
        unfinished_names=("FER2013 · VGG-16 · ECA", "", *["FER2013 · VGG-16 · ECA"] * 2),
        done=sum(len(row.seeds) for row in rows),
        missing=("FER2013 · VGG-16 · ECA has no run here.", "CK+ · ResNet-50 · CBAM lacks seeds 2 and 3."),
    )


def _row(
    number: int,
    dataset: str,
    backbone: str,
    attention: str,
    fidelity: str,
    seeds: int,
    target: float,
    params: int,
    published: tuple[float, float] | None,
    verdict: str,
) -> Row:
    rng = np.random.default_rng(number)
    support = np.array(SUPPORT[dataset])
    n = int(support.sum())
    truth = np.repeat(np.arange(7), support)
    confusion, correct = np.zeros((7, 7), dtype=np.int64), np.zeros((seeds, n), dtype=bool)
    for seed in range(seeds):
        right = rng.random(n) < target + rng.normal(0, 0.004)
        wrong = (truth + rng.choice(6, n, p=[0.35, 0.25, 0.2, 0.1, 0.06, 0.04]) + 1) % 7
        correct[seed] = right
        np.add.at(confusion, (truth, np.where(right, truth, wrong)), 1)
    accuracies = correct.mean(axis=1)
    labels = {"dataset": dataset, "backbone": backbone, "attention": attention, "fidelity": fidelity}
    choices = {**labels, "split": "study", "activation": "elu", "recipe": "study", "augmentation": "none"}
    curves = tuple(history(rng, 24 + 3 * seed, target) for seed in range(seeds))
    return Row(
        key="-".join(labels.values()),
        labels=labels,
        choices=choices,
        titles={group: TITLES.get(option, option) for group, option in choices.items()},
        seeds=tuple(range(1, seeds + 1)),
        accuracy=mean_of(accuracies),
        interval=wilson(round(float(accuracies.mean()) * n), n),
        macro_f1=mean_of(accuracies - 0.03),
        n=n,
        majority=float(support.max() / n),
        shared_subjects=97 if dataset == "ckplus" else None,
        params_total=params,
        params_trainable=params - 598,
        seconds=(900.0 if dataset == "ckplus" else 14_000.0) * params / 23e6,
        epochs=tuple(len(curve) for curve in curves),
        best_epoch=tuple(int(curve["val/accuracy"].argmax()) for curve in curves),
        class_names=CLASSES,
        confusion=confusion,
        curves=curves,
        reported=published and study(params, *published, n=n),
        verdict=Verdict(verdict, SENTENCES[verdict], comparable=fidelity == "code"),
        notes=(*[SHARED_NOTE] * (number in (0, 1)), *[PEOPLE_NOTE] * (dataset == "ckplus")),
        correct=correct,
        ids=np.array([f"image-{i:05d}" for i in range(n)]),
    )


def mean_of(values: np.ndarray) -> Mean:
    sd = float(values.std(ddof=1)) if len(values) > 1 else None
    return Mean(float(values.mean()), sd, len(values), tuple(float(value) for value in values))


def study(params: int, params_m: float, accuracy_percent: float, n: int) -> Reported:
    note = MISPRINT if params_m == 42.87 else ""
    return Reported(params_m, params, params - 598, accuracy_percent, n, note)


def history(rng: np.random.Generator, epochs: int, target: float) -> pd.DataFrame:
    x = 1 - np.exp(-np.arange(epochs) / 6)
    noise = rng.normal(0, 0.008, (3, epochs))
    return pd.DataFrame(
        {
            "epoch": np.arange(epochs),
            "train/loss": 1.9 - 1.3 * x,
            "train/accuracy": 0.2 + (target - 0.05) * x + noise[0],
            "val/loss": 1.9 - 0.8 * x + noise[1],
            "val/accuracy": 0.2 + (target - 0.2) * x + noise[2],
            "val/macro_f1": 0.15 + (target - 0.2) * x + noise[2],
            "lr": np.full(epochs, 1e-4),
        }
    )


def compared(rows: tuple[Row, ...], group: str) -> tuple[Comparison, ...]:
    """Every two rows that differ in ``group`` alone."""
    pairs = [
        (first, second)
        for second, first in combinations(rows, 2)
        if {name for name, label in first.labels.items() if label != second.labels[name]} == {group}
    ]
    return tuple(_comparison(first, second, group) for first, second in pairs)


def _comparison(first: Row, second: Row, group: str) -> Comparison:
    difference = first.accuracy.mean - second.accuracy.mean
    half = 1.96 * (0.5 / first.n) ** 0.5
    p = float(np.exp(-3 * abs(difference) / half))
    enough = min(first.accuracy.n, second.accuracy.n) > 1
    one, other = first.shown[group], second.shown[group]
    shared = {name: label for name, label in first.shown.items() if name != group}
    established = p < 0.05 and enough
    verb = "beats" if established else "is not established to differ from"
    recognised, other_recognised = first.correct[:, None], second.correct[None]
    only_first = float((recognised & ~other_recognised).sum(axis=2).mean())
    only_second = float((other_recognised & ~recognised).sum(axis=2).mean())
    return Comparison(
        group=group,
        shared=shared,
        first=first.labels[group],
        second=second.labels[group],
        names=(one, other),
        rows=(first.key, second.key),
        difference=difference,
        interval=(difference - half, difference + half),
        p=p,
        p_holm=min(1.0, 2 * p),
        mcnemar_p=min(1.0, 1.1 * p),
        mcnemar_holm=min(1.0, 2.2 * p),
        discordant=(only_first, only_second),
        superiority=0.75,
        power=0.4,
        seeds_needed=9 if p < 0.5 else None,
        seeds=(first.accuracy.n, second.accuracy.n),
        n=first.n,
        established=established,
        sentence=f"{' · '.join(shared.values())}: {one} {verb} {other} ({100 * difference:.2f} points).",
    )


def _claim() -> Claim:
    """One mean gain, over two datasets."""
    pairs = (("CK+ · VGG-16", 0.021), ("CK+ · ResNet-50", 0.034), ("FER2013 · VGG-16", -0.004))
    return Claim(
        group="attention",
        shared="",
        first="CBAM",
        second="none",
        over="2 backbones and 2 datasets",
        pairs=pairs,
        positive=2,
        seeds=(1, 3),
        difference=0.017,
        interval=(-0.03, 0.064),
        p=0.26,
        p_holm=0.26,
        established=False,
        sentence="CBAM minus no attention is 1.7 points on average over 2 backbones and 2 datasets: not established",
    )


def _unfinished() -> tuple[Run, ...]:
    choices = {"dataset": "fer2013", "backbone": "vgg16", "attention": "eca", "fidelity": "paper"}
    outputs = Path("outputs/table-2 <pilot>")
    failed = {"type": "OutOfMemoryError", "message": NASTY}
    hanging = {"type": "UserError", "message": "images <3 & labels disagree"}
    return (
        Run(outputs / "vgg16-eca-s1-0123456789", "failed", "0123456789", choices, 1, error=failed, attempts=2),
        Run(outputs / "vgg16-eca-s2-0123456780", "unreadable", "0123456780", {}, None, error=hanging),
        Run(outputs / "vgg16-eca-s3-0123456781", "running", "0123456781", choices, 3, attempts=1),
        Run(outputs / "vgg16-eca-s4-0123456782", "pending", "0123456782", choices, 4, settings={"recipe.lr": 0.1}),
    )
