"""Finding and reading pictures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fakes import encoded, picture, picture_tree, write
from PIL import Image

from fersweep.data.images import UnreadableImageError, quiet
from fersweep.faces import pictures


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return picture_tree(tmp_path / "in")


def test_finding_survives_loops_and_leaves_hidden_files_out(source: Path, tmp_path: Path) -> None:
    (source / "a" / "loop").symlink_to(source)
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path / "elsewhere" / "linked.png", encoded(picture(3)))
    (source / "z").symlink_to(tmp_path / "elsewhere")
    names = [path.relative_to(source).as_posix() for path in pictures.find(source)]
    assert names == [
        "a/b/one.jpg",
        "a/b/one.png",
        "a/b.c/two.PNG",
        "a/broken.png",
        "a/grey.png",
        "three\nlines ü.png",
        "z/linked.png",
    ]
    assert pictures.find(source / "notes.txt") == [source / "notes.txt"]


def test_reading_says_why_not(tmp_path: Path, source: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path, reason in (
        (tmp_path / "missing.png", "No such file"),
        (source, "a folder"),
        (tmp_path / "pipe.png", "not a regular file"),
        (write(tmp_path / "empty.png", b""), "empty"),
        (source / "notes.txt", "not an image"),
        (source / "a" / "broken.png", "truncated"),
    ):
        with pytest.raises(UnreadableImageError, match=reason):
            pictures.read(path)


def test_sixty_megapixels_are_read_and_more_than_a_hundred_are_not(tmp_path: Path) -> None:
    for megapixels, good in ((60, True), (95, True), (101, False), (200, False)):
        path = tmp_path / f"{megapixels}.png"
        Image.new("1", (10_000, 100 * megapixels)).save(path)
        if good:
            with quiet():
                assert pictures.read(path).shape == (100 * megapixels, 10_000)
        else:
            with quiet(), pytest.raises(UnreadableImageError, match=r"more than 100 megapixels: make it smaller"):
                pictures.read(path)


def test_a_folder_that_is_closed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "open" / "a.png", encoded(picture(0)))
    (tmp_path / "closed").mkdir()
    real = os.scandir

    def scandir(path: str | Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert pictures.find(tmp_path) == [tmp_path / "closed", tmp_path / "open" / "a.png"]
    with pytest.raises(UnreadableImageError, match="cannot be read"):
        pictures.read(tmp_path / "closed")
