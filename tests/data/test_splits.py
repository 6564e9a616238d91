"""Splits: official, random and by subjects; sequences; refusals."""

from dataclasses import replace

import numpy as np
import pytest
from data_splits import fer2013, lengths, people, per_class
from fakes import samples

from fersweep.data import splits
from fersweep.data.samples import CLASSES, PRIVATE, PUBLIC, TRAINING, Samples
from fersweep.errors import UserError


def test_official_has_the_three_parts_of_fer2013() -> None:
    data = fer2013()
    split = splits.official(data)
    assert lengths(split) == (28709, 3589, 3589)
    assert per_class(data, split.test) == [491, 55, 528, 879, 626, 594, 416]
    assert set(data.usage[split.val]) == {PUBLIC}
    assert splits.majority_accuracy(data, split) == pytest.approx(879 / 3589)
    assert splits.shared(data.subjects, split) == (None, None)


def test_tuning_leaves_private_test_out() -> None:
    data = fer2013()
    split = splits.tuning(data)
    assert lengths(split) == (25837, 2872, 3589)
    assert set(data.usage[np.concatenate((split.train, split.val))]) == {TRAINING}
    assert set(data.usage[split.test]) == {PUBLIC}
    assert per_class(data, split.val) == [400, 44, 410, 722, 496, 483, 317]
    assert np.array_equal(split.val, splits.tuning(data).val)
    assert not np.array_equal(split.val, splits.tuning(data, seed=1).val)
    with pytest.raises(UserError, match="split=tuning needs images marked Training and PublicTest; this dataset has "):
        splits.tuning(people(5))


@pytest.mark.parametrize(
    "make", [splits.study, lambda data: splits.random(data, val_fraction=0.2, test_fraction=0.2, seed=3)]
)
def test_splits_follow_ids_not_their_order(make) -> None:  # type: ignore[no-untyped-def]
    data = samples([20, 30, 40], ("a", "b", "c"))
    order = np.random.default_rng(0).permutation(len(data))
    shuffled = Samples(data.images, data.labels[order], data.ids[order], data.class_names)
    for part in ("train", "val", "test"):
        first = data.ids[getattr(make(data), part)]
        second = shuffled.ids[getattr(make(shuffled), part)]
        assert sorted(first.tolist()) == sorted(second.tolist())


def test_random_is_stratified_and_seeded() -> None:
    data = samples([100, 40, 20], ("a", "b", "c"))
    first = splits.random(data, val_fraction=0.1, test_fraction=0.2, seed=0)
    assert per_class(data, first.test) == [20, 8, 4]
    assert per_class(data, first.val) == [10, 4, 2]
    assert per_class(data, first.train) == [70, 28, 14]
    again = splits.random(data, val_fraction=0.1, test_fraction=0.2, seed=0)
    other = splits.random(data, val_fraction=0.1, test_fraction=0.2, seed=1)
    assert first.test.tolist() == again.test.tolist()
    assert first.test.tolist() != other.test.tolist()
    assert first.test[:6].tolist() == [5, 8, 9, 10, 11, 13]  # drawn with numpy's generator, and never to change


@pytest.mark.parametrize(("count", "folds"), [(118, 10), (10, 10), (4, 4)])
def test_subjects_test_everyone_once_and_share_nobody(count: int, folds: int) -> None:
    data = people(count)
    tested: list[int] = []
    for fold in range(folds):
        split = splits.subjects(data, fold=fold)
        parts = [set(data.subjects[part].tolist()) for part in (split.train, split.val, split.test)]
        assert sum(map(len, parts)) == len(set.union(*parts)) == count
        assert count // folds <= len(parts[2]) <= -(-count // folds)
        assert splits.shared(data.subjects, split) == (0, 0)
        assert (split.fold, split.folds) == (fold, folds)
        tested += split.test.tolist()
    assert sorted(tested) == list(range(len(data)))
    with pytest.raises(UserError, match=f"split.fold={folds} does not exist: choose 0 to {folds - 1}"):
        splits.subjects(data, fold=folds)


def test_people_of_test_and_training_are_counted_with_their_test_images() -> None:
    data = samples([8], ("a",), subjects=["train", "both", "val", "both", "both", "val", "new", "new"])
    split = splits.Split(*(np.array(part) for part in ([0, 1], [2], [3, 4, 5, 6, 7])))
    assert splits.shared(data.subjects, split) == (1, 2)


def sequences(per_class: list[int], frames: int = 3) -> Samples:
    """``frames`` images of each sequence, of one class."""
    names = [f"{label}-{index // frames}" for label, count in enumerate(per_class) for index in range(count * frames)]
    data = samples([count * frames for count in per_class], CLASSES[: len(per_class)])
    return replace(data, sequences=np.array(names))


