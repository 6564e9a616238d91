"""The dataset that a folder holds is named where another one is searched for."""

from collections.abc import Callable
from pathlib import Path

import fakes
import fakes_wild
import pytest
from ferplus_drawn import drawn

from fersweep.data import contents
from fersweep.data.sources.base import ImageFiles
from fersweep.data.sources.folder import Folder
from fersweep.data.sources.jaffe import Jaffe
from fersweep.data.sources.kdef import Kdef
from fersweep.errors import UserError

MADE: dict[str, Callable[[Path], Path]] = {
    "fer2013": fakes.fer2013_folder,
    "ferplus": lambda root: drawn(root, "folders"),
    "ckplus": fakes.ckplus,
    "jaffe": fakes.jaffe,
    "rafdb": fakes_wild.rafdb,
    "affectnet": fakes_wild.affectnet_files,
    "expw": fakes_wild.expw,
    "kdef": fakes_wild.kdef,
}


@pytest.mark.parametrize("name", MADE)
def test_another_dataset_names_this_one(tmp_path: Path, name: str) -> None:
    root = MADE[name](tmp_path / "data")
    source: type[ImageFiles] = Kdef if name != "kdef" else Jaffe
    with pytest.raises(UserError, match=rf"holds no {source.name} data: .*: dataset={name} reads files like [^ ]+$"):
        source(root).locate()
    assert contents.owner(root, name) == ""
    assert contents.owner(fakes.zipped(root, tmp_path / "x.zip"), "other").startswith(
        f"dataset={name} reads files like"
    )


@pytest.mark.parametrize("name", ["ferplus", "ckplus", "rafdb", "affectnet", "expw", "kdef"])
def test_folders_of_another_dataset_are_no_classes(tmp_path: Path, name: str) -> None:
    root = MADE[name](tmp_path / "data")
    with pytest.raises(UserError, match=rf"has images .*; dataset={name} reads files like [^ ]+$"):
        Folder(root).load()


def test_numbered_folders_beside_others_are_no_classes(tmp_path: Path) -> None:
    root = fakes_wild.affectnet_tables(tmp_path)
    (root / "Manually_Annotated_Images" / "3").rename(root / "Manually_Annotated_Images" / "689")
    with pytest.raises(UserError, match=r"has images in 689 beside its class .*; dataset=affectnet reads files like"):
        Folder(root).load()


def test_unknown_files_belong_to_no_dataset(tmp_path: Path) -> None:
    assert contents.owner(fakes.folder(tmp_path), "kdef") == ""
    assert contents.owner(tmp_path / "nowhere", "kdef") == ""
