"""What a run's test part shares with the images it was trained and chosen on, in words, from its ``result.json``.

Results of earlier versions lack some of the counts; nothing is said about those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fersweep.text import counted

Result = Mapping[str, Any]


def notes(results: Sequence[Result]) -> list[str]:
    """Sentences on people, sequences and twins that are shared; none where nothing is.

    Args:
        results: of one run, or of several folds, whose test images are counted together.
    """
    n, said = _n(results), []
    if people := _total(results, "shared_subjects"):
        images = _total(results, "shared_subject_images")
        rest = "." if images is None else f": {images:,} of {n:,} test images show people seen in training."
        said.append(f"{counted(people, 'person', 'people')} in both train and test{rest}")
    if images := _total(results, "shared_sequence_images"):
        said.append(f"{images:,} of {n:,} test images come from sequences that training also has.")
    if twins := with_twins(results):
        said.append(f"{twins}.")
    if dropped := _total(results, "twins", "dropped"):
        said.append(f"{dropped:,} images with a twin in the test part were left out of training and validation.")
    return said


def with_twins(results: Sequence[Result]) -> str:
    """How many test images have an identical or near-identical image in training or validation; empty where none."""
    identical, near = (_total(results, "twins", "either", kind) or 0 for kind in ("identical", "near"))
    if not identical + near:
        return ""
    return (
        f"{identical + near:,} of {_n(results):,} test images have an identical ({identical:,}) or near-identical "
        f"({near:,}) image in training or validation"
    )


def without_twins(results: Sequence[Result]) -> tuple[int, int] | None:
    """How many of the test images without twins were recognised, and how many those are; ``None`` if not known."""
    n = _total(results, "metrics", "test/n_without_twins")
    if n is None:
        return None
    metrics = [each["metrics"] for each in results]
    shares = [(each.get("test/accuracy_without_twins", 0.0), each["test/n_without_twins"]) for each in metrics]
    return sum(round(share * of) for share, of in shares), n


def fold(result: Result) -> str:
    """``fold 0 of 10``; empty where the split has no folds, or an earlier version did not note how many."""
    return "" if result.get("folds") is None else f"fold {result['fold']} of {result['folds']}"


def _n(results: Sequence[Result]) -> int:
    return sum(int(each["metrics"]["test/n"]) for each in results)


def _total(results: Sequence[Result], *path: str) -> int | None:
    """The sum of what the results have under these names; ``None`` where one does not know."""
    total = 0
    for each in results:
        found: Any = each
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        if found is None:
            return None
        total += int(found)
    return total
