"""FER+: the four protocols beside a transcription of the authors' code, and its three forms on drawn trees."""

from __future__ import annotations

import json
import re
from pathlib import Path

import fakes
import numpy as np
import pytest
from conftest import plain
from fakes import write
from ferplus_drawn import HEADER, drawn, votes

from fersweep.cli.main import main
from fersweep.config.compose import compose_config
from fersweep.data import cache
from fersweep.data.preprocess import Preprocessed
from fersweep.data.samples import CLASSES, PRIVATE, PUBLIC, TRAINING, Samples
from fersweep.data.sources import ferplus_join
from fersweep.data.sources.fer2013 import Fer2013
from fersweep.data.sources.ferplus import COUNTS, FerPlus
from fersweep.data.sources.ferplus_votes import PROTOCOLS, protocol
from fersweep.data.splits import official
from fersweep.errors import UserError
from fersweep.runs.identity import run_hash

EIGHT = (*CLASSES, "contempt")
ORDER = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt")


def by_the_authors(row: list[int], mode: str) -> tuple[int, list[float]] | None:
    """``_process_data`` of Microsoft's ferplus.py for one image: class and shares in the files' order, or dropped."""
    raw = [0.0 if count < 2 else float(count) for count in row]
    total, emotion = sum(raw), [0.0] * 10
    unknown = [0.0] * 8 + [1.0, 0.0]
    if mode == "majority":
        if max(raw) > 0.5 * total:
            emotion[raw.index(max(raw))] = max(raw)
        else:
            emotion = unknown
    elif mode == "multi_target":
        emotion = [count if count >= 0.3 * total else 0.0 for count in raw]
        if sum(emotion) <= 0.5 * total:
            emotion = unknown
    else:
        part, number, valid = 0.0, 0, True
        while part < 0.75 * total and number < 3 and valid:
            most = max(raw)
            for place in range(10):
                if raw[place] == most:
                    emotion[place], raw[place] = most, 0.0
                    part, number = part + most, number + 1
                    if place >= 8:
                        valid = False
                        if sum(emotion) > most:
                            emotion[place], number = 0.0, number - 1
                        break
        if sum(emotion) <= 0.5 * total or number > 3:
            emotion = unknown
    best = emotion.index(max(emotion))
    return None if best >= 8 else (best, [each / sum(emotion[:8]) for each in emotion[:8]])


@pytest.mark.parametrize("name", PROTOCOLS)
def test_protocols_are_those_of_the_authors_code(name: str) -> None:
    rng = np.random.default_rng(1)
    counts = rng.multinomial(10, rng.dirichlet(np.full(10, 0.3), 1500))
    counts = np.concatenate([counts, rng.integers(0, 5, (500, 10)) * (rng.random((500, 10)) < 0.4)])
    chosen = protocol(counts, name)
    assert 0.2 < chosen.kept.mean() < 0.95
    for row, kept, label, targets in zip(counts.tolist(), chosen.kept, chosen.labels, chosen.targets, strict=True):
        expected = by_the_authors(row, name)
        assert (expected is not None) == kept, row
        if expected is not None:
            best, shares = expected
            assert EIGHT[label] == ORDER[best]
            wanted = dict(zip(ORDER, shares, strict=True))
            values = [wanted[each] for each in EIGHT]
            assert targets == pytest.approx([float(v > 0) for v in values] if name == "multi_target" else values)
    assert (chosen.kept | ~protocol(counts, "majority").kept).all()  # no protocol drops an image with a majority


