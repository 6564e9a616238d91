"""Recall and speed of MTCNN, and of the light detector beside it.

hits: whether it finds the face of scikit-image's astronaut at several sizes and rotations, and where.
speed: batches in fersweep beside facenet-pytorch, which takes one image at a time.
With --photos instead: what libfacedetection finds of MTCNN's faces in a folder of photographs, and how long both take.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from unittest.mock import patch

import cv2
import facenet_pytorch
import numpy as np
import torch
from rich.console import Console
from skimage.data import astronaut

from benchmarks import report
from benchmarks.measure import Case, Part, compare, rate
from fersweep.faces import Detector, Face, Pixels, pictures
from fersweep.faces.detectors import make
from fersweep.faces.mtcnn import Mtcnn
from fersweep.faces.scale import fitted

BOX = (181.0, 62.0, 268.0, 172.0)
"""Her face in the original of 512×512 pixels, as MTCNN finds it."""

SCALES = (0.1, 0.15, 0.2, 0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0)
ANGLES = (0, 15, 30, 45, 60, 90)


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - shared)


def rotated(scale: float, angle: float) -> tuple[Pixels, tuple[float, ...]]:
    """Return the astronaut, scaled and rotated (degrees) about her face, and the bounding box of that ellipse."""
    side = max(round(512 * scale), 1)
    image = cv2.resize(astronaut(), (side, side), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    x, y = (BOX[0] + BOX[2]) / 2 * scale, (BOX[1] + BOX[3]) / 2 * scale
    matrix = cv2.getRotationMatrix2D((x, y), angle, 1.0)
    turn = math.radians(angle)
    width, height = (BOX[2] - BOX[0]) * scale, (BOX[3] - BOX[1]) * scale
    wide = math.hypot(width * math.cos(turn), height * math.sin(turn))
    high = math.hypot(width * math.sin(turn), height * math.cos(turn))
    box = (x - wide / 2, y - high / 2, x + wide / 2, y + high / 2)
    return np.asarray(cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE), np.uint8), box


def hits(smoke: bool) -> None:
    """Print the overlap of the best box with the face, one row per size and one column per rotation."""
    detector = Mtcnn()
    scales, angles = (SCALES[5:7], ANGLES[:2]) if smoke else (SCALES, ANGLES)
    report.markdown(("Face, pixels wide", *(f"{angle}°" for angle in angles)), header=True)
    found = false = 0
    for scale in scales:
        cells = []
        for angle in angles:
            image, box = rotated(scale, angle)
            shares = [overlap(face.box, box) for face in detector.detect([image])[0]]
            best = max(shares, default=0.0)
            found += best >= 0.5
            false += sum(share < 0.3 for share in shares)
            cells.append(f"{best:.2f}" if best >= 0.3 else "–")
        report.markdown((f"{(BOX[2] - BOX[0]) * scale:.0f}", *cells))
    print(f"\n{found} of {len(scales) * len(angles)} found (intersection over union of 0.5), {false} false\n")


def speed(smoke: bool) -> None:
    """Print images per second of both, and their ratio."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ours, theirs = Mtcnn(0.7), facenet_pytorch.MTCNN(keep_all=True, device=device)
    noise, part, begun = np.random.default_rng(0), Part(), time.perf_counter()
    for side, count in ((128, 4),) if smoke else ((128, 32), (256, 16), (512, 8)):
        image = cv2.resize(astronaut(), (side, side), interpolation=cv2.INTER_AREA)
        images = [np.clip(image + noise.normal(0, 4, image.shape), 0, 255).astype(np.uint8) for _ in range(count)]
        candidates = {
            "ours": rate(partial(ours.detect, images), count, device, 0),
            "facenet-pytorch": rate(partial(_one_by_one, theirs, images), count, device, 0),
        }
        case: Case = {"images": count, "size": f"{side}×{side}"}
        part.figures += compare("images/s", case, candidates, 1 if smoke else 7, to="facenet-pytorch")
    Console(width=120).print(report.table("MTCNN", report.as_dict(part, time.perf_counter() - begun)))


def _one_by_one(detector: facenet_pytorch.MTCNN, images: Sequence[Pixels]) -> None:
    for each in images:
        detector.detect(each, landmarks=True)


def photos(folder: Path) -> None:
    """Print, for several sizes of search, how many of MTCNN's faces are found, and milliseconds per photograph."""
    from fersweep.faces import libfacedetection  # needs the extra fast-faces

    images = [_shrunk(pictures.read(path)) for path in pictures.find(folder)]
    light = make("libfacedetection")
    expected, taken = _timed(Mtcnn(), images)
    total = sum(map(len, expected))
    report.markdown(("Detector", "MTCNN's faces", "overlap", "other faces", "ms per photograph"), header=True)
    report.markdown(("mtcnn", f"{total}", "", "", f"{taken:.0f}"))
    for longest in (320, 480, 640):
        with patch.object(libfacedetection, "LONGEST", longest):
            found, taken = _timed(light, images)
        pairs = [(face, new) for old, new in zip(expected, found, strict=True) for face in old]
        best = [max((overlap(face.box, each.box) for each in new), default=0.0) for face, new in pairs]
        hit = [share for share in best if share >= 0.5]
        cells = f"{len(hit)} of {total}", f"{np.mean(hit):.2f}", f"{sum(map(len, found)) - len(hit)}", f"{taken:.0f}"
        report.markdown((f"libfacedetection, {longest} pixels", *cells))
    print(f"\n{len(images)} photographs of at most 1,280 pixels; found: an intersection over union of 0.5 or more")


def _shrunk(image: Pixels) -> Pixels:
    return fitted(image, 1, 1280) if max(image.shape[:2]) > 1280 else image


def _timed(detector: Detector, images: Sequence[Pixels]) -> tuple[list[list[Face]], float]:
    """Return the faces of each image, searched one by one, and the time for one in milliseconds."""
    begun = time.perf_counter()
    found = [detector.detect([image])[0] for image in images]
    return found, 1000 * (time.perf_counter() - begun) / len(images)


MEASURES = {"hits": hits, "speed": speed}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="*", help="hits, speed; default: both")
    parser.add_argument("--photos", metavar="FOLDER", type=Path, help="instead, compare detectors on photographs")


def run(asked: argparse.Namespace) -> int:
    """Print the tables that are asked for."""
    if asked.photos is not None:
        photos(asked.photos)
        return 0
    for name in asked.names or MEASURES:
        MEASURES[name](asked.smoke)
    return 0
