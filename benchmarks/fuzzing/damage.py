"""Ways to damage files: their bytes, lines of text, values of JSON and YAML, members of archives.

Every function draws from ``rng`` alone, so that a seed makes the same damage again.
"""

from __future__ import annotations

import copy
import io
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Rng = np.random.Generator

DEEP: list[Any] = []
for _ in range(100):
    DEEP = [DEEP]

VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 7, 2**31, 2**63, -(2**63), 10**400, 0.5, 1e308, float("nan"), float("inf"), -float("inf")),
    *("", " ", "x", "9", "null", "a" * 5000, "\x1b[31mred\x07\n\r\t\0", "\u202eabc", "\x9b2J", "été 表情 😀", "\udcff"),
    *(
        "${oc.env:HOME}",
        "${seed}",
        "~nobody-here/x",
        "../../x",
        "/dev/null/x",
        "=1+1",
        "$\\frac{$",
        "<b>&\"'",
        "[x",
        "a,b",
    ),
    *([], {}, [1, "x"], {"a": 1}, {"": None}, {"\x1b": [0]}, [[0, 1], [2]], DEEP),
)
"""Values of other types, extreme numbers, and texts that terminals, tables, figures and interpolations could act on."""

WORDS = (
    *("-1", "0", "1e999", "9" * 30, "9" * 400, "nan", "NaN", "inf", "null", "true", "0x10", "1_000", "٣", "1.5", "''"),
    *(
        '"',
        "'",
        "\0",
        "\x1b[2J",
        "\r",
        "\ufeff",
        ";",
        "\t",
        ",,,",
        " ",
        "x" * 3000,
        "été",
        "表情",
        "=cmd|'/c'!A1",
        "{",
        "]",
    ),
    *("${x}", "${oc.env:HOME}", "~", "~nobody-here/x", "../..", "\\", "#", "*", "?", "a=b", "--", "-m", "\udcff", "%s"),
)
"""Words that are no proper cell, line or argument."""

SIZES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def pick(rng: Rng, choices: Sequence[Any]) -> Any:
    """Return one of ``choices``, as it is."""
    return choices[int(rng.integers(len(choices)))]


def raw(rng: Rng, data: bytes) -> bytes:
    """Return ``data`` with one to three of the damages in `BYTES`."""
    for _ in range(int(rng.integers(1, 4))):
        data = pick(rng, BYTES)(rng, data) if data else data
    return data


def flipped(rng: Rng, data: bytes) -> bytes:
    """Return ``data`` with one to eight flipped bits."""
    spoilt = bytearray(data)
    for place in rng.integers(0, len(spoilt), int(rng.integers(1, 9))):
        spoilt[place] ^= 1 << int(rng.integers(8))
    return bytes(spoilt)


def cut(rng: Rng, data: bytes) -> bytes:
    """Return the beginning of ``data``, or nothing."""
    return data[: int(rng.integers(0, len(data)))]


def headless(rng: Rng, data: bytes) -> bytes:
    """Return ``data`` without its beginning."""
    return data[int(rng.integers(1, max(2, min(len(data), 200)))) :]


def zeroed(rng: Rng, data: bytes) -> bytes:
    """Return ``data`` with zeros, or another byte, in a block."""
    begin, end = _block(rng, data)
    return data[:begin] + bytes([pick(rng, (0, 0, 255, 10, 44))]) * (end - begin) + data[end:]


def inserted(rng: Rng, data: bytes) -> bytes:
    """Return ``data`` with random bytes somewhere."""
    place = int(rng.integers(0, len(data) + 1))
    return data[:place] + rng.integers(0, 256, int(rng.integers(1, 100)), dtype=np.uint8).tobytes() + data[place:]


def repeated(rng: Rng, data: bytes) -> bytes:
    """Return ``data`` with a block twice."""
    begin, end = _block(rng, data)
    return data[:end] + data[begin:]


def swapped(rng: Rng, data: bytes) -> bytes:
    """Return ``data`` with two neighbouring blocks exchanged."""
    begin, end = _block(rng, data)
    middle = int(rng.integers(begin, end + 1))
    return data[:begin] + data[middle:end] + data[begin:middle] + data[end:]


def sized(rng: Rng, data: bytes) -> bytes:
    """Return ``data`` with an extreme number where a size may be: mostly in the first 128 or last 256 bytes."""
    places = (range(0, 128), range(len(data) - 256, len(data)), range(len(data)))
    place = min(max(0, int(pick(rng, pick(rng, places)))), max(0, len(data) - 4))
    form = pick(rng, ("<I", ">I", "<Q", ">H"))
    number = struct.pack(form, pick(rng, SIZES) % 2 ** (8 * struct.calcsize(form)))
    return data[:place] + number + data[place + len(number) :]


def nested(rng: Rng, data: bytes) -> bytes:
    """Return ``data`` with brackets that nest deeper than parsers go."""
    place = int(rng.integers(0, len(data) + 1))
    return data[:place] + pick(rng, (b"[", b"{", b"(", b'{"a":')) * 50_000 + data[place:]


