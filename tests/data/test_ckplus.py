"""CK+ and CK+48: the frames that are chosen, labels, and invalid copies."""

from pathlib import Path

import fakes
import numpy as np
import pytest
from fakes import encoded, picture, write

from fersweep.data.samples import CLASSES
from fersweep.data.sources.ckplus import CkPlus
from fersweep.errors import UserError


def test_ckplus_takes_peaks_and_the_first_frame_of_every_sequence(tmp_path: Path) -> None:
    root = fakes.ckplus(tmp_path)
    data = CkPlus(tmp_path.parent / tmp_path.name).load()
    assert fakes.class_counts(data) == dict.fromkeys(CLASSES, 2) | {"neutral": 17}
    assert data.images.shape == (29, 48, 48)
    assert set(data.subjects.tolist()) == {"S005", "S006", "S007", "S008"}
    first = "cohn-kanade-images/S005/001/S005_001_00000008.png"
    last = "cohn-kanade-images/S005/001/S005_001_00000012.png"
    by_id = {name: data.class_names[label] for name, label in zip(data.ids.tolist(), data.labels, strict=True)}
    assert (by_id[first], by_id[last]) == ("neutral", "angry")
    assert all(name.split("/")[1] == subject for name, subject in zip(data.ids, data.subjects, strict=True))
    inside = CkPlus(fakes.zipped(root, tmp_path.parent / "ck.zip", "CK+/")).load()
    assert inside.ids.tolist() == data.ids.tolist()
    assert np.array_equal(inside.images, data.images)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"contempt": True}, dict.fromkeys(CLASSES, 2) | {"neutral": 17, "contempt": 2}),
        ({"neutral": False}, {name: 2 for name in CLASSES if name != "neutral"}),
        ({"peak_frames": 3}, dict.fromkeys(CLASSES, 6) | {"neutral": 17}),
    ],
)
def test_ckplus_options(tmp_path: Path, options: dict[str, object], expected: dict[str, int]) -> None:
    fakes.ckplus(tmp_path)
    data = CkPlus(tmp_path, **options).load()  # type: ignore[arg-type]
    assert fakes.class_counts(data) == expected
    assert list(data.class_names) == [name for name in (*CLASSES, "contempt") if name in expected]
    assert CkPlus(tmp_path, **options).fingerprint() != CkPlus(tmp_path).fingerprint()  # type: ignore[arg-type]


def test_ckplus_frames_are_ordered_by_number(tmp_path: Path) -> None:
    root = fakes.ckplus(tmp_path, labels=["happy", "sad"], unlabelled=0)
    write(root / "cohn-kanade-images/S005/001/S005_001_100.png", encoded(picture(5)))
    names = CkPlus(root, neutral=False).records().ids.tolist()
    assert names[0].endswith("S005_001_100.png")


def test_ckplus_as_the_study_counts_it(tmp_path: Path) -> None:
    labels = [name for name, number in {**fakes.CK_CODES}.items() for _ in range(number)]
    fakes.ckplus(tmp_path, labels=labels, unlabelled=5, frames=2)
    source = CkPlus(tmp_path)
    found = {what: number for what, number, _ in source.checks(source.records())}
    expected = {what: number for what, _, number in source.checks(source.records())}
    assert (found["sequences"], found["labelled sequences"], found["labelled surprise"]) == (33, 28, 7)
    assert (expected["sequences"], expected["subjects"], expected["labelled sequences"]) == (593, 123, 327)
    assert [expected[f"labelled {name}"] for name in fakes.CK_CODES] == [45, 18, 59, 25, 69, 28, 83]
    assert len(source.records()) == 28 - 2 + 33


def test_ck48_has_three_frames_and_no_neutral(tmp_path: Path) -> None:
    fakes.ck48(tmp_path / "CK+48")
    data = CkPlus(tmp_path).load()
    assert fakes.class_counts(data) == {name: 12 for name in CLASSES if name != "neutral"}
    assert data.ids[0] == "anger/S010_001_00000015.png"
    assert set(data.subjects.tolist()) == {"S010", "S011", "S012", "S013"}
    assert data.sequences[:4].tolist() == ["S010_001", "S010_001", "S010_001", "S011_001"]
    assert np.unique(data.sequences, return_counts=True)[1].tolist() == [3] * 24
    last = CkPlus(tmp_path, peak_frames=1, contempt=True).load()
    assert fakes.class_counts(last) == {name: 4 for name in CLASSES if name != "neutral"} | {"contempt": 4}
    assert all(name.endswith("17.png") for name in last.ids)
    with pytest.raises(UserError, match="is CK\\+48, which has no neutral faces"):
        CkPlus(tmp_path, neutral=True).load()
    zipped = CkPlus(fakes.zipped(tmp_path, tmp_path.parent / "ck48.zip")).load()
    assert zipped.ids.tolist() == data.ids.tolist()


@pytest.mark.parametrize(
    ("text", "message"), [("", "holds ''"), ("happy", "holds 'happy'"), ("8.0", "holds '8.0'"), ("1.5", "0 to 7")]
)
def test_a_wrong_emotion_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    fakes.ckplus(tmp_path)
    write(tmp_path / "Emotion/S005/001/S005_001_00000012_emotion.txt", text)
    with pytest.raises(UserError, match=rf"S005_001_00000012_emotion.txt .*{message}"):
        CkPlus(tmp_path).load()


def test_sequences_that_do_not_fit_their_labels(tmp_path: Path) -> None:
    fakes.ckplus(tmp_path, frames=3)
    with pytest.raises(UserError, match="the sequence S005_001 has only 3 frames, not 3 at the peak and a neutral one"):
        CkPlus(tmp_path, peak_frames=3).load()
    with pytest.raises(UserError, match="peak_frames=0 is impossible"):
        CkPlus(tmp_path, peak_frames=0)
    label = write(tmp_path / "Emotion/S099/001/S099_001_00000012_emotion.txt", "1.0")
    with pytest.raises(UserError, match=r"S099_001_00000012_emotion.txt labels a sequence that has no frames"):
        CkPlus(tmp_path).load()
    label.unlink()
    write(tmp_path / "Emotion/S005/001/S005_001_00000001_emotion.txt", "5.0")
    with pytest.raises(UserError, match="another file calls the sequence S005_001"):
        CkPlus(tmp_path).load()


def test_ckplus_without_labels(tmp_path: Path) -> None:
    fakes.ckplus(tmp_path, labels=[])
    with pytest.raises(UserError, match=r"has cohn-kanade-images but no label in Emotion/"):
        CkPlus(tmp_path).load()
