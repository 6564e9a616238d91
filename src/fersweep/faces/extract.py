"""Extract the faces of all pictures below a folder into a folder of the same tree, with a table; resumable."""

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

from fersweep.data import contents
from fersweep.data.files import IMAGE_SUFFIXES, is_image
from fersweep.data.images import UnreadableImageError, quiet, resize
from fersweep.errors import UserError
from fersweep.faces import Detector, Face, Pixels, pictures, table
from fersweep.faces.crop import choose, cut
from fersweep.files import atomic_path, refuse_inside, write_json

SETTINGS = "faces.json"

BATCH = 32  # pictures per call of the detector
BATCH_BYTES = 2**28  # size of a batch's pixels beyond which no more pictures are added
SAVE_SECONDS = 10.0  # seconds between two writes of the table


@dataclass(frozen=True)
class Cropping:
    """Settings of `extract`.

    Attributes:
        choose: ``all``, ``largest`` or ``confident``.
        margin: added on each side, as a fraction of the box.
        align: rotate the picture so that the eyes are level.
        size: pixels per side to which a face is resized, ignoring its aspect ratio; ``None``: the size of its box.
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
    """Extract the faces of a picture, or of all pictures below a folder, into ``folder``; return the rows by picture.

    Pictures in the table of an earlier, perhaps interrupted, call are skipped, unless they were unreadable or one of
    their faces is missing.

    Args:
        source: a picture or a folder.
        folder: new, empty, or of an earlier call with the same settings.
        detector: finds the faces.
        cropping: settings.
        jobs: threads that read and write.
        advance: called with the numbers of pictures done and of all pictures, first before the first one.

    Raises:
        UserError: there is no picture; ``folder`` is unsuitable, has other settings, or cannot be written.
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
    """The processing of a batch of pictures."""

    folder: Path
    detector: Detector
    cropping: Cropping
    keys: Mapping[str, str]

    def on(self, pool: ThreadPoolExecutor, batch: Mapping[str, Pixels | str]) -> dict[str, list[table.Row]]:
        """Return the rows of pictures, given as pixels or as the reason why they are unreadable."""
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
    """Return the pictures by their names in the table."""
    if not source.exists():
        raise UserError(f"{source} does not exist: name a picture, or a folder of pictures.")
    above = source if source.is_dir() else source.parent
    found = {path.relative_to(above).as_posix(): path for path in pictures.find(source)}
    if not found:
        raise UserError(f"{source} holds no pictures: {contents.describe(source, '', IMAGE_SUFFIXES)}.")
    return found


def _settings(source: Path, detector: Detector, cropping: Cropping) -> dict[str, Any]:
    where = os.fsencode(source.resolve()).decode(errors="backslashreplace")
    return {"pictures": where, "detector": detector.name, "found_by": detector.fingerprint(), **asdict(cropping)}


def _prepare(source: Path, folder: Path, settings: Mapping[str, Any]) -> None:
    """Create the folder with the settings, or check that it has the same ones."""
    refuse_inside(folder, [source])
    path = folder / SETTINGS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        others = new and any(folder.iterdir())
        if new and not others:
            write_json(path, settings)
        written = b"" if others else path.read_bytes()
    except OSError as error:
        raise UserError(f"Cannot write {folder}: {error.strerror or error}.") from error
    if others:
        raise UserError(f"{folder} holds other files: choose a new or empty folder.")
    try:
        before = json.loads(written.decode())
    except (ValueError, RecursionError):
        before = None
    if not isinstance(before, dict):
        raise UserError(f"{path} is damaged: choose a new or empty folder.")
    if before != settings:
        other = next(key for key in (*settings, *before) if before.get(key) != settings.get(key))
        raise UserError(
            f"{folder} was made with {other}={before.get(other)}, not {settings.get(other)}: "
            "use the same settings to resume, or choose another folder."
        )


def _is_done(folder: Path, rows: Sequence[table.Row]) -> bool:
    """Return True if a picture has rows, was readable, and all its faces exist."""
    return bool(rows) and all(not row.unreadable and (row.face == "" or (folder / row.face).is_file()) for row in rows)


def _keys(names: Iterable[str]) -> dict[str, str]:
    """Return the stem of each picture's face files: its name without suffix, or with it if two would be the same.

    A name that without its suffix still ends in one keeps both, so that all stems are unique.
    """
    stems = {name: str(PurePosixPath(name).with_suffix("")) for name in names}
    counts = Counter(stems.values())
    return {name: name if counts[stem] > 1 or is_image(stem) else stem for name, stem in stems.items()}


def _batches(pool: ThreadPoolExecutor, files: Mapping[str, Path], ahead: int) -> Iterator[dict[str, Pixels | str]]:
    """Yield batches of pictures, read ahead in threads: pixels, or the reason why they are unreadable."""
    batch: dict[str, Pixels | str] = {}
    size = 0
    for name, future in _prefetch(pool, files, ahead):
        try:
            batch[name] = pixels = future.result()
            size += pixels.nbytes
        except UnreadableImageError as error:
            batch[name] = str(error)
        if len(batch) == BATCH or size >= BATCH_BYTES:
            yield batch
            batch, size = {}, 0
    if batch:
        yield batch


def _prefetch(pool: ThreadPoolExecutor, files: Mapping[str, Path], ahead: int) -> Iterator[tuple[str, Future[Pixels]]]:
    waiting: deque[tuple[str, Future[Pixels]]] = deque()
    for name, path in files.items():
        waiting.append((name, pool.submit(pictures.read, path)))
        if len(waiting) > ahead:
            yield waiting.popleft()
    yield from waiting


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
    """As `ThreadPoolExecutor`, but tasks that have not started when the block ends are cancelled."""
    pool = ThreadPoolExecutor(jobs)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