def test_random_keeps_the_frames_of_a_sequence_together() -> None:
    data = sequences([45, 59, 25, 69, 28, 83])
    split = splits.random(data, val_fraction=0.15, test_fraction=0.15, seed=0, whole_sequences=True)
    parts = [set(data.sequences[part].tolist()) for part in (split.train, split.val, split.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 309
    assert per_class(data, split.test) == per_class(data, split.val) == [21, 27, 12, 30, 12, 36]
    order = np.random.default_rng(1).permutation(len(data))
    fields = {name: getattr(data, name)[order] for name in ("images", "labels", "ids", "sequences")}
    other = splits.random(replace(data, **fields), val_fraction=0.15, test_fraction=0.15, seed=0, whole_sequences=True)
    assert set(data.ids[order][other.test]) == set(data.ids[split.test])


def test_random_draws_sequences_of_several_classes_as_often_as_others() -> None:
    """As in the original CK+: a neutral first frame of all sequences, and a peak of most."""
    names = [f"s{index:02d}" for index in range(40)] + [f"s{index:02d}" for index in range(30)]
    data = replace(samples([40, 20, 10], ("neutral", "happy", "sad")), sequences=np.array(names))
    split = splits.random(data, val_fraction=0.2, test_fraction=0.1, seed=0, whole_sequences=True)
    assert per_class(data, split.test) == [4, 2, 1]
    assert per_class(data, split.val) == [8, 4, 2]
    assert splits.shared(data.sequences, split) == (0, 0)


def test_sequences_that_are_cut_are_counted() -> None:
    data = sequences([45, 59, 25, 69, 28, 83])
    split = splits.study(data)
    seen = set(data.sequences[split.train].tolist())
    of_seen = [name for name in data.sequences[split.test].tolist() if name in seen]
    assert splits.shared(data.sequences, split) == (len(set(of_seen)), len(of_seen))
    assert len(of_seen) > 100


def test_without_sequences_none_can_be_kept_whole() -> None:
    with pytest.raises(UserError, match="needs sequences of frames, and this dataset has none"):
        splits.random(samples([20] * 7), val_fraction=0.2, test_fraction=0.2, seed=0, whole_sequences=True)


def test_a_split_says_what_it_lacks_and_what_is_possible() -> None:
    with pytest.raises(
        UserError,
        match="split=official needs images marked Training, PublicTest and PrivateTest; this dataset has no "
        "predefined parts: choose split=study, split=subjects or split=random",
    ):
        splits.official(people(5))
    older = samples([4] * 7, usage=([TRAINING] * 2 + ["Test"] * 2) * 7)
    with pytest.raises(
        UserError, match=r"only Test, Training: choose split=study, .*, split=notebook or split=train_test$"
    ):
        splits.official(older)
    assert len(splits.study(samples([20] * 7, usage=([TRAINING] * 10 + ["Test"] * 10) * 7)).test) == 70
    with pytest.raises(UserError, match=r"split=subjects needs to know who is shown.*choose split=official, split="):
        splits.subjects(fer2013())


@pytest.mark.parametrize("count", [1, 2])
def test_subjects_needs_three_people(count: int) -> None:
    with pytest.raises(UserError, match=rf"at least three subjects.*only {count} \(P000.*choose split=study"):
        splits.subjects(people(count))


@pytest.mark.parametrize("folds", [0, 2, 6])
def test_folds_must_fit_the_people(folds: int) -> None:
    with pytest.raises(UserError, match=f"split.folds={folds} is impossible: choose 3 to 5"):
        splits.subjects(people(5), folds=folds)


def test_an_empty_class_is_refused_by_every_split() -> None:
    data = samples([20, 0, 20], ("angry", "disgust", "fear"))
    with pytest.raises(UserError, match="the class disgust has no image"):
        splits.study(data)
    with pytest.raises(UserError, match="the class disgust has no image"):
        splits.random(data, val_fraction=0.2, test_fraction=0.2, seed=0)


def test_a_class_to_test_on_must_be_trained_on() -> None:
    usage = [TRAINING, PUBLIC, PRIVATE] * 4 + [PRIVATE] * 3
    data = samples([12, 3], ("angry", "fear"), usage=usage)
    with pytest.raises(UserError, match=r"class fear into the test part \(3 images\) but none of it into the training"):
        splits.official(data)


def test_every_part_has_images() -> None:
    with pytest.raises(UserError, match="leaves the validation part empty: this dataset has only 6 images"):
        splits.study(samples([3, 3], ("a", "b")))


@pytest.mark.parametrize(("val", "test"), [(0.0, 0.2), (0.2, 1.0), (0.5, 0.5)])
def test_fractions_must_leave_something(val: float, test: float) -> None:
    with pytest.raises(UserError, match=r"impossible|leave nothing to train on"):
        splits.random(samples([20, 20], ("a", "b")), val_fraction=val, test_fraction=test, seed=0)
