"""Base class of datasets whose labels stand in lists beside the pictures."""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import ClassVar

from fersweep.data import files
from fersweep.data.sources.joined import Joined
from fersweep.errors import UserError

_LONGEST = 2**17  # characters of a line


class Listed(Joined):
    """A dataset with lists of labels (`lists`) and pictures below one folder or archive; arguments as of `ImageFiles`.

    The pictures may also lie in archives below that folder, which are read where no picture is unpacked.
    """

    lists: ClassVar[tuple[str, ...]] = ()
    """Lower-case names of the lists."""
    list_folders: ClassVar[tuple[str, ...]] = ()
    """Lower-case names of folders directly below the dataset's own in which the lists may lie."""

    @abstractmethod
    def shows(self, name: str) -> bool:
        """Return whether the file ``name`` is one of the pictures that the settings choose."""

    def recognise(self, path: Path) -> bool:
        if path.is_dir():
            below = files.subfolders(path)
            places = (path, *(below[name] for name in self.list_folders if name in below))
            return any(files.has_file(place, self.is_list) for place in places)
        return files.is_archive(path) and any(map(self.is_list, files.open_tree(path).stamps))

    def is_list(self, name: str) -> bool:
        """Return whether the file ``name`` is a list of labels."""
        return files.basename(name).lower() in self.lists

    def reads(self, name: str) -> bool:
        return files.is_image(name) or self.is_list(name)

    def read_names(self) -> Collection[str] | None:
        """Return the names of the pictures, lists and annotations that are read."""
        others = {name for name in self.tree().stamps if self.reads(name) and not files.is_image(name)}
        return others.union(super().read_names() or ())

    def places(self) -> list[Path]:
        """Return the dataset's folder or archive, and the archives below it that hold its pictures.

        Raises:
            UserError: as `files.locate`.
        """
        found = files.locate(self.root, self.name, self.layouts, self.recognise)
        if not found.is_dir() or files.holds(found, self.shows):
            return [found]
        packed = [found / name for name in files.open_tree(found).stamps if files.is_archive(Path(name))]
        return [found, *(place for place in packed if any(map(self.shows, files.open_tree(place).stamps)))]


def lines(tree: files.Tree, name: str) -> Iterator[tuple[int, str]]:
    """Yield the numbers, from 1, and the texts of the lines of a list that are not empty.

    Raises:
        UserError: the file cannot be read, or a line is longer than any of a list.
    """
    try:
        with tree.stream(name) as raw, io.TextIOWrapper(raw, "utf-8-sig", errors="replace") as text:
            number = 0
            while line := text.readline(_LONGEST + 1):
                number += 1
                if len(line) > _LONGEST:
                    raise UserError(
                        f"{tree.path / name} line {number} has more than {_LONGEST:,} characters: it is no list"
                    )
                if line.strip():
                    yield number, line.strip()
    except OSError as error:
        raise UserError(f"cannot read {tree.path / name}: {error.strerror or error}") from error
