"""Audit of a dataset: counts, identical and near-identical images, unreadable and odd-sized files.

Two images are identical when their decoded pixels are, at their original size, whatever the files' names or metadata.
The result is a dict that JSON can hold:

- ``dataset``, ``path`` (``None`` for a source without files), ``total``, ``classes`` (names);
- ``counts``: usage -> class -> images, with the usage ``all`` for a source without parts;
- ``usages``: usage -> images; ``subjects`` and ``sequences``: their numbers, or ``None``;
- ``checks``: list of ``what``, ``found``, ``expected`` and ``ok``;
- ``identical``: ``groups``, ``images`` in them, ``conflicting_labels`` (groups with more than one class),
  ``across_usages`` (groups), ``by_pair`` (``"Training/PrivateTest"`` -> groups), ``examples`` of both kinds;
- ``near_identical`` (`fersweep.data.twins`): ``by_pair``: ``"Training/PrivateTest"`` -> images of the second part with
  a near-identical one in the first and no identical one; ``examples``: such pairs;
- ``copy`` (`fersweep.data.copies.compare`): images that are those of a known copy, or ``None``;
- ``pixels`` (`fersweep.data.pixels.examine`): oddities such as equalised or enlarged pictures;
- ``unreadable``: list of ``id`` and ``reason``;
- ``sizes``: ``common`` (``"48x48"``), ``different`` (images), ``odd`` (list of ``id`` and ``size``);
- ``balance``: class -> fraction of all images, and ``majority``: ``class`` and ``share``;
- ``left_out``: files of the dataset's folder that are not read (`fersweep.data.accounting`): ``what``, ``why``,
  ``files``, ``example``, ``missing`` (images that nobody asked to leave out);
- ``refused``: a name that a run cannot record, in words (`fersweep.data.samples.impossible_name`), or ``None``;
- ``problems``: sentences on missing, surplus or unreadable images, empty classes and ``refused``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fersweep.data import copies, pixels, twins
from fersweep.data.accounting import LeftOut
from fersweep.data.images import Records, UnreadableImageError, check_some, parallel
from fersweep.data.samples import PRIVATE, PUBLIC, TEST, TRAINING, Samples, Source, impossible_name
from fersweep.text import printable

EXAMPLES = 10  # groups of identical images that are listed by name; all of them are counted


def audit(source: Source) -> dict[str, Any]:
    """Examine every image of a source; one with ``records`` and ``checks`` is audited as its files are.

    Raises:
        UserError: the source cannot be found or listed, or has no image. A broken image or row is reported, not raised.
    """
    records = source.records() if hasattr(source, "records") else _decoded(source.load())
    check_some(records, source.name)
    digests, sizes, small, unreadable = _examine(records)
    checks = source.checks(records) if hasattr(source, "checks") else []
    usage = records.usage if records.usage is not None else np.full(len(records), "all")
    classes = list(records.class_names)
    counts = {part: _per_class(records.labels[usage == part], classes) for part in _ordered(usage)}
    totals = _per_class(records.labels, classes)
    balance = {name: number / max(1, len(records)) for name, number in totals.items()}
    most = max(totals, key=lambda name: totals[name])
    report: dict[str, Any] = {
        "dataset": source.name,
        "path": str(source.locate()) if hasattr(source, "locate") else None,
        "total": len(records),
        "classes": classes,
        "usages": {part: sum(numbers.values()) for part, numbers in counts.items()},
        "counts": counts,
        "subjects": None if records.subjects is None else len(np.unique(records.subjects)),
        "sequences": None if records.sequences is None else len(np.unique(records.sequences)),
        "checks": [{"what": w, "found": f, "expected": e, "ok": f == e} for w, f, e in checks],
        "identical": _identical(records, usage, digests),
        "near_identical": _near_identical(records, usage, digests, small),
        "copy": copies.compare(source.name, small, sizes),
        "pixels": pixels.examine(records),
        "unreadable": [{"id": name, "reason": reason} for name, reason in unreadable],
        "sizes": _sizes(records, sizes),
        "balance": balance,
        "majority": {"class": most, "share": balance[most]},
        "left_out": [each._asdict() for each in source.left_out()] if hasattr(source, "left_out") else [],
        "refused": impossible_name(classes, records.ids),
    }
    return report | {"problems": _problems(report, totals)}


def _decoded(samples: Samples) -> Records:
    columns: dict[str, Any] = samples.columns()
    return Records(class_names=samples.class_names, read=samples.images.__getitem__, **columns)


def _per_class(labels: npt.NDArray[np.int64], classes: list[str]) -> dict[str, int]:
    return dict(zip(classes, np.bincount(labels, minlength=len(classes)).tolist(), strict=True))


def _examine(records: Records) -> tuple[list[bytes], list[str], npt.NDArray[np.uint8], list[tuple[str, str]]]:
    """Decode every image.

    Returns:
        Digests (empty if unreadable), sizes such as ``48x48``, the images as `twins.reduced` returns them (black if
        unreadable), and ids and reasons of the unreadable ones.
    """
    small = np.zeros((len(records), twins.SIDE, twins.SIDE), np.uint8)

    def examine(index: int) -> tuple[bytes, str, str]:
        try:
            image = records.read(index)
        except UnreadableImageError as error:
            return b"", "", str(error) or "unreadable"
        small[index] = twins.reduced_image(image)
        return twins.digest(image), f"{image.shape[1]}x{image.shape[0]}", ""

    found = parallel(len(records), examine)
    broken = [(str(records.ids[index]), reason) for index, (*_, reason) in enumerate(found) if reason]
    return [digest for digest, *_ in found], [size for _, size, _ in found], small, [*records.faults, *broken]


def _identical(records: Records, usage: npt.NDArray[np.str_], digests: list[bytes]) -> dict[str, Any]:
    by_digest: dict[bytes, list[int]] = defaultdict(list)
    for index, digest in enumerate(digests):
        if digest:
            by_digest[digest].append(index)
    groups = sorted((group for group in by_digest.values() if len(group) > 1), key=lambda g: str(records.ids[g[0]]))
    conflicting = [group for group in groups if len({int(records.labels[index]) for index in group}) > 1]
    across = [group for group in groups if len({str(usage[index]) for index in group}) > 1]
    parts = [{str(usage[index]) for index in group} for group in across]
    pairs = {pair: sum(set(pair) <= each for each in parts) for pair in combinations(_ordered(usage), 2)}

    def names(chosen: list[list[int]]) -> list[list[str]]:
        return [[str(records.ids[index]) for index in group] for group in chosen[:EXAMPLES]]

    return {
        "groups": len(groups),
        "images": sum(map(len, groups)),
        "conflicting_labels": len(conflicting),
        "across_usages": len(across),
        "by_pair": {"/".join(pair): number for pair, number in pairs.items() if number},
        "examples": {"conflicting_labels": names(conflicting), "across_usages": names(across)},
    }


def _near_identical(
    records: Records, usage: npt.NDArray[np.str_], digests: list[bytes], small: npt.NDArray[np.uint8]
) -> dict[str, Any]:
    numbers: dict[str, int] = {}
    examples: list[list[str]] = []
    for first, second in combinations(_ordered(usage), 2):
        known = {digests[index] for index in np.flatnonzero(usage == first)}
        twin: dict[int, int] = {}
        for one, other in twins.near_pairs(small, np.flatnonzero(usage == second), np.flatnonzero(usage == first)):
            found = zip(one.tolist(), other.tolist(), strict=True)
            twin |= {index: match for index, match in found if digests[index] not in known}
        if twin:
            numbers[f"{first}/{second}"] = len(twin)
        examples += [[str(records.ids[index]) for index in pair] for pair in sorted(twin.items())]
    return {"by_pair": numbers, "examples": examples[:EXAMPLES]}


def _sizes(records: Records, sizes: list[str]) -> dict[str, Any]:
    counts = Counter(size for size in sizes if size)
    common = counts.most_common(1)[0][0] if counts else None
    odd = [{"id": str(records.ids[k]), "size": size} for k, size in enumerate(sizes) if size and size != common]
    return {"common": common, "different": len(odd), "odd": odd}


def _ordered(usage: Iterable[str]) -> list[str]:
    """Return the usages in FER2013's order, others after them."""
    known = (TRAINING, PUBLIC, PRIVATE, TEST)
    return sorted({str(part) for part in usage}, key=lambda part: (known.index(part) if part in known else 4, part))


