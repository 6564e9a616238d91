"""The study's split: its numbers, and the images that split-folders takes."""

import json
from pathlib import Path

import numpy as np
import pytest
from data_splits import fer2013, lengths, per_class
from fakes import samples, write

from fersweep.data import splits
from fersweep.data.samples import TRAINING, Samples
from fersweep.data.sources.base import ImageFiles
from fersweep.data.sources.ckplus import CODES, LABELLED, CkPlus
from fersweep.data.sources.jaffe import COUNTS as JAFFE
from fersweep.data.sources.jaffe import Jaffe

CKPLUS = (45, 59, 25, 69, 593, 28, 83)


SPLIT_FOLDERS = json.loads((Path(__file__).parents[1] / "golden" / "split_folders.json").read_text())
"""Second part of split-folders 0.6.1: indices by the number of files, and JAFFE's files."""


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
    """Samples of a source without decoding."""
    records = source.records()
    images = np.broadcast_to(np.zeros((), np.uint8), (len(records), 48, 48))
    return Samples(images, records.labels, records.ids, records.class_names, records.subjects, records.usage)


PEOPLE = {
    **{"KA": (0, 23, 0), "KL": (1, 20, 1), "KM": (17, 5, 0), "KR": (13, 0, 7), "MK": (21, 0, 0)},
    **{"NA": (12, 0, 9), "NM": (10, 0, 10), "TM": (13, 0, 8), "UY": (15, 0, 6), "YM": (18, 0, 4)},
}
"""Training, validation and test images of JAFFE's people with ``split=study``."""


def test_study_tests_the_jaffe_images_that_split_folders_takes(tmp_path: Path) -> None:
    """With the names of the public database."""
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
    """With 593 sequences, 327 of them labelled, and names in the database's form and order."""
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