def _block(rng: Rng, data: bytes) -> tuple[int, int]:
    begin = int(rng.integers(0, len(data)))
    return begin, min(len(data), begin + int(rng.integers(1, 1 + max(4, len(data) // 8))))


BYTES: tuple[Callable[[Rng, bytes], bytes], ...] = (
    *(flipped, flipped, cut, headless, zeroed, inserted, repeated, swapped, sized, sized, nested),
)
"""All damages of bytes."""


def text(rng: Rng, given: str, between: str = ",") -> bytes:
    """Return a table or configuration as bytes, with other lines, cells between ``between``, or another encoding."""
    lines = given.split("\n")
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(lines)))
        kind = int(rng.integers(7))
        if kind == 0:
            lines[at:at] = [pick(rng, WORDS)]
        elif kind == 1:
            lines[at : at + 1] = []
        elif kind == 2:
            lines[at:at] = [pick(rng, lines)] * int(rng.integers(1, 4))
        else:
            cells = lines[at].split(between)
            cells[int(rng.integers(len(cells)))] = pick(rng, WORDS) + pick(rng, ("", "", cells[-1]))
            lines[at] = between.join(cells[: pick(rng, (None, None, 1))])
        lines = lines or [""]
    encoding = pick(rng, ("utf-8", "utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"))
    joined = pick(rng, ("\n", "\n", "\n", "\r\n", "\r", "\n\n")).join(lines)
    if encoding == "utf-8":
        return joined.encode(errors="surrogateescape")
    return joined.encode(encoding, errors="replace")


def structured(rng: Rng, node: Any, values: Sequence[Any] = VALUES) -> Any:
    """Return a copy of nested dicts and lists with one to three entries replaced, removed, renamed or swapped."""
    node = copy.deepcopy(node)
    for _ in range(int(rng.integers(1, 4))):
        places = list(_places(node))
        if not places:
            return copy.deepcopy(pick(rng, values))
        (above, key), (other, its) = pick(rng, places), pick(rng, places)
        kind = int(rng.integers(8))
        if kind == 0:
            del above[key]
        elif kind == 1 and isinstance(above, dict):
            above[pick(rng, ("", "x", "\x1b[0m", "_target_", "name", f"{key} "))] = above.pop(key)
        elif kind == 2:
            above[key] = copy.deepcopy(other[its])
        else:
            above[key] = copy.deepcopy(pick(rng, values))
    return node


def _places(node: Any) -> Any:
    """Yield every container of a nested structure with each of its keys."""
    for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        yield node, key
        yield from _places(node[key])


NAMES = (
    *(
        "../x.png",
        "/etc/x.png",
        "C:\\x.png",
        "a/../../x.png",
        "\x1b[31m.png",
        "new\nline.png",
        "x" * 300 + ".png",
        ".png",
    ),
    *(
        "happy",
        "happy/",
        "CON",
        "été.png",
        "a//b.png",
        "sad/\0.png",
        "nothing",
        "train/happy/1.txt",
        "emotion.csv",
        "\u202e.png",
    ),
)


def zipped(rng: Rng, data: bytes) -> bytes:
    """Return a zip archive with other names, orders, types, sizes and contents of its members."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as file, zipfile.ZipFile(out, "w") as other, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that exist
        members = [(member.filename, file.read(member)) for member in file.infolist()]
        for _ in range(int(rng.integers(1, 4))):
            at, to = (int(rng.integers(len(members))) for _ in range(2))
            name, content = members[at]
            kind = int(rng.integers(6))
            if kind == 0:
                members[at] = (pick(rng, NAMES), content)
            elif kind == 1:
                members[at] = (name, members[to][1])
            elif kind == 2:
                members[at] = (name, raw(rng, content))
            elif kind == 3:
                members.append((pick(rng, (name, name.upper(), pick(rng, NAMES))), content))
            elif kind == 4:
                members[at] = (name, pick(rng, (b"", bytes(2**20), data)))
            else:
                members = members[: max(1, at)]
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = pick(
                rng, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2)
            )
            info.external_attr = pick(rng, (0, 0, 0, 0o120777 << 16, 0x10))
            other.writestr(info, content)
    return out.getvalue()


def tarred(rng: Rng, data: bytes) -> bytes:
    """Return a tar archive with other names and types of its members."""
    out = io.BytesIO()
    mode = pick(rng, ("w", "w:gz", "w:bz2", "w:xz"))
    with tarfile.open(fileobj=io.BytesIO(data)) as file, tarfile.open(fileobj=out, mode=mode) as other:
        for member in file.getmembers():
            content = file.extractfile(member).read() if member.isfile() else b""  # type: ignore[union-attr]
            if rng.random() < 0.1:
                member.name = pick(rng, NAMES).replace("\0", "")
            if rng.random() < 0.1:
                member.type = pick(
                    rng, (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE)
                )
                member.linkname = pick(rng, ("/etc/passwd", "../x", member.name))
            if rng.random() < 0.1:
                content = raw(rng, content)
            member.size = len(content)
            other.addfile(member, io.BytesIO(content))
    return out.getvalue()
