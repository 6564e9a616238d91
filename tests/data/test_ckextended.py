"""CK+ as ckextended.csv: its classes, the settings that apply, and the splits that it cannot have."""

from pathlib import Path

import fakes
import numpy as np
import pytest

from fersweep.data import splits
from fersweep.data.samples import CLASSES, CONTEMPT
from fersweep.data.sources.ckplus import CkPlus
from fersweep.errors import UserError


def test_the_table_is_read_with_its_own_codes(tmp_path: Path) -> None:
    path = fakes.ckextended(tmp_path / "ckextended.csv")
    data = CkPlus(tmp_path).load()
    assert fakes.class_counts(data) == dict.fromkeys(CLASSES, 2)
    assert (data.ids[0], data.ids[-1], data.subjects, data.sequences, data.usage) == (
        *("ckextended.csv/000001", "ckextended.csv/000015"),
        *(None, None, None),
    )
    assert [CLASSES[label] for label in data.labels[:7]] == [
        "angry",
        "disgust",
        "fear",
        "happy",
        "sad",
        "surprise",
        "neutral",
    ]
    eight = CkPlus(path, contempt=True).load()
    assert eight.class_names == (*CLASSES, CONTEMPT)
    assert eight.labels[7] == 7
    assert np.array_equal(eight.images[7], fakes.picture(7))
    assert CkPlus(path, neutral=False).load().class_names == tuple(name for name in CLASSES if name != "neutral")
    assert len({CkPlus(path, contempt=each).fingerprint() for each in (True, False)}) == 2
    assert CkPlus(tmp_path).left_out() == []


def test_a_table_gives_way_to_pictures(tmp_path: Path) -> None:
    fakes.ck48(tmp_path)
    before = CkPlus(tmp_path).fingerprint()
    fakes.ckextended(tmp_path / "ckextended.csv")
    assert CkPlus(tmp_path).fingerprint() == before
    assert len(CkPlus(tmp_path).records()) == 72


def test_splits_that_need_people_or_sequences_are_refused(tmp_path: Path) -> None:
    data = CkPlus(fakes.ckextended(tmp_path / "ckextended.csv", rows=80)).load()
    with pytest.raises(
        UserError, match=r"^split=subjects needs to know who is shown; .* no subjects: choose split=study or"
    ):
        splits.subjects(data)
    with pytest.raises(UserError, match=r"needs sequences of frames, and this dataset has none: set it to false\.$"):
        splits.random(data, val_fraction=0.2, test_fraction=0.2, seed=0, whole_sequences=True)
    assert len(splits.study(data).test) == 14


def test_settings_and_copies_that_do_not_fit(tmp_path: Path) -> None:
    path = fakes.ckextended(tmp_path / "a" / "ckextended.csv")
    for frames in (1, 3):
        with pytest.raises(
            UserError, match=r"ckextended.csv has one frame of .*: leave dataset.source.peak_frames out$"
        ):
            CkPlus(path, peak_frames=frames).load()
    with pytest.raises(UserError, match=r"neutral faces of its own: leave dataset.source.neutral out$"):
        CkPlus(path, neutral=True).load()
    fakes.zipped(tmp_path / "a", tmp_path / "b" / "archive.zip")
    with pytest.raises(UserError, match=r"holds ckplus data 2 times: set dataset.root to one of"):
        CkPlus(tmp_path).load()
    path.write_text(path.read_text() + "8," + " ".join(["7"] * 2304) + ",Training\n")
    with pytest.raises(UserError, match=r"row 17 \(line 18\): emotion is '8', and must be 0 to 7"):
        CkPlus(path).load()


def test_the_counts_of_a_complete_table(tmp_path: Path) -> None:
    numbers = dict.fromkeys(range(16), 0)
    for code, count in enumerate((45, 59, 25, 69, 28, 83, 593, 18)):
        numbers[code] = count
    pixels = " ".join(["7"] * 2304)
    rows = [f"{code},{pixels},Training" for code, count in numbers.items() for _ in range(count)]
    (tmp_path / "ckextended.csv").write_text("\n".join(["emotion,pixels,Usage", *rows]) + "\n")
    source = CkPlus(tmp_path)
    records = source.records()
    assert len(records) == 902
    assert all(found == expected for _, found, expected in source.checks(records))
    assert source.checks(records)[0] == ("rows", 920, 920)
