"""Splits of `Samples` into train, validation and test.

Each is a function ``f(samples, ...) -> Split`` that depends on the ids, not on the order of the samples. They raise
`UserError` if the samples lack the fields that they need, a setting is out of range, a part is empty, or a class in
validation or test is missing in train.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from random import Random

import numpy as np
import numpy.typing as npt

from fersweep.data.samples import PRIVATE, PUBLIC, TEST, TRAINING, Indices, Samples
from fersweep.errors import UserError
from fersweep.text import listed


@dataclass(frozen=True)
class Split:
    """Indices into `Samples`; the parts are sorted and disjoint.

    Attributes:
        train: images that the network is fitted to.
        val: images that select the epoch.
        test: images that the results are reported on.
        dropped: number of images left out of train and val because they have a twin in test (`fersweep.data.twins`).
        fold: index of this split among ``folds``, for cross-validation.
    """

    train: Indices
    val: Indices
    test: Indices
    dropped: int = 0
    fold: int | None = None
    folds: int | None = None


def official(samples: Samples) -> Split:
    """FER2013's own parts: Training; PublicTest for validation; PrivateTest for testing (Goodfellow et al., 2013)."""
    if "official" not in possible(samples):
        needs = f"images marked {TRAINING}, {PUBLIC} and {PRIVATE}"
        raise _unsuited(samples, "official", needs, _usages(samples))
    parts = (np.flatnonzero(samples.usage == part) for part in (TRAINING, PUBLIC, PRIVATE))
    return _checked(samples, "official", *parts)


def train_test(samples: Samples, *, seed: int = 0, val_fraction: float = 0.1) -> Split:
    """The parts of a dataset that predefines no validation part: Training and Test (RAF-DB, AffectNet).

    Validation: per class ``round(val_fraction * n)`` random images of Training, which select the epoch.
    """
    _check_fractions(val_fraction=val_fraction)
    if "train_test" not in possible(samples):
        raise _unsuited(samples, "train_test", f"images marked {TRAINING} and {TEST} alone", _usages(samples))
    return _from_training(samples, "train_test", TEST, seed, val_fraction)


def tuning(samples: Samples, *, seed: int = 0, val_fraction: float = 0.1) -> Split:
    """For choosing settings without a look at PrivateTest: the runs that are compared are tested on PublicTest.

    Validation: per class ``round(val_fraction * n)`` random images of Training, which select the epoch. PrivateTest is
    in no part.
    """
    _check_fractions(val_fraction=val_fraction)
    if "tuning" not in possible(samples):
        raise _unsuited(samples, "tuning", f"images marked {TRAINING} and {PUBLIC}", _usages(samples))
    return _from_training(samples, "tuning", PUBLIC, seed, val_fraction)


def study(samples: Samples, *, seed: int = 1337, test_fraction: float = 0.2, val_fraction: float = 0.3) -> Split:
    """The study's split.

    Test: every image not marked Training; in a dataset without usages, per class the images that ``splitfolders.ratio``
    takes, which the study called: of the sorted ids, shuffled by Python's generator with ``seed``, all from
    ``int((1 - test_fraction) * n)`` on. Validation: per class the first ``int(val_fraction * n)`` of the sorted ids of
    the rest. People may be in several parts.
    """
    _check_fractions(val_fraction=val_fraction, test_fraction=test_fraction)
    val, test = [], []
    for members in _by_class(samples):
        if samples.usage is None:
            order = list(range(len(members)))
            Random(seed).shuffle(order)
            tested = members[order[int((1 - test_fraction) * len(members)) :]]
        else:
            tested = members[samples.usage[members] != TRAINING]
        rest = members[~np.isin(members, tested)]
        test.append(tested)
        val.append(rest[: int(val_fraction * len(rest))])
    return _from_val_and_test(samples, "study", val, test)


