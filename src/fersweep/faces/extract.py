"""Faces of all pictures below a folder, cut out into another: the same tree, a table, and what is done stays done."""

from __future__ import annotations

import json
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import cv2

from fersweep.data.files import is_image
from fersweep.data.images import UnreadableImageError, quiet, resize
from fersweep.errors import UserError
from fersweep.faces import Detector, Face, Pixels, pictures, table
from fersweep.faces.crop import choose, cut
from fersweep.files import atomic_path, refuse_inside, write_json

SETTINGS = "faces.json"

BATCH = 32
"""Pictures that a detector is given at once."""

BATCH_BYTES = 2**28
"""Of their pixels, from which on no more are added."""

SAVE_SECONDS = 10.0
"""Between two writes of the table."""


@dataclass(frozen=True)
class Cropping:
    """What becomes of the faces of a picture.

    Attributes:
        choose: ``all``, ``largest`` or ``confident``.
        margin: added on each side, as a fraction of the box.
        align: turn the picture so that the eyes are level.
        size: pixels a side that a face is resized to, whatever its proportions; ``None``: it stays as it is.
    """

    choose: str = "confident"
    margin: float = 0.0
    align: bool = False
    size: int | None = None


def extract(
    source: Path,
    folder: Path,
    detector: Detector,
    cropping: Cropping,
    jobs: int,
    advance: Callable[[int, int], None],
) -> dict[str, list[table.Row]]:
    """Cut the faces of a picture, or of all below a folder, out into ``folder``, and write the table there.

    Pictures of the table are not looked at again, unless they were unreadable or a face of theirs is gone. When the
    work is interrupted, the table has what was done before.

    Args:
        source: a picture or a folder.
        folder: new, empty, or of an earlier call with the same settings.
        detector: finds the faces.
        cropping: which count, and how they are cut out.
        jobs: threads that read and write.
        advance: called with the number of pictures done and of all, first before the first.

    Returns:
        The rows of the table by picture.

    Raises:
        UserError: there is no picture; ``folder`` is unfit, has other settings, or cannot be written.
    """
    found = _found(source)
    _prepare(source, folder, _settings(source, detector, cropping))
    rows = table.read(folder)
    work = _Work(folder, detector, cropping, _keys({*found, *rows}))
    todo = {name: path for name, path in found.items() if not _is_done(folder, rows.get(name, []))}
    done, saved = len(found) - len(todo), time.monotonic()
    advance(done, len(found))
    try:
        with quiet(), _threads(jobs) as pool:
            for batch in _batches(pool, todo, jobs):
                rows |= work.on(pool, batch)
                done += len(batch)
                advance(done, len(found))
                if time.monotonic() - saved > SAVE_SECONDS:
                    table.write(folder, rows)
                    saved = time.monotonic()
    finally:
        table.write(folder, rows)
    return rows


@dataclass(frozen=True)
class _Work:
    """What is done with each batch of pictures."""

    folder: Path
    detector: Detector
    cropping: Cropping
    keys: Mapping[str, str]

    def on(self, pool: ThreadPoolExecutor, batch: Mapping[str, Pixels | str]) -> dict[str, list[table.Row]]:
        """The rows of pictures, given as pixels, or as the reason why there are none."""
        images = {name: pixels for name, pixels in batch.items() if not isinstance(pixels, str)}
        faces = self.detector.detect(list(images.values()))
        rows = dict(zip(images, pool.map(self._cut, images, images.values(), faces), strict=True))
        return rows | {name: [table.Row(name, skipped=why)] for name, why in batch.items() if isinstance(why, str)}

    def _cut(self, name: str, image: Pixels, faces: Sequence[Face]) -> list[table.Row]:
        chosen = choose(faces, self.cropping.choose)
        rows = []
        for number, face in enumerate(chosen, start=1):
            to = self.keys[name] + (f"_{number}" if self.cropping.choose == "all" else "") + ".png"
            pixels = cut(image, face, self.cropping.margin, self.cropping.align)
            _write(self.folder / to, pixels if self.cropping.size is None else resize(pixels, self.cropping.size))
            rows.append(table.Row.of(name, to, face))
        return rows or [table.Row(name, skipped=table.NO_FACE)]


