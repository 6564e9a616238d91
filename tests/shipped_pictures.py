"""Pictures on which the network that comes with fersweep is held to golden probabilities.

``python tests/shipped_pictures.py`` writes ``golden/shipped.json`` for the network in this checkout; ``.ci/ship`` calls
it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from skimage import data as photographs

from fersweep.data.sources.synthetic import Synthetic
from fersweep.faces import Pixels
from fersweep.files import digest, write_json
from fersweep.inference import shipped
from fersweep.inference.predict import Predictor
from fersweep.training.weights_file import MODEL

GOLDEN = Path(__file__).parent / "golden" / "shipped.json"

TOLERANCE = {"probabilities": 5e-3, "boxes": 2.0}
"""Largest difference of a probability and, in pixels, of a box.

Measured with a network trained on FER2013: instruction sets (SSE4.1 or AVX2 in place of AVX-512) change probabilities
by 1e-6 and no box; noise of one grey level in all pixels changes probabilities by up to 0.04.
"""


def pictures() -> dict[str, Pixels]:
    """Return three drawn faces and two photographs of scikit-image, one large, one of a face alone."""
    drawn = Synthetic(image_size=48, size=21).load().images[:3]
    small = np.asarray(photographs.lfw_subset()[0] * 255).round().astype(np.uint8)  # 25 × 25, grey
    return {**{f"drawn {n}": each for n, each in enumerate(drawn)}, "astronaut": photographs.astronaut(), "lfw": small}


def answers() -> dict[str, Any]:
    """Return the digest of the network that comes along, and its boxes and probabilities."""
    predictor = Predictor(device="cpu")
    found = {}
    for name, image in pictures().items():
        _, probabilities, boxes = predictor(image)
        found[name] = {"boxes": boxes.round(2).tolist(), "probabilities": probabilities.astype(float).round(6).tolist()}
    return {"sha256": digest(shipped.FOLDER / MODEL), "pictures": found}


def differences(golden: Path) -> list[str]:
    """Return how the network that comes along differs from golden answers by more than `TOLERANCE`, in words."""
    expected, found = json.loads(golden.read_text(encoding="utf-8")), answers()
    if found["sha256"] != expected["sha256"]:
        return [f"{golden} is of another network: replace the network with .ci/ship RUN."]
    told = []
    for name, own in expected["pictures"].items():
        for key, tolerance in TOLERANCE.items():
            ours, theirs = (np.array(each) for each in (found["pictures"][name][key], own[key]))
            if ours.shape != theirs.shape:
                told.append(f"{name}: {len(ours)} faces, {len(theirs)} expected")
            elif ours.size and (most := np.abs(ours - theirs).max()) > tolerance:
                told.append(f"{name}: {key} differ by {most:.2g}, allowed is {tolerance}")
    return told


if __name__ == "__main__":
    write_json(GOLDEN, answers())
