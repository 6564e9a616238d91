"""Account of a dataset's files: every one that is not read is counted, with a reason.

Text, tables and the files that systems leave behind (``Thumbs.db``) need no word; hidden files are never looked at.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from fersweep.data.files import Tree, basename, is_image
from fersweep.data.images import UnreadableImageError, decode, quiet
from fersweep.text import counted, printable

_SILENT = re.compile(
    r".*\.(txt|md|rst|csv|tsv|jsonl?|xml|ya?ml|toml|ini|cfg|log|html?|pdf|docx?|rtf|odt|xlsx?|ods|pptx?|db|pyc?|ipynb|m|r"
    r"|sh|bat|js|css|tex|bib|license|url|lnk|md5|sha1|sha256)"
    r"|readme|licen[cs]e|copying|authors|changelog|citation|notice|makefile|md5sums|sha256sums"
)
"""Names, in lower case, of files that need no word."""
_PICTURES = re.compile(r"\.(hei[cf]|hif|jxl|svg|cr[23]|nef|arw|dng|raf|orf|rw2|exr|hdr|eps)")
"""Suffixes of pictures, besides those that are read and those whose content shows it."""

_SNIFFED = 2**26  # bytes of the largest file that is tried as an image
_KINDS = 5  # kinds of files that a sentence names


class LeftOut(NamedTuple):
    """Files of one kind that are not read.

    Attributes:
        what: the kind, as in "24 images in holdout/".
        why: the reason, a clause; empty if ``what`` says it.
        files: their number.
        example: the first of them, relative to the dataset's folder.
        missing: whether images are missing that nobody asked to leave out.
    """

    what: str
    why: str
    files: int
    example: str
    missing: bool

    def __str__(self) -> str:
        return self.what + f" ({self.why})" * bool(self.why)


Reason = tuple[str, str, bool]
"""Of an image that is not read: its kind, as ``in holdout/``; why, or nothing; whether it is missing (`LeftOut`)."""


def account(tree: Tree, read: Collection[str], reason: Callable[[str], Reason]) -> list[LeftOut]:
    """Return the files of ``tree`` that are not among those that are ``read``, missing images first.

    Args:
        tree: all files of a dataset's folder or archive.
        read: the names of the files that are read.
        reason: why an image of ``tree`` is not read.
    """
    known = set(read)
    groups: dict[Reason, list[str]] = defaultdict(list)
    others: dict[str, list[str]] = defaultdict(list)
    for name in tree.stamps:
        if name in known:
            continue
        if is_image(name):
            groups[reason(name)].append(name)
        elif not _SILENT.fullmatch(basename(name).lower()):
            others[PurePosixPath(name).suffix.lower()].append(name)
    found = [_of_images(kind, names) for kind, names in groups.items()]
    found += [_of_suffix(tree, suffix, names) for suffix, names in sorted(others.items())]
    if tree.archive is None and (links := sorted(_dangling(tree.path))):
        what = f"{counted(len(links), 'link')} to files that do not exist"
        found.append(LeftOut(what, "", len(links), links[0], any(map(is_image, links))))
    return sorted(found, key=lambda each: (not each.missing, -each.files, each.what))


def sentence(found: Iterable[LeftOut]) -> str:
    """Return one line on the files that are not read, of the first kinds; empty if there are none."""
    kinds = list(map(str, found))
    kinds[_KINDS:] = [f"and {counted(len(kinds) - _KINDS, 'more kind')}"] * (len(kinds) > _KINDS)
    return f"not read: {', '.join(kinds)}" if kinds else ""


def _of_images(kind: Reason, names: list[str]) -> LeftOut:
    what, why, missing = kind
    return LeftOut(f"{counted(len(names), 'image')} {printable(what)}", printable(why), len(names), names[0], missing)


def _of_suffix(tree: Tree, suffix: str, names: list[str]) -> LeftOut:
    pictures = _PICTURES.fullmatch(suffix) is not None or _is_picture(tree, names[0])
    kind = f"{printable(suffix)} file" if suffix else "file"
    what = counted(len(names), kind) + " without a suffix" * (not suffix)
    return LeftOut(what, "pictures: save them as PNG or JPEG" * pictures, len(names), names[0], pictures)


def _is_picture(tree: Tree, name: str) -> bool:
    """Return whether a file is an image, whatever its name."""
    if tree.stamps[name][0] > _SNIFFED:
        return False
    try:
        with quiet():
            decode(tree.read(name))
    except (OSError, UnreadableImageError):
        return False
    return True


def _dangling(folder: Path) -> Iterator[str]:
    """Yield the visible links below ``folder`` that lead nowhere."""
    for place, below, names in os.walk(folder):
        below[:] = [name for name in below if not name.startswith(".")]
        for path in (Path(place, name) for name in names if not name.startswith(".")):
            if path.is_symlink() and not path.exists():
                yield path.relative_to(folder).as_posix()
