"""safetensors: weights, with all settings needed to rebuild the network in the metadata."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from fersweep.errors import UserError
from fersweep.files import atomic_path
from fersweep.inference import trained as networks
from fersweep.inference.export import about, graph
from fersweep.inference.trained import Trained

HALF_TOLERANCE = 0.02
"""Largest difference of a network with weights in half precision, as `graph.TOLERANCE`."""


def write(trained: Trained, path: Path, half: bool = False) -> graph.Difference:
    """Write ``path`` if a network rebuilt from it gives the same logits, bit for bit; see `files.write`.

    With ``half``, kernels and matrices are stored as float16 and logits may differ by `HALF_TOLERANCE`. Biases and
    the scales and statistics of norms stay float32: they are few, and a variance may exceed float16.
    """
    state = trained.network.state_dict()
    tensors = {key: _stored(value, half) for key, value in state.items()}
    if wrong := next((key for key, value in tensors.items() if not _kept(state[key], value)), None):
        raise UserError(f"{path} was not written: {wrong} has values beyond half precision; export it without --half.")
    config = json.dumps(about.shareable(trained), ensure_ascii=False)
    weights = "float16" if half else "float32"
    metadata = {"format": "pt", **about.metadata(trained), "weights": weights, "config": config}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, metadata))
        with torch.inference_mode():
            tolerance = HALF_TOLERANCE if half else graph.TOLERANCE
            found = graph.check(graph.Graph(load(temporary)), trained, path, tolerance)
        if found.logits and not half:
            raise UserError(f"{path} was not written: its logits differ from the network's by {found.logits:.1e}.")
        return found


def _stored(value: Tensor, half: bool) -> Tensor:
    value = value.cpu().clone(memory_format=torch.contiguous_format)
    return value.half() if half and value.is_floating_point() and value.ndim > 1 else value


def _kept(before: Tensor, after: Tensor) -> bool:
    """Return whether no value has become infinite."""
    return after.dtype == before.dtype or bool((after.isfinite() == before.cpu().isfinite()).all())


def load(path: Path) -> Trained:
    """Load a file of `write` on the CPU; errors are those of `fersweep.inference.trained.load`."""
    return networks.load(path, "cpu")
