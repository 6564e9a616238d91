"""``torch.export``: the network as a program that runs without this package."""

from __future__ import annotations

import io
from pathlib import Path

import torch

from fersweep.files import atomic_path
from fersweep.inference.export import about, graph
from fersweep.inference.export.graph import Difference
from fersweep.inference.trained import Trained

METADATA = "metadata.json"
"""The extra file, within the program's, that holds `about.metadata`."""


def write(trained: Trained, path: Path) -> Difference:
    """Write ``path``, once it answers as the network does: uint8 ``(B, C, H, W)`` to probabilities and logits.

    Raises:
        UserError: it differs; ``path`` is as it was.
        OSError: ``path`` cannot be written.
    """
    packed = io.BytesIO()  # torch's own writing of files hides what the system says of them
    torch.export.save(graph.traced(trained), packed, extra_files={METADATA: about.as_json(trained)})
    with atomic_path(path) as temporary:
        temporary.write_bytes(packed.getbuffer())
        with torch.inference_mode():
            return graph.check(torch.export.load(temporary).module(), trained, path)