@pytest.fixture(autouse=True)
def _own_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of drawn images have rows, too."""
    table = dict(ferplus_join.kaggle_rows())
    monkeypatch.setattr(ferplus_join, "kaggle_rows", lambda: table)


def known(data: Samples) -> list[tuple[object, ...]]:
    assert data.usage is not None
    targets = [b""] * len(data) if data.targets is None else [row.tobytes() for row in data.targets]
    images = [image.tobytes() for image in data.images]
    return sorted(zip(images, data.labels.tolist(), data.usage.tolist(), targets, strict=True))


@pytest.mark.parametrize("labels", PROTOCOLS)
def test_every_form_gives_the_same_images_labels_and_targets(tmp_path: Path, labels: str) -> None:
    found = {form: FerPlus(drawn(tmp_path / form, form), labels=labels) for form in ("csv", "kaggle", "folders")}
    found["zip"] = FerPlus(
        fakes.zipped(tmp_path / "folders", tmp_path / "packed" / "ferplus.zip", "data/"), labels=labels
    )
    first = found["csv"].load()
    assert first.class_names == EIGHT
    assert first.usage is not None
    counts = [int((first.usage == part).sum()) for part in (TRAINING, PUBLIC, PRIVATE)]
    assert counts == [42 if labels == "majority" else 56, 21, 21]  # 14 and 7 of a kind
    assert (first.targets is None) == (labels == "majority")
    for source in found.values():
        assert known(source.load()) == known(first)
    if first.targets is not None:
        assert first.targets.dtype == np.float32
        assert first.objective == labels
        sums = first.targets.sum(axis=1)
        assert np.array_equal(first.targets[np.arange(len(first)), first.labels], first.targets.max(axis=1))
        assert sums.max() == 2 if labels == "multi_target" else np.allclose(sums, 1)
    assert len(official(first).train) == counts[0]


def test_seven_classes_leave_contempt_out_and_scale_the_rest(tmp_path: Path) -> None:
    root = drawn(tmp_path, "csv")
    eight, seven = (FerPlus(root, labels="cross_entropy", contempt=each).load() for each in (True, False))
    assert seven.class_names == CLASSES
    assert seven.targets is not None
    assert eight.targets is not None
    kept = eight.labels < 7
    assert seven.ids.tolist() == eight.ids[kept].tolist()
    rest = eight.targets[kept][:, :7]
    assert np.allclose(seven.targets, rest / rest.sum(axis=1, keepdims=True))


def test_targets_go_through_cache_and_preprocessing(tmp_path: Path) -> None:
    root = drawn(tmp_path / "d", "csv")
    source = FerPlus(root, labels="multi_target")
    first, again = (cache.load(Preprocessed(source, min_max=True), tmp_path / "cache") for _ in range(2))
    assert first.targets is not None
    assert again.targets is not None
    assert np.array_equal(first.targets, again.targets)
    assert again.objective == "multi_target"
    fingerprints = {FerPlus(root, labels=each).fingerprint() for each in PROTOCOLS}
    assert len(fingerprints | {FerPlus(root, contempt=False).fingerprint()}) == 5
    table = root / "fer2013new.csv"
    table.write_text(table.read_text().replace(votes(happy=8), votes(happy=9)))
    assert FerPlus(root, labels="multi_target").fingerprint() not in fingerprints


def test_votes_may_lie_elsewhere_and_their_place_is_no_part_of_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = drawn(tmp_path / "d", "kaggle")
    apart = tmp_path / "my votes (é)" / "v.csv"
    apart.parent.mkdir()
    (root / "fer2013new.csv").rename(apart)
    with pytest.raises(UserError, match=r"needs its votes, fer2013new.csv .*, or set dataset.source.votes=PATH$"):
        FerPlus(root).load()
    main(["data", "ferplus", "--root", str(root), "--json", f"dataset.source.votes={apart}"])
    report = json.loads(capsys.readouterr().out)
    assert report["classes"] == list(EIGHT)
    assert report["total"] == len(FerPlus(root, votes=apart).records())
    (left,) = [each for each in report["left_out"] if each["files"] > 1]
    assert left["files"] == 140 - report["total"]
    assert not left["missing"]
    here, there = (plain(compose_config(["dataset=ferplus", f"dataset.source.votes={each}"])) for each in ("a", "b"))
    assert run_hash(here) == run_hash(there)
    assert run_hash(here) != run_hash(plain(compose_config(["dataset=ferplus", "dataset.source.labels=probability"])))


def test_rows_that_are_left_out_are_counted(tmp_path: Path) -> None:
    source = FerPlus(drawn(tmp_path, "csv"))
    (left,) = source.left_out()
    assert (left.files, left.missing) == (140 - len(source.records()), False)
    assert str(left).endswith("rows that the votes leave without a class (dataset.source.labels=majority)")


def shortened(root: Path) -> None:
    table = root / "fer2013new.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")


def shifted(root: Path) -> None:
    header, first, *rest = (root / "fer2013new.csv").read_text().splitlines()
    write(root / "fer2013new.csv", "\n".join([header, *rest, first]) + "\n")


def other_table(root: Path) -> None:
    write(root / "fer2013new.csv", (root / "fer2013.csv").read_text())


def no_number(root: Path) -> None:
    table = root / "fer2013new.csv"
    table.write_text(re.sub(r"(?m)^(Training,fer0000001.png,)\d+", r"\1many", table.read_text()))


def of_400_digits(root: Path) -> None:
    table = root / "fer2013new.csv"
    table.write_text(re.sub(r"(?m)^(Training,fer0000001.png,)\d+", r"\g<1>" + "9" * 400, table.read_text()))


def huge(root: Path) -> None:
    table = root / "fer2013new.csv"
    table.write_text(re.sub(r"(?m)^(Training,fer0000001.png,)\d+", rf"\g<1>{2**63 - 1}", table.read_text()))


def long_cell(root: Path, name: str = "fer2013new.csv") -> None:
    with (root / name).open("a") as file:
        file.write("x" * 200_000 + ",1\n")


def without_votes(root: Path) -> None:
    table = root / "fer2013new.csv"
    table.write_text(re.sub(r"(?m)(,\d+){10}$", ",0" * 10, table.read_text()))


def several(root: Path) -> None:
    write(root / "copy" / "fer2013new.csv", HEADER + "\n")


@pytest.mark.parametrize(
    ("form", "spoil", "message"),
    [
        ("csv", shortened, r"the table of pictures has 140 rows, and fer2013new.csv 139: they are joined line by line"),
        (
            "csv",
            shifted,
            r"does not belong to these pictures: its row 14 is of PublicTest, and fer2013.csv/000014 of Tr",
        ),
        (
            "csv",
            other_table,
            r"holds no votes of FER\+: it lacks the columns image name, neutral, .*begins with Usage,Im",
        ),
        ("csv", no_number, r"fer2013new.csv line 3: 'many,.*' is not 10 numbers of votes, each of 0 to 100$"),
        ("csv", of_400_digits, r"fer2013new.csv line 3: '9{80}' is not 10 numbers of votes, each of 0 to 100$"),
        ("csv", huge, r"fer2013new.csv line 3: '9223372036854775807,.*' is not 10 numbers of votes"),
        ("csv", long_cell, r"fer2013new.csv line 142 is no row of votes: field larger than field limit"),
        ("csv", without_votes, r"^no image of ferplus is left: all of them are without a class, or left out by"),
        (
            "folders",
            lambda root: long_cell(root, "FER2013Valid/label.csv"),
            r"FER2013Valid/label.csv line \d+ is no row of votes: field larger than field limit",
        ),
        ("csv", several, r"set dataset.source.votes to one of .* or .*, which differ$"),
        ("kaggle", shortened, r"fer2013new.csv has only 139 of its 35,887 rows"),
        (
            "folders",
            lambda root: (root / "FER2013Test" / "label.csv").unlink(),
            r"FER2013Test has no label.csv: copy it",
        ),
        (
            "folders",
            lambda root: next((root / "FER2013Valid").glob("*.png")).unlink(),
            r"FER2013Valid lacks 1 picture of its label.csv, such as fer\d+.png: make them with generate_training_data",
        ),
        (
            "folders",
            lambda root: (root / "FER2013Test").rename(root / "held"),
            r"lacks the pictures of FER2013Test/: FER\+ needs all of FER2013Train/, FER2013Valid/ and FER2013Test/$",
        ),
    ],
)
def test_votes_that_do_not_fit_are_refused(tmp_path: Path, form: str, spoil: object, message: str) -> None:
    root = drawn(tmp_path / "d", form)
    spoil(root)  # type: ignore[operator]
    with pytest.raises(UserError, match=message):
        FerPlus(root).load()


def test_rows_in_another_order_are_noticed_by_the_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within one part nothing else tells that the votes are those of other images."""
    root = drawn(tmp_path, "csv")
    monkeypatch.setattr(ferplus_join, "COMPARED", 10)
    assert len(FerPlus(root).records()) == 84
    header, *lines = (root / "fer2013new.csv").read_text().splitlines()
    for usage in (TRAINING, PUBLIC, PRIVATE):
        places = [place for place, line in enumerate(lines) if line.startswith(usage)]
        rotated = [lines[place] for place in (*places[1:], places[0])]
        for place, line in zip(places, rotated, strict=True):
            lines[place] = line
    write(root / "fer2013new.csv", "\n".join([header, *lines]) + "\n")
    with pytest.raises(UserError, match=r"only \d+% of its majorities are FER2013's labels, .* sorted or shifted$"):
        FerPlus(root).load()