def random(
    samples: Samples, *, val_fraction: float, test_fraction: float, seed: int, whole_sequences: bool = False
) -> Split:
    """Stratified random split: per class ``round(fraction * n)`` images, ignoring the dataset's predefined parts.

    With ``whole_sequences`` the frames of a sequence stay in one part: of the sequences whose frames show the same
    classes, ``round(fraction * n)`` are drawn.
    """
    _check_fractions(val_fraction=val_fraction, test_fraction=test_fraction)
    if whole_sequences and samples.sequences is None:
        raise UserError(
            "split.function.whole_sequences=true needs sequences of frames, and this dataset has none: set it to false."
        )
    generator = np.random.default_rng(seed)
    val, test = [], []
    unit, strata = _by_sequence(samples) if whole_sequences else (np.arange(len(samples)), _by_class(samples))
    for units in strata:
        order = generator.permutation(units)
        tests = round(test_fraction * len(units))
        test.append(np.flatnonzero(np.isin(unit, order[:tests])))
        val.append(np.flatnonzero(np.isin(unit, order[tests : tests + round(val_fraction * len(units))])))
    return _from_val_and_test(samples, "random", val, test)


def subjects(samples: Samples, *, fold: int = 0, folds: int | None = None, seed: int = 0) -> Split:
    """Subject-independent k-fold split: fold ``fold`` tests, the next one validates, the others train.

    The people, sorted and then shuffled by ``seed``, are dealt to the folds in turn. Over all folds every image is
    tested once; the accuracy is that of the pooled predictions.

    Args:
        samples: samples with subjects.
        fold: 0 … folds - 1.
        folds: number of folds; by default 10, or one per person if there are fewer (JAFFE: leave one subject out).
        seed: seed of the shuffle.
    """
    if samples.subjects is None:
        raise _unsuited(samples, "subjects", "to know who is shown", "no subjects")
    people = np.unique(samples.subjects)
    if len(people) < 3:
        has = f"only {len(people)} ({', '.join(people)})"
        raise _unsuited(samples, "subjects", "at least three subjects, to train, validate and test on", has)
    folds = min(10, len(people)) if folds is None else folds
    if not (isinstance(folds, int) and isinstance(fold, int)):
        raise UserError(f"split.fold={fold} and split.folds={folds} must be whole numbers")
    if not 3 <= folds <= len(people):
        raise UserError(f"split.folds={folds} is impossible: choose 3 to {len(people)}, the number of subjects")
    if not 0 <= fold < folds:
        raise UserError(f"split.fold={fold} does not exist: choose 0 to {folds - 1}")
    dealt = np.empty(len(people), np.int64)
    dealt[np.random.default_rng(seed).permutation(len(people))] = np.arange(len(people)) % folds
    of_sample = dealt[np.searchsorted(people, samples.subjects)]
    validated = (fold + 1) % folds
    parts = (~np.isin(of_sample, (fold, validated)), of_sample == validated, of_sample == fold)
    return replace(_checked(samples, "subjects", *map(np.flatnonzero, parts)), fold=fold, folds=folds)


def notebook(samples: Samples, *, seed: int = 42, val_fraction: float = 0.2) -> Split:
    """The notebook's split: ``ceil(val_fraction * n)`` random images of those marked Training validate.

    They are the first of scikit-learn's ``ShuffleSplit`` permutation of the sorted ids, without regard to class. Images
    not marked Training test; the notebook never used them.
    """
    _check_fractions(val_fraction=val_fraction)
    if samples.usage is None or "notebook" not in possible(samples):
        raise _unsuited(samples, "notebook", f"images marked {TRAINING}, and others to test on", _usages(samples))
    order = np.argsort(samples.ids, kind="stable")
    training = order[samples.usage[order] == TRAINING]
    shuffled = training[np.random.RandomState(seed).permutation(len(training))]
    validates = math.ceil(val_fraction * len(training))
    return _from_val_and_test(samples, "notebook", [shuffled[:validates]], [np.flatnonzero(samples.usage != TRAINING)])


def shared(names: npt.NDArray[np.str_] | None, split: Split) -> tuple[int, int] | tuple[None, None]:
    """Return the number of people (or sequences) in both the test and the training part, and of their test images.

    Args:
        names: `Samples.subjects` or `Samples.sequences`; ``None`` if unknown.
        split: a split of the samples. The validation part does not count.
    """
    if names is None:
        return None, None
    seen = np.isin(names[split.test], names[split.train])
    return len(np.unique(names[split.test][seen])), int(seen.sum())


def majority_accuracy(samples: Samples, split: Split) -> float:
    """Return the test accuracy, 0…1, of always answering the most frequent class of the training part."""
    most = np.bincount(samples.labels[split.train], minlength=len(samples.class_names)).argmax()
    return float(np.mean(samples.labels[split.test] == most))


