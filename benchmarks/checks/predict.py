"""fersweep predict on a synthetic video.

The astronaut of scikit-image moves, grows, rotates and leaves in a video of 512×512 pixels. Prints in how many frames
her face is found, the number of people, the change of her probabilities from frame to frame with and without
smoothing, and the time of each step. Without a checkpoint the network has random weights, and its predictions mean
nothing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from skimage.data import astronaut

from fersweep import build
from fersweep.cli.main import main as fersweep
from fersweep.config.compose import compose_config
from fersweep.config.schema import to_dict
from fersweep.data.samples import CLASSES
from fersweep.inference.predict import Predictor, draw
from fersweep.inference.predict.inputs import Video
from fersweep.training import checkpoint

RATE, GONE = 25.0, (0.6, 0.7)
"""Frames per second, and the part of the video that does not show her: more than a second, except in smoke mode."""


def film(path: Path, frames: int) -> None:
    """Write the video."""
    picture = np.ascontiguousarray(astronaut()[..., ::-1])
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), RATE, (512, 512))
    for number in range(frames):
        part = number / frames
        turn, scale = 20 * math.sin(2 * math.pi * part), 1 + 0.5 * math.sin(4 * math.pi * part)
        matrix = cv2.getRotationMatrix2D((224, 117), turn, scale)
        matrix[:, 2] += np.array((32 + 60 * math.sin(6 * math.pi * part), 80.0))
        if GONE[0] <= part < GONE[1]:
            matrix[:, 2] += 5000
        writer.write(
            cv2.warpAffine(picture, matrix, (512, 512), borderMode=cv2.BORDER_CONSTANT, borderValue=(90, 90, 90))
        )
    writer.release()


def untrained(path: Path) -> Path:
    """Write a checkpoint of AER-CNN with random weights."""
    cfg = compose_config(["backbone=aer_cnn"])
    torch.manual_seed(0)
    network = build.model(cfg, len(CLASSES))
    stored = checkpoint.stored(to_dict(cfg), CLASSES, "none", "32-true", 1)
    torch.save(
        {"state_dict": {f"model.{key}": each for key, each in network.state_dict().items()}, "fersweep": stored}, path
    )
    return path


def rows_of(table: Path) -> list[dict[str, Any]]:
    """Return the rows of predictions in JSON lines."""
    return [json.loads(line) for line in table.read_text().splitlines()]


def steadiness(table: Path) -> float:
    """Return the mean change of a probability from one frame to the next, in percentage points."""
    probabilities = [list(row["probabilities"].values()) for row in rows_of(table) if "probabilities" in row]
    return 100 * statistics.mean(float(np.abs(np.subtract(*pair)).mean()) for pair in itertools.pairwise(probabilities))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, metavar="RUN", help="a trained network; default: random weights")


def run(asked: argparse.Namespace) -> int:
    """Write the video, predict and print the figures."""
    frames = 20 if asked.smoke else 300
    with tempfile.TemporaryDirectory(prefix="fersweep-predict-") as temporary:
        folder = Path(temporary)
        film(folder / "made.mp4", frames)
        network = asked.checkpoint or untrained(folder / "random.ckpt")
        command(network, folder, frames)
        steps(network, folder / "made.mp4")
    return 0


def command(network: Path, folder: Path, frames: int) -> None:
    """Run fersweep predict with and without smoothing."""
    video, table, raw = folder / "made.mp4", folder / "seen" / "predictions.jsonl", folder / "raw.jsonl"
    begun = time.perf_counter()
    assert fersweep(["predict", str(network), str(video), "-o", str(table.parent)]) == 0
    taken = time.perf_counter() - begun
    assert fersweep(["predict", str(network), str(video), "-o", str(raw), "--smooth", "0"]) == 0
    found = [row["face"] for row in rows_of(table) if "face" in row]
    visible = round(frames * (1 - GONE[1] + GONE[0]))
    print(f"\nher face in {len(found)} of the {visible} frames that show it; {len(set(found))} people")
    print(f"a probability changes by {steadiness(raw):.2f} points per frame, smoothed by {steadiness(table):.2f}")
    print(f"the command (with the annotated video): {frames / taken:.1f} frames per second")


def steps(network: Path, video: Path) -> None:
    """Time each step of predicting."""
    predictor = Predictor(network)
    clock = [time.perf_counter()]
    images = [frame.image for frame in Video(video).frames() if frame.image is not None]
    clock.append(time.perf_counter())
    faces = predictor.find(images)
    clock.append(time.perf_counter())
    probabilities = predictor.classify(images, faces)
    clock.append(time.perf_counter())
    for image, found, rows in zip(images, faces, probabilities, strict=True):
        draw.faces(image, found, rows, predictor.class_names)
    clock.append(time.perf_counter())
    names = ("decode", "detect (MTCNN)", "crop and classify", "draw")
    for name, (begun, ended) in zip(names, itertools.pairwise(clock), strict=True):
        print(f"  {name}: {1000 * (ended - begun) / len(images):.1f} ms per frame")