def _found(source: Path) -> dict[str, Path]:
    """The pictures by their names in the table."""
    if not source.exists():
        raise UserError(f"There is no {source}: name a picture, or a folder of pictures.")
    above = source if source.is_dir() else source.parent
    found = {path.relative_to(above).as_posix(): path for path in pictures.find(source)}
    if not found:
        raise UserError(f"{source} holds no pictures: name a folder with some below it.")
    return found


def _settings(source: Path, detector: Detector, cropping: Cropping) -> dict[str, Any]:
    where = os.fsencode(source.resolve()).decode(errors="backslashreplace")
    return {"pictures": where, "detector": detector.name, "found_by": detector.fingerprint(), **asdict(cropping)}


def _prepare(source: Path, folder: Path, settings: Mapping[str, Any]) -> None:
    """Make the folder, with the settings in it, or see that it has these."""
    refuse_inside(folder, [source])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = _before(folder)
        if before is None:
            write_json(folder / SETTINGS, settings)
    except OSError as error:
        raise UserError(f"Cannot write {folder}: {error.strerror or error}.") from error
    if before not in (None, settings):
        other = next(key for key in (*settings, *before) if before.get(key) != settings.get(key))
        raise UserError(
            f"{folder} was made with {other}={before.get(other)}, not {settings.get(other)}: "
            "use the same settings to go on, or choose another folder."
        )


def _before(folder: Path) -> dict[str, Any] | None:
    """The settings that the folder was made with; ``None`` where it is empty."""
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        if any(folder.iterdir()):
            raise UserError(f"{folder} holds other files: choose a new or empty folder.") from None
        return None
    except ValueError:
        settings = None
    if not isinstance(settings, dict):
        raise UserError(f"{folder / SETTINGS} is damaged: choose a new or empty folder.")
    return settings


def _is_done(folder: Path, rows: Sequence[table.Row]) -> bool:
    """Whether a picture has rows, was readable, and all its faces are there."""
    return bool(rows) and all(not row.unreadable and (row.face == "" or (folder / row.face).is_file()) for row in rows)


def _keys(names: Iterable[str]) -> dict[str, str]:
    """What the faces of each picture are named after: its name without suffix, or with it where two would be the same.

    A name that without its suffix still ends like a picture's keeps it, so that no two are ever equal.
    """
    stems = {name: str(PurePosixPath(name).with_suffix("")) for name in names}
    counts = Counter(stems.values())
    return {name: name if counts[stem] > 1 or is_image(stem) else stem for name, stem in stems.items()}


def _batches(pool: ThreadPoolExecutor, files: Mapping[str, Path], ahead: int) -> Iterator[dict[str, Pixels | str]]:
    """Pictures, read some ahead in threads: pixels, or why there are none."""
    batch: dict[str, Pixels | str] = {}
    size = 0
    for name, pixels in _read_ahead(pool, files, ahead):
        batch[name] = pixels
        size += 0 if isinstance(pixels, str) else pixels.nbytes
        if len(batch) == BATCH or size >= BATCH_BYTES:
            yield batch
            batch, size = {}, 0
    if batch:
        yield batch


def _read_ahead(pool: ThreadPoolExecutor, files: Mapping[str, Path], ahead: int) -> Iterator[tuple[str, Pixels | str]]:
    waiting: deque[tuple[str, Future[Pixels | str]]] = deque()
    for name, path in files.items():
        waiting.append((name, pool.submit(_read, path)))
        if len(waiting) > ahead:
            first, future = waiting.popleft()
            yield first, future.result()
    for first, future in waiting:
        yield first, future.result()


def _read(path: Path) -> Pixels | str:
    try:
        return pictures.read(path)
    except UnreadableImageError as error:
        return str(error)


def _write(path: Path, pixels: Pixels) -> None:
    """Write a PNG file, atomically."""
    _, data = cv2.imencode(".png", pixels if pixels.ndim == 2 else pixels[..., ::-1])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_bytes(data.tobytes())
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror or error}.") from error


@contextmanager
def _threads(jobs: int) -> Iterator[ThreadPoolExecutor]:
    """As `ThreadPoolExecutor`, but what it has not begun when the block ends is not done."""
    pool = ThreadPoolExecutor(jobs)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
