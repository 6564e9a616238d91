"""What MTCNN finds and how fast: ``uv run python -m benchmarks.faces [--smoke] [NAME ...]``.

``hits``: the astronaut of scikit-image at several sizes and rotations on one canvas each: is her face found, and where.
``speed``: our batches beside plain facenet-pytorch, one ``MTCNN.detect`` an image, in rounds that take turns.
Each prints its table.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence
from functools import partial

import cv2
import facenet_pytorch
import numpy as np
import torch
from skimage.data import astronaut

from benchmarks.measure import alternate, seconds
from fersweep.faces import Pixels
from fersweep.faces.mtcnn import Mtcnn

BOX = (181.0, 62.0, 268.0, 172.0)
"""Her face in the original of 512×512 pixels, as MTCNN has it there."""

SCALES = (0.1, 0.15, 0.2, 0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0)
ANGLES = (0, 15, 30, 45, 60, 90)


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - shared)


def turned(scale: float, angle: float) -> tuple[Pixels, tuple[float, ...]]:
    """The astronaut, scaled and turned about her face, and the box about the face, taken as an ellipse."""
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
    """Print the overlap of the best box with where the face is, one row a size and one column a rotation."""
    detector = Mtcnn()
    scales, angles = (SCALES[5:7], ANGLES[:2]) if smoke else (SCALES, ANGLES)
    print("| Face, pixels wide | " + " | ".join(f"{angle}°" for angle in angles) + " |")
    print("|---" * (len(angles) + 1) + "|")
    found = false = 0
    for scale in scales:
        cells = []
        for angle in angles:
            image, box = turned(scale, angle)
            shares = [overlap(face.box, box) for face in detector.detect([image])[0]]
            best = max(shares, default=0.0)
            found += best >= 0.5
            false += sum(share < 0.3 for share in shares)
            cells.append(f"{best:.2f}" if best >= 0.3 else "–")
        print(f"| {(BOX[2] - BOX[0]) * scale:.0f} | " + " | ".join(cells) + " |", flush=True)
    print(f"\n{found} of {len(scales) * len(angles)} found (intersection over union of 0.5), {false} false\n")


def _one_by_one(detector: facenet_pytorch.MTCNN, images: Sequence[Pixels]) -> None:
    for each in images:
        detector.detect(each, landmarks=True)


def speed(smoke: bool) -> None:
    """Print images a second of both, and the median of the ratios of the rounds."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ours, theirs = Mtcnn(0.7), facenet_pytorch.MTCNN(keep_all=True, device=device)
    noise = np.random.default_rng(0)
    print("| Images | Ours, images/s | facenet-pytorch, images/s | Ratio (least…most) |\n|---|---|---|---|")
    for side, count in ((128, 4),) if smoke else ((128, 32), (256, 16), (512, 8)):
        image = cv2.resize(astronaut(), (side, side), interpolation=cv2.INTER_AREA)
        images = [np.clip(image + noise.normal(0, 4, image.shape), 0, 255).astype(np.uint8) for _ in range(count)]
        taken = alternate(
            {
                "ours": partial(seconds, partial(ours.detect, images), device),
                "theirs": partial(seconds, partial(_one_by_one, theirs, images), device),
            },
            repeats=1 if smoke else 7,
        )
        ratios = [b / a for a, b in zip(taken["ours"], taken["theirs"], strict=True)]
        rates = {name: count / statistics.median(values) for name, values in taken.items()}
        print(
            f"| {count} of {side}×{side} | {rates['ours']:.1f} | {rates['theirs']:.1f} "
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f}…{max(ratios):.2f}) |",
            flush=True,
        )


def main() -> None:
    """Run the parts that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", help="hits, speed; both by default")
    parser.add_argument("--smoke", action="store_true", help="as little as possible, to see that it runs")
    asked = parser.parse_args()
    parts = {"hits": hits, "speed": speed}
    for name in asked.names or parts:
        parts[name](asked.smoke)


if __name__ == "__main__":
    main()