def possible(samples: Samples) -> list[str]:
    """Return the names of the splits that the samples have the fields for."""
    usages = set() if samples.usage is None else set(np.unique(samples.usage).tolist())
    people = samples.subjects is not None and len(np.unique(samples.subjects)) >= 3
    has = {
        "official": {TRAINING, PUBLIC, PRIVATE} <= usages,
        "study": True,
        "subjects": people,
        "random": True,
        "notebook": TRAINING in usages and len(usages) > 1,
        "tuning": {TRAINING, PUBLIC} <= usages,
        "train_test": usages == {TRAINING, TEST},
    }
    return [name for name, fits in has.items() if fits]


def _unsuited(samples: Samples, split: str, needs: str, has: str) -> UserError:
    choices = [f"split={name}" for name in possible(samples) if name != split]
    return UserError(f"split={split} needs {needs}; this dataset has {has}: choose {listed(choices, 'or')}")


def _usages(samples: Samples) -> str:
    return "no predefined parts" if samples.usage is None else f"only {', '.join(np.unique(samples.usage))}"


def _check_fractions(**fractions: float) -> None:
    for name, value in fractions.items():
        if not 0 < value < 1:
            raise UserError(f"split.{name}={value} is impossible: choose more than 0 and less than 1")
    if sum(fractions.values()) >= 1:
        settings = ", ".join(f"split.{name}={value}" for name, value in fractions.items())
        raise UserError(f"{settings} leave nothing to train on")


def _by_class(samples: Samples) -> list[Indices]:
    """Return, per class, the indices of its samples in the order of their ids."""
    order = np.argsort(samples.ids, kind="stable")
    return [order[samples.labels[order] == label] for label in range(len(samples.class_names))]


def _by_sequence(samples: Samples) -> tuple[Indices, list[Indices]]:
    """Return each sample's sequence as a number, and the sequences grouped by the classes that they show."""
    assert samples.sequences is not None
    names, number = np.unique(samples.sequences, return_inverse=True)
    shown = np.zeros((len(names), len(samples.class_names)), bool)
    shown[number, samples.labels] = True
    kinds = np.unique(shown, axis=0)[::-1]
    return number, [np.flatnonzero((shown == kind).all(axis=1)) for kind in kinds]


def _from_training(samples: Samples, split: str, tested: str, seed: int, val_fraction: float) -> Split:
    """Return the split that tests on one usage and validates on a random fraction of each class of Training."""
    assert samples.usage is not None
    generator = np.random.default_rng(seed)
    train, val = [], []
    for members in _by_class(samples):
        order = generator.permutation(members[samples.usage[members] == TRAINING])
        validates = round(val_fraction * len(order))
        val.append(order[:validates])
        train.append(order[validates:])
    fit, select = (np.sort(np.concatenate(part)) for part in (train, val))
    return _checked(samples, split, fit, select, np.flatnonzero(samples.usage == tested))


def _from_val_and_test(samples: Samples, split: str, val: list[Indices], test: list[Indices]) -> Split:
    rest = np.ones(len(samples), bool)
    rest[np.concatenate([*val, *test])] = False
    return _checked(samples, split, np.flatnonzero(rest), np.sort(np.concatenate(val)), np.sort(np.concatenate(test)))


def _checked(samples: Samples, split: str, train: Indices, val: Indices, test: Indices) -> Split:
    """Return the `Split`.

    Raises:
        UserError: a class or part is empty, or a class in validation or test is missing in train.
    """
    parts = {"train": train, "validation": val, "test": test}
    together = np.concatenate((train, val, test))
    assert len(np.unique(together)) == len(together), "the parts of a split overlap"
    counts = {
        name: np.bincount(samples.labels[part], minlength=len(samples.class_names)) for name, part in parts.items()
    }
    for label, name in enumerate(samples.class_names):
        if label not in samples.labels:
            raise UserError(f"the class {name} has no image in this dataset: add some, or remove its folder")
    for name, part in parts.items():
        if not len(part):
            raise UserError(f"split={split} leaves the {name} part empty: this dataset has only {len(samples)} images")
    for label, name in enumerate(samples.class_names):
        for where in ("validation", "test"):
            if counts[where][label] and not counts["train"][label]:
                raise UserError(
                    f"split={split} puts the class {name} into the {where} part ({counts[where][label]} images) but "
                    f"none of it into the training part: add images of {name}, or choose another split"
                )
    train, val, test = (part.astype(np.int64) for part in (train, val, test))
    return Split(train, val, test)
