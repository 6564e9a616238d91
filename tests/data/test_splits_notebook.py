"""The notebook's split: ``train_test_split`` of the images marked Training."""

import math
from dataclasses import replace

import numpy as np
import pytest
from conftest import quickly_composed
from data_splits import fer2013, lengths, people
from fakes import samples

from fersweep import build
from fersweep.data import splits
from fersweep.data.samples import PRIVATE, PUBLIC, TRAINING, Samples
from fersweep.errors import UserError


def parts(training: int, others: int, seed: int = 0) -> Samples:
    """Training and other images of one class, their ids in no order."""
    data = samples([training + others], ("a",), usage=[TRAINING] * training + ["Test"] * others)
    order = np.random.default_rng(seed).permutation(training + others)
    assert data.usage is not None
    return replace(data, ids=data.ids[order], usage=data.usage[order])


def ids_of(data: Samples, split: splits.Split) -> list[list[str]]:
    """The ids of each part, sorted."""
    return [sorted(data.ids[part].tolist()) for part in (split.train, split.val, split.test)]


def test_notebook_on_fer2013_without_its_eleven_black_images() -> None:
    """The notebook's counts: 28,698 images, 22,958 of them to train on; also through the file of the split."""
    data = fer2013()
    black = np.random.default_rng(0).choice(np.flatnonzero(data.usage == TRAINING), 11, replace=False)
    kept = np.setdiff1d(np.arange(len(data)), black)
    assert data.usage is not None
    fewer = replace(
        data, images=data.images[kept], labels=data.labels[kept], ids=data.ids[kept], usage=data.usage[kept]
    )
    split = build.make(quickly_composed("split=notebook").split.function)(fewer)
    assert lengths(split) == (22958, 5740, 7178)
    assert set(fewer.usage[np.concatenate((split.train, split.val))]) == {TRAINING}
    assert split.test.tolist() == np.flatnonzero(fewer.usage != TRAINING).tolist()
    assert np.array_equal(np.sort(np.concatenate((split.train, split.val, split.test))), np.arange(len(fewer)))
    assert ids_of(fewer, split) == ids_of(fewer, splits.notebook(fewer))
    assert lengths(splits.notebook(data)) == (22967, 5742, 7178)


@pytest.mark.parametrize(("training", "validates"), [(5, 1), (6, 2), (10, 2), (11, 3), (101, 21)])
def test_notebook_rounds_the_validation_part_up(training: int, validates: int) -> None:
    split = splits.notebook(parts(training, 4))
    assert lengths(split) == (training - validates, validates, 4)


def test_notebook_draws_as_train_test_split_does() -> None:
    """train_test_split(test_size=0.33, random_state=42) draws 1 and 4 of five, as in its documentation."""
    data = parts(5, 2)
    names = np.sort(data.ids[data.usage == TRAINING])
    found = ids_of(data, splits.notebook(data, val_fraction=0.33))
    assert found[:2] == [names[[0, 2, 3]].tolist(), names[[1, 4]].tolist()]

    data = parts(203, 40)
    names = np.sort(data.ids[data.usage == TRAINING])
    drawn = np.random.RandomState(42).permutation(203)
    validates = math.ceil(0.2 * 203)
    train, val, test = ids_of(data, splits.notebook(data))
    assert val == sorted(names[drawn[:validates]].tolist())
    assert train == sorted(names[drawn[validates:]].tolist())
    assert test == sorted(set(data.ids.tolist()) - set(names.tolist()))


def test_notebook_follows_the_ids_not_their_order_and_its_seed() -> None:
    data = parts(60, 10)
    assert data.usage is not None
    order = np.random.default_rng(5).permutation(70)
    other = replace(data, labels=data.labels[order], ids=data.ids[order], usage=data.usage[order])
    assert ids_of(data, splits.notebook(data)) == ids_of(other, splits.notebook(other))
    assert splits.notebook(data).val.tolist() != splits.notebook(other).val.tolist()
    train, val, test = ids_of(data, splits.notebook(data, seed=43))
    assert val != ids_of(data, splits.notebook(data))[1]
    assert (len(train), len(val), test) == (48, 12, ids_of(data, splits.notebook(data))[2])


def test_notebook_needs_a_training_part_and_another() -> None:
    needs = "split=notebook needs images marked Training, and others to test on; this dataset has "
    with pytest.raises(
        UserError, match=rf"^{needs}no predefined parts: choose split=study, split=subjects or split=random$"
    ):
        splits.notebook(people(5))
    for usage, only in (([TRAINING], TRAINING), (["Test"], "Test"), ([PUBLIC, PRIVATE], f"{PRIVATE}, {PUBLIC}")):
        data = samples([4] * 7, usage=usage * (28 // len(usage)))
        with pytest.raises(UserError, match=rf"^{needs}only {only}: choose split=study or split=random$"):
            splits.notebook(data)
        assert "notebook" not in splits.possible(data)
    assert splits.possible(parts(10, 3)) == ["study", "random", "notebook", "train_test"]
    assert splits.possible(fer2013()) == ["official", "study", "random", "notebook", "tuning"]


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5])
def test_notebook_takes_a_share_of_training(fraction: float) -> None:
    with pytest.raises(UserError, match=f"^split.val_fraction={fraction} is impossible: choose more than 0"):
        splits.notebook(parts(10, 3), val_fraction=fraction)