def test_other_names_and_settings_are_refused(tmp_path: Path) -> None:
    root = drawn(tmp_path / "d", "kaggle")
    renamed = fakes.fer2013_folder(tmp_path / "old", named=False)
    with pytest.raises(UserError, match=r"not named as in FER2013's Kaggle archive .*, such as test/angry/im0.png: "):
        FerPlus(renamed, votes=root / "fer2013new.csv").load()
    with pytest.raises(UserError, match=r"holds votes and no pictures: set dataset.root to FER2013"):
        FerPlus(root / "fer2013new.csv").load()
    with pytest.raises(
        UserError, match=r"labels=soft is not known: choose majority, probability, cross_entropy or mul"
    ):
        FerPlus(root, labels="soft")
    with pytest.raises(UserError, match=r"votes=.* has no effect: the folders in .* have their own votes$"):
        FerPlus(drawn(tmp_path / "f", "folders"), votes=root / "fer2013new.csv").load()


def test_the_package_knows_the_rows_of_the_kaggle_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    table = ferplus_join.kaggle_rows()
    rows = np.array([row for row in table.values() if row != ferplus_join.UNKNOWN])
    assert len(table) == 35887
    assert len(np.unique(rows)) == len(rows) == 35709
    assert rows.max() == 35886
    assert table[ferplus_join.kaggle_key("test/angry/PrivateTest_10131363.jpg")] == 33914
    assert ferplus_join.kaggle_key("test/angry/PrivateTest_10131363.png") == ferplus_join.kaggle_key(
        "a/PrivateTest/Anger/PrivateTest_10131363.jpg"
    )
    assert ferplus_join.kaggle_key("train/angry/im0.png") is None
    parts = {usage: [row for key, row in table.items() if key // (7 * 10**8) == k] for k, usage in enumerate(COUNTS)}
    for found, (low, high) in zip(parts.values(), ((0, 28709), (28709, 32298), (32298, 35887)), strict=True):
        known_rows = np.array(found)[np.array(found) != ferplus_join.UNKNOWN]
        assert len(found) == high - low
        assert low <= known_rows.min() <= known_rows.max() < high
    assert ferplus_join.ROWS.stat().st_size < 150_000
    assert issubclass(FerPlus, Fer2013)
