"""Base classes of datasets whose files may lie in several folders or archives beside each other."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import IO

from fersweep.data import files
from fersweep.data.sources.base import ImageFiles
from fersweep.errors import UserError


@dataclass
class Joined(ImageFiles):
    """A dataset that may lie in several places (`places`), which are read as one; arguments as of `ImageFiles`."""

    @abstractmethod
    def places(self) -> list[Path]:
        """Return the folders and archives that hold the dataset together, most often one.

        Raises:
            UserError: as `files.search`, or they hold a part of it twice.
        """

    def opened(self, place: Path) -> files.Tree:
        """Return the files of one of the places."""
        return files.open_tree(place, self.only)

    def locate(self) -> Path:
        """Return the folder or archive that holds the dataset, or the folder above all that do."""
        return _above(self.places())

    def tree(self) -> files.Tree:
        """Return all files; where they lie in several places, their names begin with the place's."""
        places = self.places()
        if len(places) == 1:
            return self.opened(places[0])
        top = _above(places)
        return _join(top, {place: self.opened(place) for place in places})

    def surroundings(self) -> files.Tree:
        places = self.places()
        if len(places) == 1:
            return files.open_tree(places[0])
        top = _above(places)
        every = files.open_tree(top)
        around = {name: stamp for name, stamp in every.stamps.items() if top / name not in places}
        inside = {place: self.opened(place) for place in places if place != top}
        return _join(top, {top: replace(every, stamps=around), **inside})


@dataclass
class JoinedFiles(Joined):
    """A dataset whose files have names of their own (`key`), in whichever folders they lie.

    All places below ``root`` that hold some of its files are read as one, unless a file lies in two of them. Arguments
    as of `ImageFiles`.
    """

    @abstractmethod
    def key(self, name: str) -> str:
        """Return what identifies a file of the dataset whatever folder it lies in; empty for another file."""

    def partial(self, path: Path) -> bool:
        """Return whether a folder or archive holds files that are useless alone; none does by default."""
        return False

    def places(self) -> list[Path]:
        """Return the folders and archives that hold the dataset together, most often one.

        Raises:
            UserError: as `files.search`, or a file lies in two of them.
        """
        found = files.search(self.root, self.name, self.layouts, self.recognise, self.partial)
        if len(found) > 1:
            keys = {place: set(filter(None, map(self.key, self.opened(place).stamps))) for place in found}
            if sum(map(len, keys.values())) > len(set().union(*keys.values())):
                raise _twice(self.root, self.name, keys)
        return found


@dataclass(frozen=True)
class _Several:
    """The files of several trees, as an archive."""

    inside: Mapping[str, tuple[files.Tree, str]]

    def read(self, name: str) -> bytes:
        tree, inner = self.inside[name]
        return tree.read(inner)

    def open(self, name: str) -> IO[bytes]:
        tree, inner = self.inside[name]
        return tree.stream(inner)


def _join(top: Path, trees: Mapping[Path, files.Tree]) -> files.Tree:
    """Return the files of all trees, by their names relative to ``top``."""
    inside: dict[str, tuple[files.Tree, str]] = {}
    folders: set[str] = set()
    for place, tree in trees.items():
        prefix = "" if place == top else f"{place.relative_to(top).as_posix()}/"
        inside |= {prefix + name: (tree, name) for name in tree.stamps}
        folders |= {prefix + name for name in tree.folders}
    stamps = {name: tree.stamps[inner] for name, (tree, inner) in sorted(inside.items())}
    return files.Tree(top, stamps, tuple(sorted(folders)), _Several(inside))


def _above(places: list[Path]) -> Path:
    return places[0] if len(places) == 1 else Path(os.path.commonpath(places))


def _twice(root: object, dataset: str, keys: Mapping[Path, set[str]]) -> UserError:
    """Return the error of places that share files: choose a copy where there are copies, else keep one of a file."""
    by_parent: dict[Path, list[Path]] = defaultdict(list)
    for place in keys:
        by_parent[place.parent].append(place)
    groups = list(by_parent.values()) if len(by_parent) > 1 else [[place] for place in keys]
    copies = {
        _above(group) if len(group) == 1 else group[0].parent: set().union(*(keys[p] for p in group))
        for group in groups
    }
    if all(2 * len(one & other) >= min(len(one), len(other)) for one, other in combinations(copies.values(), 2)):
        return files.several(root, dataset, copies)
    first, second, shared = next((a, b, keys[a] & keys[b]) for a, b in combinations(keys, 2) if keys[a] & keys[b])
    return UserError(f"dataset.root={root} holds {min(shared)} twice, in {first} and in {second}: keep one of them")
