"""The audit: counts, identical images, unreadable and odd-sized files."""

import io
import json
from pathlib import Path

import fakes
import numpy as np
import pytest
from fakes import csv_row, encoded, picture, write
from rich.console import Console

from fersweep.data.audit import EXAMPLES, audit, render
from fersweep.data.samples import CLASSES, PRIVATE, PUBLIC, TRAINING, Samples
from fersweep.data.sources.ckplus import CkPlus
from fersweep.data.sources.fer2013 import Fer2013
from fersweep.data.sources.folder import Folder
from fersweep.data.sources.jaffe import Jaffe
from fersweep.errors import UserError


def printed(report: dict[str, object]) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render(report))
    return console.export_text()


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """FER2013 with three groups of identical images: in training; across two parts; across all, with two labels."""
    root = fakes.fer2013_folder(tmp_path / "fer")
    for index, places in enumerate(
        [
            ["train/angry/Training_a.png", "train/angry/Training_b.png"],
            ["train/happy/Training_a.png", "test/happy/PrivateTest_a.png"],
            ["train/sad/Training_a.png", "test/sad/PublicTest_a.png", "test/fear/PrivateTest_a.png"],
        ]
    ):
        for place in places:
            write(root / place, encoded(picture(5000 + index)))
    return root


def test_identical_images_are_found_across_parts_and_labels(copies: Path) -> None:
    report = audit(Fer2013(copies))
    same = report["identical"]
    assert (same["groups"], same["images"], same["conflicting_labels"], same["across_usages"]) == (3, 7, 1, 2)
    assert same["by_pair"] == {f"{TRAINING}/{PUBLIC}": 1, f"{TRAINING}/{PRIVATE}": 2, f"{PUBLIC}/{PRIVATE}": 1}
    assert same["examples"]["conflicting_labels"] == [
        ["test/fear/PrivateTest_a.png", "test/sad/PublicTest_a.png", "train/sad/Training_a.png"]
    ]
    assert json.loads(json.dumps(report)) == report
    text = printed(report)
    assert "groups of identical images" in text
    assert "such as test/fear/PrivateTest_a.png" in text


def test_near_identical_images_are_found_across_parts(copies: Path) -> None:
    darker = (picture(77).astype(float) * 0.7).astype(np.uint8)
    write(copies / "train/angry/Training_near.png", encoded(picture(77)))
    write(copies / "test/happy/PrivateTest_near.png", encoded(darker))
    report = audit(Fer2013(copies))
    assert report["near_identical"] == {
        "by_pair": {f"{TRAINING}/{PRIVATE}": 1},
        "examples": [["test/happy/PrivateTest_near.png", "train/angry/Training_near.png"]],
    }
    assert report["identical"]["groups"] == 3
    assert "near-identical across parts" in printed(report)


def test_identity_is_of_pixels_not_of_files(tmp_path: Path) -> None:
    root = fakes.folder(tmp_path, ("happy", "sad"), 3)
    write(root / "sad" / "same.bmp", encoded(picture(0), ".bmp"))
    assert audit(Folder(root))["identical"]["conflicting_labels"] == 1
    write(root / "sad" / "same.bmp", encoded(picture(0, (24, 96)), ".bmp"))
    assert audit(Folder(root))["identical"]["groups"] == 0


def test_identity_is_of_pixels_at_their_own_size(tmp_path: Path) -> None:
    root = fakes.folder(tmp_path, ("happy", "sad"), 1)
    write(root / "sad" / "large.png", encoded(picture(0).repeat(2, 0).repeat(2, 1)))
    report = audit(Folder(root, image_size=48))
    assert report["identical"]["groups"] == 0
    assert report["sizes"] == {
        "common": "48x48",
        "different": 1,
        "odd": [{"id": "sad/large.png", "size": "96x96"}],
    }


