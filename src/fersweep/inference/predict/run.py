"""``fersweep predict``: classify all inputs in batches; write tables and drawings; print a summary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from fersweep.data.images import quiet
from fersweep.errors import UserError
from fersweep.faces import Follower, Pixels
from fersweep.faces.detectors import FOLLOWERS
from fersweep.faces.table import NO_FACE
from fersweep.faces.tracking import Tracker
from fersweep.files import Names, given, refuse_inside
from fersweep.inference.predict import draw
from fersweep.inference.predict.inputs import Frame, Pictures, Video, batches, resolve
from fersweep.inference.predict.outputs import Detections, Film, Table, make_folder, write_picture
from fersweep.inference.predict.predictor import Predictor, boxes_of
from fersweep.inference.predict.smooth import Smoother
from fersweep.inference.predict.summary import Summary
from fersweep.text import printable

SMOOTH = 0.5
"""Default time constant, in seconds, of the average of probabilities in a video."""

WHOLE = "Pictures are classified whole, as in training; to look for faces in them, add --detector mtcnn."

Draw = Callable[[Frame, Pixels], None]
"""Writes the annotated image of a frame."""


@dataclass(frozen=True)
class Job:
    """Arguments of ``fersweep predict``; see its ``--help``."""

    checkpoint: Path | None
    inputs: tuple[str, ...]
    out: Path | None
    detector: str
    weights: Path | None
    choose: str
    device: str
    smooth: float | None
    every: int
    frames: int | None
    detect_every: int = 1

    @property
    def folder(self) -> Path | None:
        """Folder for tables and drawings; ``None`` if the output is a single table, or nothing."""
        single = self.out is None or (self.out.suffix in (".csv", ".jsonl") and not self.out.is_dir())
        return None if single else self.out

    @property
    def tables(self) -> tuple[Path, ...]:
        """Tables to write."""
        if self.folder is not None:
            return self.folder / "predictions.jsonl", self.folder / "predictions.csv"
        return () if self.out is None else (self.out,)


def run(job: Job) -> int:
    """Predict and print a summary; return 1 if an input was unreadable, else 0.

    Raises:
        UserError: an argument cannot be used.
        KeyboardInterrupt: after Ctrl-C, which keeps what was written, unless a camera was the input.
    """
    sources = _sources(job)
    predictor = Predictor(
        job.checkpoint, detector=job.detector, weights=job.weights, choose=job.choose, device=job.device
    )
    tracker(job, predictor)  # refuses a detector that cannot follow, before anything is written
    if job.folder is not None:
        make_folder(job.folder)
    summary, names, interrupted = Summary(predictor.class_names), Names(), False
    try:
        with quiet(), Table(job.tables, predictor.class_names) as table:
            for source in sources:
                _predict(job, source, predictor, table, summary, names)
    except KeyboardInterrupt:
        interrupted = True
    notes = [WHOLE] if job.detector == "auto" and not predictor.detects_faces else []
    summary.print(predictor.title, *notes)
    if job.tables:
        Console(markup=False, highlight=False, soft_wrap=True).print(printable(str(job.tables[0])))
    for caveat in predictor.caveats:
        Console(stderr=True, markup=False, highlight=False, soft_wrap=True).print(f"warning: {caveat}")
    if interrupted and not any(isinstance(each, Video) and each.live for each in sources):
        raise KeyboardInterrupt
    return 1 if summary.unreadable else 0


def _sources(job: Job) -> list[Pictures | Video]:
    """Check the arguments and resolve the inputs."""
    for option, good, allowed in (
        (f"--smooth {job.smooth}", job.smooth is None or 0 <= job.smooth < float("inf"), "0 (off) or more seconds"),
        (f"--every {job.every}", job.every >= 1, "1 or more"),
        (f"--detect-every {job.detect_every}", job.detect_every >= 1, "1 (every frame) or more"),
        (f"--frames {job.frames}", job.frames is None or job.frames >= 1, "1 or more"),
    ):
        if not good:
            raise UserError(f"{option} is out of range: {allowed}.")
    sources = resolve(job.inputs, job.every, job.frames)
    videos = [each for each in sources if isinstance(each, Video)]
    if (job.every, job.frames, job.smooth, job.detect_every) != (1, None, None, 1) and not videos:
        raise UserError("--every, --frames, --smooth and --detect-every are for videos and cameras: leave them out.")
    if job.folder is not None:
        refuse_inside(job.folder, [given(Path(name)) for name in job.inputs])
    for video in videos:
        video.open().release()
    return sources


def tracker(job: Job, predictor: Predictor) -> Tracker | None:
    """Return what finds the faces of the next video, or ``None`` if every frame is searched.

    Raises:
        UserError: the detector cannot follow faces.
    """
    if job.detect_every == 1:
        return None
    if not isinstance(predictor.detector, Follower):
        raise UserError(
            f"--detect-every {job.detect_every} has no effect with the detector {predictor.detector.name}, which "
            f"follows no faces: leave it out, or use --detector {' or '.join(FOLLOWERS)}."
        )
    return Tracker(predictor.detector, job.detect_every)


def _predict(
    job: Job, source: Pictures | Video, predictor: Predictor, table: Table, summary: Summary, names: Names
) -> None:
    """Predict all pictures, or one video."""
    console = Console(stderr=True, markup=False, highlight=False)
    with ExitStack() as stack:
        smoother, follower, live, title, total = None, None, False, "pictures", None
        if isinstance(source, Video):
            smoother = Smoother(SMOOTH if job.smooth is None else job.smooth, 1 / source.rate())
            follower, live, title = tracker(job, predictor), source.live, printable(source.name)
        else:
            total = len(source.files)
        write = None if job.folder is None else _drawing(job.folder / "annotated", source, names, stack)
        bar = stack.enter_context(Progress(console=console, transient=True, disable=live or not console.is_terminal))
        task = bar.add_task(title, total=total)
        for batch in batches(source.frames(), live):
            for found in _detect(batch, predictor, smoother, follower):
                table.write(found)
                summary.add(found)
                if live:
                    console.print(_line(found, predictor.class_names))
                if write is not None and (image := found.frame.image) is not None:
                    numbers = found.ids if len(found.faces) > 1 or isinstance(source, Video) else ()
                    drawn = draw.faces(image, found.faces, found.probabilities, predictor.class_names, numbers)
                    write(found.frame, drawn)
            bar.advance(task, len(batch))


def _drawing(folder: Path, source: Pictures | Video, names: Names, stack: ExitStack) -> Draw:
    """Return a function that writes annotated pictures, or frames of a video, which is complete when ``stack`` ends."""
    if isinstance(source, Pictures):
        files = zip(source.files, source.names, strict=True)
        places = {str(file): folder / names.unique(name, ".png") for file, name in files}
        return lambda frame, image: write_picture(places[frame.file], image)

    stem = f"camera_{source.source}" if source.live else Path(source.name).name
    film = stack.enter_context(Film(folder / names.unique(stem, ".mp4"), source.rate()))

    def write(frame: Frame, image: Pixels) -> None:
        due = round((frame.seconds or 0.0) * film.rate) + 1 if source.live else film.frames + 1  # cameras vary in rate
        while film.frames < due:
            film.write(image)

    return write


def _detect(
    batch: list[Frame], predictor: Predictor, smoother: Smoother | None, follower: Tracker | None
) -> Iterator[Detections]:
    images = [frame.image for frame in batch if frame.image is not None]
    found = predictor.find(images, follower)
    answers = iter(zip(found, predictor.classify(images, found), strict=True))
    for frame in batch:
        if frame.image is None:
            yield Detections(frame, (), (), np.empty((0, len(predictor.class_names)), np.float32))
            continue
        faces, probabilities = next(answers)
        ids = list(range(1, len(faces) + 1))
        if smoother is not None:
            ids, probabilities = smoother(boxes_of(faces), probabilities, frame.seconds or 0.0)
        yield Detections(frame, faces, ids, probabilities)


def _line(found: Detections, class_names: tuple[str, ...]) -> str:
    """Describe one frame of a camera."""
    labels = [f"{class_names[int(row.argmax())]} {row.max():.0%}" for row in found.probabilities]
    return f"{found.frame.seconds or 0:7.1f} s  {', '.join(labels) or NO_FACE}"
