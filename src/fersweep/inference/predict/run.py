"""``fersweep predict``: everything that is named, once through, in batches; tables, drawings and a summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import Progress
from rich.table import Table as Shown

from fersweep.data.images import quiet
from fersweep.errors import UserError
from fersweep.faces.table import NO_FACE
from fersweep.files import Names, refuse_inside
from fersweep.inference.predict import draw
from fersweep.inference.predict.inputs import Frame, Pictures, Video, chunks, resolve
from fersweep.inference.predict.outputs import Film, Seen, Table, make_folder, write_picture
from fersweep.inference.predict.predictor import Predictor
from fersweep.inference.predict.smooth import Smoother
from fersweep.text import counted, printable

SMOOTH = 0.5
"""Seconds over which probabilities in a video are averaged, unless something else is asked for."""

SHOWN = 20
"""Lines on the terminal: faces of pictures, people in videos; the files have all."""


WHOLE = "Pictures are taken whole, as this network's training pictures were; --detector mtcnn looks for faces in them."


@dataclass(frozen=True)
class Job:
    """What was asked for; see ``fersweep predict --help``."""

    checkpoint: Path
    inputs: tuple[str, ...]
    out: Path | None
    detector: str
    weights: Path | None
    choose: str
    device: str
    smooth: float | None
    every: int
    frames: int | None

    @property
    def folder(self) -> Path | None:
        """Where drawings go; ``None`` where only a table is asked for, or nothing."""
        return None if self.out is None or self.tables != _in(self.out) else self.out

    @property
    def tables(self) -> tuple[Path, ...]:
        """The tables to write."""
        if self.out is None:
            return ()
        return (self.out,) if self.out.suffix in (".csv", ".jsonl") and not self.out.is_dir() else _in(self.out)


def _in(folder: Path) -> tuple[Path, ...]:
    return folder / "predictions.jsonl", folder / "predictions.csv"


@dataclass
class _Line:
    """A face of a picture, or a person in a video: what there is to say of it on the terminal.

    Attributes:
        file: where it is; ``first`` and ``last``: the frames of a video in which it is.
        face: its number; ``None``: there is none.
        total: the sum of its probabilities ``(K,)`` over ``looks``.
    """

    file: str
    first: int | None
    last: int | None
    face: int | None
    total: npt.NDArray[np.float64]
    looks: int = 1


@dataclass
class _Count:
    """What there was."""

    frames: int = 0
    faces: int = 0
    empty: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    unread: list[Frame] = field(default_factory=list)
    lines: dict[tuple[str, int | None], _Line] = field(default_factory=dict)


def run(job: Job) -> int:
    """Predict and print what came out; returns 0, or 1 where something could not be read.

    Raises:
        UserError: for what makes it impossible; Ctrl-C keeps what was written so far.
    """
    _check(job)
    sources = resolve(job.inputs, job.every, job.frames)
    if (job.every, job.frames, job.smooth) != (1, None, None) and not any(isinstance(each, Video) for each in sources):
        raise UserError("--every, --frames and --smooth are of videos and cameras: leave them out.")
    if job.folder is not None:
        refuse_inside(job.folder, [Path(name).expanduser() for name in job.inputs])
    for source in sources:
        if isinstance(source, Video):
            source.open().release()
    predictor = Predictor(
        job.checkpoint, detector=job.detector, weights=job.weights, choose=job.choose, device=job.device
    )
    if job.folder is not None:
        make_folder(job.folder)
    count, names, stopped = _Count(), Names(), False
    try:
        with quiet(), Table(job.tables, predictor.class_names) as table:
            for source in sources:
                _one(job, source, predictor, table, count, names)
    except KeyboardInterrupt:
        stopped = True
    _summarise(job, predictor, count)
    if stopped and not any(isinstance(each, Video) and isinstance(each.source, int) for each in sources):
        raise KeyboardInterrupt
    return 1 if count.unread else 0


def _check(job: Job) -> None:
    for option, good, allowed in (
        (f"--smooth {job.smooth}", job.smooth is None or 0 <= job.smooth < float("inf"), "0 (off) or more seconds"),
        (f"--every {job.every}", job.every >= 1, "1 or more"),
        (f"--frames {job.frames}", job.frames is None or job.frames >= 1, "1 or more"),
    ):
        if not good:
            raise UserError(f"{option} is out of range: {allowed}.")


def _one(job: Job, source: Pictures | Video, predictor: Predictor, table: Table, count: _Count, names: Names) -> None:
    """Look at all pictures, or at one video."""
    console = Console(stderr=True, markup=False, highlight=False)
    live = isinstance(source, Video) and isinstance(source.source, int)
    with ExitStack() as stack:
        smoother = draw_into = None
        if isinstance(source, Video):
            smoother = Smoother(SMOOTH if job.smooth is None else job.smooth, 1 / source.rate())
        if job.folder is not None:
            folder = job.folder / "annotated"
            draw_into = (
                _film(folder, source, names, stack) if isinstance(source, Video) else _album(folder, source, names)
            )
        bar = stack.enter_context(Progress(console=console, transient=True, disable=live or not console.is_terminal))
        title, total = (source.name, None) if isinstance(source, Video) else ("pictures", len(source.files))
        task = bar.add_task(printable(title), total=total)
        for chunk in chunks(source.frames(), live):
            for seen in _look(chunk, predictor, smoother):
                table.write(seen)
                _note(seen, predictor, count)
                if live:
                    console.print(_words(seen, predictor))
                if draw_into is not None:
                    draw_into(seen, predictor)
            bar.advance(task, len(chunk))


Draw = Callable[[Seen, Predictor], None]
"""Draws what is seen into a file."""


def _film(folder: Path, source: Video, names: Names, stack: ExitStack) -> Draw:
    """Draw into a video, which appears when ``stack`` ends; a camera's runs as fast as time did."""
    live = isinstance(source.source, int)
    stem = source.source.name if isinstance(source.source, Path) else f"camera_{source.source}"
    film = stack.enter_context(Film(folder / names.unique(stem, ".mp4"), source.rate()))

    def add(seen: Seen, predictor: Predictor) -> None:
        if seen.frame.image is None:
            return
        drawn = draw.faces(seen.frame.image, seen.faces, seen.probabilities, predictor.class_names)
        due = round((seen.frame.seconds or 0.0) * film.rate) + 1 if live else film.frames + 1
        while film.frames < due:
            film.write(drawn)

    return add


