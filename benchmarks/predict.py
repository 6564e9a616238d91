"""``fersweep predict`` on a made video: ``uv run python -m benchmarks.predict [--smoke] [--checkpoint RUN]``.

The astronaut of scikit-image moves, grows, turns and goes out of sight in a video of 512×512 pixels. Printed: in how
many frames her face is found, how many people that makes, how her probabilities move from frame to frame with and
without smoothing, and what each part costs. Without a checkpoint the network has random weights, and its answers mean
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
"""Frames a second, and the part of the video in which she is out of sight: longer than a second in a full run."""


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


def steadiness(table: Path) -> float:
    """Mean change of a probability from one frame to the next, in points of a hundred."""
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    chances = [list(row["probabilities"].values()) for row in rows if "probabilities" in row]
    return 100 * statistics.mean(float(np.abs(np.subtract(*pair)).mean()) for pair in itertools.pairwise(chances))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--smoke", action="store_true", help="few frames")
    parser.add_argument("--checkpoint", type=Path, metavar="RUN", help="a trained network")
    asked = parser.parse_args()
    frames = 20 if asked.smoke else 300
    with tempfile.TemporaryDirectory(prefix="fersweep-predict-") as temporary:
        folder = Path(temporary)
        film(folder / "made.mp4", frames)
        network = asked.checkpoint or untrained(folder / "random.ckpt")
        begun = time.perf_counter()
        assert fersweep(["predict", str(network), str(folder / "made.mp4"), "-o", str(folder / "seen")]) == 0
        whole = time.perf_counter() - begun
        raw = ["predict", str(network), str(folder / "made.mp4"), "-o", str(folder / "raw.jsonl"), "--smooth", "0"]
        assert fersweep(raw) == 0
        rows = [json.loads(line) for line in (folder / "seen" / "predictions.jsonl").read_text().splitlines()]
        found = [row for row in rows if "face" in row]
        there = round(frames * (1 - GONE[1] + GONE[0]))
        print(
            f"\nher face in {len(found)} frames of {there} that show it; {len({row['face'] for row in found})} people"
        )
        smooth, plain = steadiness(folder / "seen" / "predictions.jsonl"), steadiness(folder / "raw.jsonl")
        print(f"a probability changes by {plain:.2f} points a frame, smoothed by {smooth:.2f}")
        print(f"whole command (with the annotated video): {frames / whole:.1f} frames a second")

        predictor = Predictor(network)
        begun = time.perf_counter()
        images = [frame.image for frame in Video(folder / "made.mp4").frames() if frame.image is not None]
        times = {"decode": time.perf_counter() - begun}
        begun = time.perf_counter()
        faces = predictor.find(images)
        times["detect (MTCNN)"] = time.perf_counter() - begun
        begun = time.perf_counter()
        chances = predictor.classify(images, faces)
        times["cut and classify"] = time.perf_counter() - begun
        begun = time.perf_counter()
        for image, its, rows_of in zip(images, faces, chances, strict=True):
            draw.faces(image, its, rows_of, predictor.class_names)
        times["draw"] = time.perf_counter() - begun
        for name, seconds in times.items():
            print(f"  {name}: {1000 * seconds / len(images):.1f} ms a frame")


if __name__ == "__main__":
    main()
