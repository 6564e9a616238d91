"""Splits: the exact numbers of the protocols, and what they refuse."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import quickly_composed
from fakes import samples, write

from fersweep import build
from fersweep.data import splits
from fersweep.data.samples import CLASSES, PRIVATE, PUBLIC, TRAINING, Samples
from fersweep.data.sources.base import ImageFiles
from fersweep.data.sources.ckplus import CODES, LABELLED, CkPlus
from fersweep.data.sources.fer2013 import COUNTS
from fersweep.data.sources.jaffe import COUNTS as JAFFE
from fersweep.data.sources.jaffe import Jaffe
from fersweep.errors import UserError

CKPLUS = (45, 59, 25, 69, 593, 28, 83)
SPLIT_FOLDERS = json.loads((Path(__file__).parents[1] / "golden" / "split_folders.json").read_text())
"""What split-folders 0.6.1 puts into the second part: indices by the number of files, and of JAFFE's own files."""


def fer2013() -> Samples:
    parts = [(usage, COUNTS[usage][label]) for label in range(7) for usage in (TRAINING, PUBLIC, PRIVATE)]
    per_class = [sum(COUNTS[usage][label] for usage in (TRAINING, PUBLIC, PRIVATE)) for label in range(7)]
    return samples(per_class, usage=np.repeat([p[0] for p in parts], [p[1] for p in parts]).tolist())


def per_class(data: Samples, part: np.ndarray) -> list[int]:
    return np.bincount(data.labels[part], minlength=len(data.class_names)).tolist()


def lengths(split: splits.Split) -> tuple[int, int, int]:
    return len(split.train), len(split.val), len(split.test)


def test_official_has_the_three_parts_of_fer2013() -> None:
    data = fer2013()
    split = splits.official(data)
    assert lengths(split) == (28709, 3589, 3589)
    assert per_class(data, split.test) == [491, 55, 528, 879, 626, 594, 416]
    assert set(data.usage[split.val]) == {PUBLIC}
    assert splits.majority_accuracy(data, split) == pytest.approx(879 / 3589)
    assert splits.shared(data.subjects, split) == (None, None)


def test_study_on_fer2013_takes_the_first_thirty_percent_of_each_class() -> None:
    data = fer2013()
    split = splits.study(data)
    assert lengths(split) == (20099, 8610, 7178)
    angry = np.flatnonzero((data.labels == 0) & (data.usage == TRAINING))
    assert split.val[: int(0.3 * 3995)].tolist() == angry[: int(0.3 * 3995)].tolist()


@pytest.mark.parametrize(
    ("counts", "tested", "total"),
    [(CKPLUS, [9, 12, 5, 14, 119, 6, 17], (507, 213, 182)), (JAFFE, [6, 6, 7, 7, 6, 7, 6], (120, 48, 45))],
)
def test_study_takes_a_fifth_of_each_class(counts: tuple[int, ...], tested: list[int], total: tuple[int, ...]) -> None:
    data = samples(counts)
    split = splits.study(data)
    assert per_class(data, split.test) == tested
    rest = [n - t for n, t in zip(counts, tested, strict=True)]
    assert per_class(data, split.val) == [int(0.3 * n) for n in rest]
    assert lengths(split) == total


@pytest.mark.parametrize("counts", [CKPLUS, JAFFE, (10, 10)])
def test_study_draws_what_split_folders_draws(counts: tuple[int, ...]) -> None:
    """``splitfolders.ratio(folder, seed=1337, ratio=(.8, .2))`` over class folders of files 0000.png, 0001.png, ..."""
    data = samples(counts, tuple("abcdefg"[: len(counts)]))
    split = splits.study(data)
    begin = 0
    for count in counts:
        test = [begin + index for index in SPLIT_FOLDERS[str(count)]]
        assert split.test[(split.test >= begin) & (split.test < begin + count)].tolist() == test
        rest = [index for index in range(begin, begin + count) if index not in test]
        val = split.val[(split.val >= begin) & (split.val < begin + count)]
        assert val.tolist() == rest[: int(0.3 * len(rest))]
        begin += count


def listed(source: ImageFiles) -> Samples:
    """What a source lists, without decoding."""
    records = source.records()
    images = np.broadcast_to(np.zeros((), np.uint8), (len(records), 48, 48))
    return Samples(images, records.labels, records.ids, records.class_names, records.subjects, records.usage)


PEOPLE = {
    **{"KA": (0, 23, 0), "KL": (1, 20, 1), "KM": (17, 5, 0), "KR": (13, 0, 7), "MK": (21, 0, 0)},
    **{"NA": (12, 0, 9), "NM": (10, 0, 10), "TM": (13, 0, 8), "UY": (15, 0, 6), "YM": (18, 0, 4)},
}
"""JAFFE's people: their images to train, validate and test on with ``split=study``."""