def _problems(report: dict[str, Any], totals: dict[str, int]) -> list[str]:
    problems = [
        f"{check['what']}: {check['found']:,}, and a complete copy has {check['expected']:,}."
        for check in report["checks"]
        if not check["ok"]
    ]
    unreadable = report["unreadable"]
    if unreadable:
        first = unreadable[0]
        problems.append(f"{len(unreadable):,} unreadable, the first {first['id']}: {first['reason']}.")
    problems += [
        f"Not read: {_kind(left)}, the first {left['example']}." for left in report["left_out"] if left["missing"]
    ]
    problems += [f"The class {name} has no image." for name, number in totals.items() if not number]
    problems += [_refused(report)] if report["refused"] else []
    return problems


def render(report: dict[str, Any]) -> Group:
    """Return the result of `audit` as tables and lines for a terminal."""
    checks = [_checks_table(report)] if report["checks"] else []
    copy = [copies.sentence(report["copy"])] if report["copy"] else []
    refused = [_refused(report)] if report["refused"] else []
    lines = [Text(line) for line in ("", *copy, pixels.line(report["pixels"]), *refused)]
    place = f" in {report['path']}" if report["path"] else ""
    title = Text(printable(f"{report['dataset']}: {report['total']:,} images{place}"), "italic", no_wrap=True)
    return Group(title, _counts_table(report), *checks, _findings_table(report), *lines)