def _album(folder: Path, source: Pictures, names: Names) -> Draw:
    """Draw into a picture for each of the source's, in the same tree."""
    places = (folder / names.unique(name, ".png") for name in source.names)

    def add(seen: Seen, predictor: Predictor) -> None:
        place = next(places)
        if seen.frame.image is not None:
            write_picture(place, draw.faces(seen.frame.image, seen.faces, seen.probabilities, predictor.class_names))

    return add


def _look(chunk: list[Frame], predictor: Predictor, smoother: Smoother | None) -> Iterator[Seen]:
    images = [frame.image for frame in chunk if frame.image is not None]
    found = predictor.find(images)
    answers = iter(zip(found, predictor.classify(images, found), strict=True))
    for frame in chunk:
        if frame.image is None:
            yield Seen(frame, (), (), np.empty((0, len(predictor.class_names)), np.float32))
            continue
        faces, probabilities = next(answers)
        numbers = list(range(len(faces)))
        if smoother is not None:
            boxes = np.array([face.box for face in faces], np.float64).reshape(-1, 4)
            numbers, probabilities = smoother(boxes, probabilities, frame.seconds or 0.0)
        yield Seen(frame, faces, numbers, probabilities)


def _note(seen: Seen, predictor: Predictor, count: _Count) -> None:
    if seen.frame.image is None:
        count.unread.append(seen.frame)
        return
    count.frames += 1
    count.faces += len(seen.faces)
    count.empty += not seen.faces
    count.labels.update(predictor.class_names[int(row.argmax())] for row in seen.probabilities)
    if not seen.faces and seen.frame.number is None:
        _line(seen, None, np.zeros(len(predictor.class_names)), count)
    for number, row in zip(seen.numbers, seen.probabilities, strict=True):
        _line(seen, number, row.astype(np.float64), count)


def _line(seen: Seen, face: int | None, probabilities: npt.NDArray[np.float64], count: _Count) -> None:
    """Add to the lines for the terminal; beyond `SHOWN` of them there are no new ones."""
    frame = seen.frame
    known = count.lines.get((frame.file, face))
    if known is not None:
        known.total, known.looks, known.last = known.total + probabilities, known.looks + 1, frame.number
    elif len(count.lines) < SHOWN:
        count.lines[frame.file, face] = _Line(frame.file, frame.number, frame.number, face, probabilities)


def _words(seen: Seen, predictor: Predictor) -> str:
    """One line of a camera's frame."""
    said = [f"{predictor.class_names[int(row.argmax())]} {row.max():.0%}" for row in seen.probabilities]
    return f"{seen.frame.seconds or 0:7.1f} s  {', '.join(said) or NO_FACE}"


def _summarise(job: Job, predictor: Predictor, count: _Count) -> None:
    """Print the first faces, what there was in all, what could not be read, and where the table is."""
    console = Console(markup=False, highlight=False, soft_wrap=True)
    if count.lines:
        console.print(_listed([*count.lines.values()], predictor.class_names), soft_wrap=False)
    common = "".join(f"; {label} {times}" for label, times in count.labels.most_common())
    console.print(
        f"{predictor.title}: {counted(count.faces, 'face')} in {counted(count.frames, 'picture')}, "
        f"{count.empty} without{common}"
    )
    for caveat in predictor.caveats:
        Console(stderr=True, markup=False, highlight=False, soft_wrap=True).print(f"warning: {caveat}")
    if predictor.takes_pictures_whole and job.detector == "auto":
        console.print(WHOLE)
    for unread in count.unread[:5]:
        console.print(f"unreadable: {printable(unread.file)}: {unread.error}")
    if len(count.unread) > 5:
        console.print(f"… and {len(count.unread) - 5} more unreadable")
    if job.tables:
        console.print(printable(str(job.tables[0])))


def _listed(lines: list[_Line], names: tuple[str, ...]) -> Shown:
    """The most probable class and the next of each; of people in a video by their mean over its frames."""
    rows = Shown(box=None, pad_edge=False, header_style="dim")
    for name in ("file", "frames", "face", "expression", "probability", "next"):
        rows.add_column(name, justify="right" if name in ("frames", "face", "probability") else "left", overflow="fold")
    for line in lines:
        frames = "" if line.first is None else f"{line.first}–{line.last}"
        if line.face is None:
            rows.add_row(printable(line.file), frames, "", NO_FACE)
            continue
        mean = line.total / line.looks
        first, second = np.argsort(-mean, kind="stable")[:2]
        said = (names[first], f"{mean[first]:.1%}", f"{names[second]} {mean[second]:.1%}")
        rows.add_row(printable(line.file), frames, str(line.face), *said)
    return rows