def test_study_tests_the_jaffe_images_that_split_folders_takes(tmp_path: Path) -> None:
    """The names are those of the public database."""
    golden = SPLIT_FOLDERS["jaffe"]
    for person, takes in golden["images"].items():
        for take in takes.split():
            (tmp_path / f"{person}.{take}.tiff").touch()
    data = listed(Jaffe(tmp_path))
    assert per_class(data, np.arange(len(data))) == list(JAFFE)
    split = splits.study(data)
    assert data.ids[split.test].tolist() == [f"{name}.tiff" for name in golden["test"]]
    assert lengths(split) == (120, 48, 45)
    parts = (split.train, split.val, split.test)
    assert {who: tuple(int((data.subjects[part] == who).sum()) for part in parts) for who in PEOPLE} == PEOPLE


def test_study_tests_the_ckplus_images_that_split_folders_takes(tmp_path: Path) -> None:
    """Of 593 sequences, 327 of them labelled; the names have the database's form and its order."""
    labels = [label for label, count in LABELLED.items() for _ in range(count)]
    expected: dict[str, list[str]] = {label: [] for label in ("neutral", *LABELLED)}
    for index in range(593):
        subject, take = f"S{index // 5 + 5:03d}", f"{index % 5 + 1:03d}"
        frames = [f"{subject}_{take}_{number:08d}" for number in (1, 11)]
        for frame in frames:
            write(tmp_path / "cohn-kanade-images" / subject / take / f"{frame}.png", b"")
        expected["neutral"].append(f"{frames[0]}.png")
        if index < len(labels):
            code = f"   {CODES.index(labels[index])}.0000000e+00\n"
            write(tmp_path / "Emotion" / subject / take / f"{frames[1]}_emotion.txt", code)
            expected[labels[index]].append(f"{frames[1]}.png")
    data = listed(CkPlus(tmp_path))
    split = splits.study(data)
    assert lengths(split) == (507, 213, 182)
    assert per_class(data, split.test) == [9, 12, 5, 14, 119, 6, 17]
    for label, name in enumerate(data.class_names):
        names = [each.rpartition("/")[2] for each in data.ids[split.test[data.labels[split.test] == label]]]
        assert names == [expected[name][index] for index in SPLIT_FOLDERS[str(len(expected[name]))]]


def test_always_answering_neutral_scores_65_percent_on_study_ckplus() -> None:
    data = samples(CKPLUS)
    assert splits.majority_accuracy(data, splits.study(data)) == pytest.approx(119 / 182)


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


def people(count: int) -> Samples:
    """``count`` people who each show every class twice."""
    names = [f"P{index:03d}" for _ in CLASSES for index in range(count) for _ in range(2)]
    return samples([2 * count] * 7, subjects=names)


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
    """As in the original CK+: a neutral first frame, and a peak of most sequences."""
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
        match="split=official needs images marked Training, PublicTest and PrivateTest; this dataset has no parts "
        "of its own: choose split=study, split=subjects or split=random",
    ):
        splits.official(people(5))
    older = samples([4] * 7, usage=([TRAINING] * 2 + ["Test"] * 2) * 7)
    with pytest.raises(UserError, match="only Test, Training: choose split=study, split=random or split=notebook$"):
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
    """As the source counted: 28,698 images of which it trained on 22,958; also through the file of the split."""
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
    """Of five train_test_split(test_size=0.33, random_state=42) draws 1 and 4, as its documentation shows."""
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
        UserError, match=rf"^{needs}no parts of its own: choose split=study, split=subjects or split=random$"
    ):
        splits.notebook(people(5))
    for usage, only in (([TRAINING], TRAINING), (["Test"], "Test"), ([PUBLIC, PRIVATE], f"{PRIVATE}, {PUBLIC}")):
        data = samples([4] * 7, usage=usage * (28 // len(usage)))
        with pytest.raises(UserError, match=rf"^{needs}only {only}: choose split=study or split=random$"):
            splits.notebook(data)
        assert "notebook" not in splits.possible(data)
    assert splits.possible(parts(10, 3)) == ["study", "random", "notebook"]
    assert splits.possible(fer2013()) == ["official", "study", "random", "notebook"]


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5])
def test_notebook_takes_a_share_of_training(fraction: float) -> None:
    with pytest.raises(UserError, match=f"^split.val_fraction={fraction} is impossible: choose more than 0"):
        splits.notebook(parts(10, 3), val_fraction=fraction)