def _counts_table(report: dict[str, Any]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("class")
    for usage in report["usages"]:
        table.add_column(usage, justify="right")
    table.add_column("share", justify="right")
    for name in report["classes"]:
        numbers = [f"{report['counts'][usage][name]:,}" for usage in report["usages"]]
        table.add_row(escape(name), *numbers, f"{report['balance'][name]:.1%}")
    table.add_row("total", *(f"{number:,}" for number in report["usages"].values()), "100.0%")
    return table


def _checks_table(report: dict[str, Any]) -> Table:
    """Return all checks that fail, and the number of the others."""
    table = Table(
        title="\nCounts of a complete copy", title_justify="left", box=None, header_style="dim", pad_edge=False
    )
    for name in ("count", "found", "expected", ""):
        table.add_column(name, justify="left" if name in ("count", "") else "right")
    failed = [check for check in report["checks"] if not check["ok"]]
    for check in failed:
        table.add_row(check["what"], f"{check['found']:,}", f"{check['expected']:,}", "[red]differs[/red]")
    passed = len(report["checks"]) - len(failed)
    if passed:
        table.add_row(f"{'the other ' if failed else 'all '}{passed}", "", "", "[green]ok[/green]")
    return table


def _findings_table(report: dict[str, Any]) -> Table:
    same, sizes, majority = report["identical"], report["sizes"], report["majority"]
    table = Table(title="\nFindings", title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    conflict, across = same["examples"]["conflicting_labels"], same["examples"]["across_usages"]
    table.add_row("groups of identical images", f"{same['groups']:,}", f"{same['images']:,} images")
    table.add_row("  with conflicting labels", f"{same['conflicting_labels']:,}", _example(conflict))
    table.add_row("  across parts", f"{same['across_usages']:,}", _example(across))
    for pair, number in same["by_pair"].items():
        table.add_row(f"    {pair}", f"{number:,}", "")
    near = report["near_identical"]
    table.add_row("near-identical across parts", "" if near["by_pair"] else "0", _example(near["examples"]))
    for pair, number in near["by_pair"].items():
        table.add_row(f"    {pair}", f"{number:,}", f"images of {pair.partition('/')[2]}")
    unreadable = report["unreadable"]
    table.add_row("unreadable", f"{len(unreadable):,}", _few([f"{u['id']}: {u['reason']}" for u in unreadable]))
    kinds = [f"{_kind(left)}, such as {left['example']}" for left in report["left_out"]]
    table.add_row("not read", f"{sum(left['files'] for left in report['left_out']):,}", _few(kinds))
    odd = [f"{image['id']}: {image['size']}" for image in sizes["odd"]]
    table.add_row(f"not of {sizes['common']} pixels", f"{sizes['different']:,}", _few(odd))
    if report["subjects"] is not None:
        table.add_row("subjects", f"{report['subjects']:,}", "")
    if report["sequences"] is not None:
        table.add_row("sequences", f"{report['sequences']:,}", "")
    table.add_row("always answering the commonest class", f"{majority['share']:.1%}", majority["class"])
    return table


def _kind(left: dict[str, Any]) -> str:
    return str(LeftOut(**left))


def _refused(report: dict[str, Any]) -> str:
    return f"Training refuses this dataset, which has {report['refused']}"


def _example(groups: list[list[str]]) -> str:
    return escape("such as " + ", ".join(groups[0])) if groups else ""


def _few(lines: list[str]) -> str:
    return escape("\n".join(lines[:EXAMPLES] + [f"and {len(lines) - EXAMPLES:,} more"] * (len(lines) > EXAMPLES)))
