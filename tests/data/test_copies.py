"""Known copies: recognised image by image, in any wrapping; shown on drawn archives."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import fakes
import numpy as np
import pytest
from fakes import encoded, picture, write
from rich.console import Console

from benchmarks.checks.copies import write as write_digests
from fersweep.data import copies
from fersweep.data.audit import audit, render
from fersweep.data.samples import CLASSES
from fersweep.data.sources.fer2013 import Fer2013
from fersweep.data.sources.folder import Folder
from fersweep.data.sources.synthetic import Synthetic


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A drawn archive of 56 images whose digests stand for the shipped ones."""
    root = fakes.fer2013_folder(tmp_path / "archive")
    write_digests(Fer2013(root).load().images, tmp_path / "known.npz")
    monkeypatch.setattr(copies, "TABLES", tmp_path / "known.npz")
    copies.tables.cache_clear()
    yield root
    copies.tables.cache_clear()


def changed(root: Path, change: Callable[[np.ndarray], np.ndarray], suffix: str = ".png") -> Path:
    """A folder of classes with the 56 images, changed, under other names."""
    for seed in range(56):
        name = f"{CLASSES[seed // 8]}/{seed}{suffix}"
        write(root / name, encoded(change(picture(seed)), suffix))
    return root


def counts(report: dict[str, dict[str, int]]) -> tuple[int, int, int]:
    copy = report["copy"]
    return copy["identical"], copy["close"], copy["other"]


def test_the_archive_a_part_of_it_and_its_csv_are_recognised(known: Path, tmp_path: Path) -> None:
    report = audit(Fer2013(known))
    assert counts(report) == (56, 0, 0)
    assert copies.sentence(report["copy"]) == "The Kaggle archive of FER2013 has 56 of 56 images."
    assert json.loads(json.dumps(report)) == report
    csv = audit(Fer2013(fakes.fer2013_csv(tmp_path / "csv" / "fer2013.csv", extra=[fakes.csv_row()])))
    assert counts(csv) == (28, 0, 1)
    for path in known.glob("train/*/*"):
        path.unlink()
    assert counts(audit(Fer2013(known))) == (28, 0, 0)


@pytest.mark.usefixtures("known")
def test_a_renamed_copy_in_colour_or_enlarged_is_recognised(tmp_path: Path) -> None:
    colour = Folder(changed(tmp_path / "colour", lambda image: np.stack([image] * 3, axis=-1)))
    assert counts(audit(colour)) == (56, 0, 0)
    large = Folder(changed(tmp_path / "large", lambda image: cv2.resize(image, (96, 96))), image_size=48)
    report = audit(large)
    assert counts(report) == (0, 56, 0)
    assert copies.sentence(report["copy"]).endswith(", and 56 more up to compression or resizing.")
    noisy = changed(tmp_path / "noisy", lambda image: image, ".jpg")
    same, close, other = counts(audit(Folder(noisy)))
    assert (same + close, other) == (56, 0)
    assert close > 40


@pytest.mark.usefixtures("known")
def test_an_equalised_copy_is_told(tmp_path: Path) -> None:
    root = changed(tmp_path / "flat", cv2.equalizeHist)
    for folder in sorted(root.iterdir()):
        for part in ("train", "test"):
            (root / part).mkdir(exist_ok=True)
        folder.rename(root / "train" / folder.name)
        (root / "test" / folder.name).mkdir()
    report = audit(Fer2013(root))
    assert counts(report)[2] >= 54
    console = Console(width=300, record=True, file=io.StringIO())
    console.print(render(report))
    text = console.export_text()
    assert "The Kaggle archive of FER2013 has" in text
    assert ": changed pixels, or other pictures. Get another copy" in text
    assert "have a flat histogram" in text


@pytest.mark.usefixtures("known")
def test_nothing_is_said_of_data_without_images_of_the_archive() -> None:
    assert copies.compare("synthetic", Synthetic(48, size=21).load().images, ["48x48"] * 21) is None
    assert copies.compare("folder", np.zeros((0, 48, 48), np.uint8), []) is None


@pytest.mark.usefixtures("known")
def test_unreadable_images_are_neither_the_archives_nor_others() -> None:
    small = np.stack([picture(0), np.zeros((48, 48), np.uint8)])
    found = copies.compare("fer2013", small, ["48x48", ""])
    assert found == {"known": copies.NAME, "images": 1, "identical": 1, "close": 0, "other": 0}


@pytest.mark.usefixtures("known")
def test_noise_of_compression_is_close_and_another_brightness_is_not() -> None:
    image = picture(3).astype(int)
    for shift, expected in ((0, True), (40, False)):
        moved = np.clip(image + shift, 0, 255).astype(np.uint8)
        moved[0, 0] ^= 1
        found = copies.compare("fer2013", moved[None], ["48x48"])
        assert found is not None
        assert found["close"] == expected
    rng = np.random.default_rng(0)
    noise = np.stack([picture(seed) for seed in range(56)]) + rng.normal(0, 1.74, (56, 48, 48))
    found = copies.compare("fer2013", np.clip(noise.round(), 0, 255).astype(np.uint8), ["48x48"] * 56)
    assert found is not None
    assert found["close"] == 56


def test_the_shipped_digests_are_those_of_the_archive_and_of_no_drawn_face() -> None:
    identical, close = copies.tables()
    for table, number in ((identical, 34_034), (close, 33_929)):
        assert table.dtype == np.uint32
        assert len(table) == number
        assert (np.diff(table.astype(np.int64)) > 0).all()
    assert copies.TABLES.stat().st_size < 250_000
    found = copies.compare("fer2013", Synthetic(48, size=105).load().images, ["48x48"] * 105)
    assert found is not None
    assert found["other"] == 105