def test_counts_are_compared_with_a_complete_copy(copies: Path) -> None:
    report = audit(Fer2013(copies))
    assert report["usages"] == {TRAINING: 32, PUBLIC: 15, PRIVATE: 16}
    assert report["counts"][TRAINING] == dict.fromkeys(CLASSES, 4) | {"angry": 6, "happy": 5, "sad": 5}
    assert report["total"] == 63
    check = {check["what"]: check for check in report["checks"]}["Training images"]
    assert check == {"what": "Training images", "found": 32, "expected": 28709, "ok": False}
    assert "Training images: 32, and a complete copy has 28,709." in report["problems"]
    assert "differs" in printed(report)


def test_a_complete_copy_has_no_problems(tmp_path: Path) -> None:
    class Complete(Fer2013):
        def checks(self, records: object) -> list[tuple[str, int, int]]:
            return [("images", 56, 56)]

    report = audit(Complete(fakes.fer2013_folder(tmp_path)))
    assert report["problems"] == []
    assert "all 1" in printed(report)


def test_the_audit_outlives_broken_images(copies: Path) -> None:
    broken = [f"train/happy/Training_{index}[x].png" for index in range(EXAMPLES + 2)]
    for name in broken:
        write(copies / name, encoded(picture(0))[:-200])
    report = audit(Fer2013(copies))
    assert [entry["id"] for entry in report["unreadable"]] == sorted(broken)
    assert report["identical"]["groups"] == 3
    assert any(
        sentence.startswith(f"{EXAMPLES + 2} unreadable, the first train/happy") for sentence in report["problems"]
    )
    text = printed(report)
    assert "Training_0[x].png" in text
    assert "and 2 more" in text


def test_broken_rows_of_a_csv_are_listed(tmp_path: Path) -> None:
    extra = [csv_row(pixels=2303), csv_row(emotion=9), csv_row(), csv_row(emotion=3)]
    report = audit(Fer2013(fakes.fer2013_csv(tmp_path / "fer2013.csv", extra=extra)))
    assert [entry["reason"][:12] for entry in report["unreadable"]] == ["2303 pixels,", "emotion is '"]
    assert report["unreadable"][0]["id"].endswith("fer2013.csv row 29 (line 30)")
    assert (report["identical"]["groups"], report["identical"]["conflicting_labels"]) == (1, 1)
    assert report["total"] == 30


def test_people_sizes_and_balance(tmp_path: Path) -> None:
    report = audit(CkPlus(fakes.ckplus(tmp_path / "ck")))
    assert report["usages"] == {"all": 29}
    assert report["subjects"] == 4
    assert report["sizes"]["different"] > 0
    assert report["majority"] == {"class": "neutral", "share": 17 / 29}
    assert sum(report["balance"].values()) == pytest.approx(1)
    jaffe = audit(Jaffe(fakes.jaffe(tmp_path / "jaffe")))
    assert {check["what"]: check["expected"] for check in jaffe["checks"]}["images"] == 213
    assert jaffe["path"] == str(tmp_path / "jaffe")


def test_an_empty_class_is_a_problem(tmp_path: Path) -> None:
    fakes.folder(tmp_path, ("happy", "sad"), 3)
    (tmp_path / "fear").mkdir()
    assert audit(Folder(tmp_path))["problems"] == ["The class fear has no image."]


def test_a_source_of_which_no_image_is_left_is_refused() -> None:
    class Empty:
        name = "empty"

        def load(self) -> Samples:
            return fakes.samples([0, 0], ("a", "b"))

    with pytest.raises(UserError, match=r"^no image of empty is left: "):
        audit(Empty())


def test_a_source_without_files() -> None:
    class Drawn:
        name = "drawn"

        def load(self) -> Samples:
            return fakes.samples([3, 2], ("a", "b"))

    report = audit(Drawn())
    assert report["path"] is None
    assert report["identical"]["groups"] == 1
    assert report["checks"] == []
    assert "drawn: 5 images" in printed(report)
