"""The network that comes with fersweep: its weights and cards are files of this folder.

``.ci/ship RUN`` replaces them (CONTRIBUTING.md). A build may have none.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from fersweep.errors import UserError
from fersweep.files import Field, digest, read_json
from fersweep.inference import trained
from fersweep.inference.trained import Trained
from fersweep.text import printable
from fersweep.training.weights_file import CARD, MODEL

FOLDER = Path(__file__).resolve().parent

ABSENT = (
    "This build of fersweep ships no network: name one with --checkpoint, a run's directory, a .ckpt or a .safetensors "
    "file (in Python: Predictor(CHECKPOINT))."
)

AGAIN = "install fersweep again, or name another network with --checkpoint"

FIELDS = {"sha256": Field("text", lambda value: isinstance(value, str))}
"""Fields of the card that reading the network needs."""


def is_there() -> bool:
    """Return whether this build ships a network."""
    return (FOLDER / MODEL).is_file()


def card() -> dict[str, Any]:
    """Return the card, `fersweep.inference.export.facts.facts`; raise UserError without one."""
    known = read_json(FOLDER / CARD, FIELDS, "card of the network", AGAIN)
    if known is None:
        raise UserError(f"{FOLDER / CARD} is missing: {AGAIN}.")
    return known


def load(device: str = "auto") -> Trained:
    """Load the network, and say on standard error in one line which one it is.

    Raises:
        UserError: this build has none, or its file is not the one that its card describes.
    """
    if not is_there():
        raise UserError(ABSENT)
    model = FOLDER / MODEL
    if digest(model) != card()["sha256"]:
        raise UserError(f"{model} is damaged or was changed: its digest is not that of its card; {AGAIN}.")
    network = trained.load(model, device)
    print(f"network: {printable(described(network))}", file=sys.stderr)
    return network


def described(network: Trained) -> str:
    """Return the network's title, run and test accuracy, and the place of its card."""
    known = [f"run {network.run}"]
    if "test/accuracy" in network.tested and "test/n" in network.tested:
        accuracy, n = f"{network.tested['test/accuracy']:.1%}".replace("%", " %"), network.tested["test/n"]
        crops = network.cfg.recipe.test_crops
        known.append(f"test accuracy {accuracy}{f' (mean of {crops} crops)' if crops > 1 else ''}, n = {n:,.0f}")
    return f"{network.title}, which comes with fersweep ({', '.join(known)}); its card: {FOLDER / 'README.md'}"
