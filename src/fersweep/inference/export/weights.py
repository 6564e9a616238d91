"""safetensors: weights, with all settings needed to rebuild the network in the metadata."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch

from fersweep.errors import UserError, extra
from fersweep.files import atomic_path
from fersweep.inference.export import about, graph
from fersweep.inference.trained import Trained, framing_of, rebuild
from fersweep.text import first_line

with extra("A safetensors file"):
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file, save


def write(trained: Trained, path: Path) -> graph.Difference:
    """Write ``path`` if a network rebuilt from it gives the same logits, bit for bit; see `files.write`."""
    state = trained.network.state_dict()
    tensors = {key: value.clone(memory_format=torch.contiguous_format) for key, value in state.items()}
    config = json.dumps(about.shareable(trained), ensure_ascii=False)
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, {"format": "pt", **about.metadata(trained), "config": config}))
        with torch.inference_mode():
            found = graph.check(graph.Graph(load(temporary)), trained, path)
        if found.logits:
            raise UserError(f"{path} was not written: its logits differ from the network's by {found.logits:.1e}.")
        return found


def load(path: Path) -> Trained:
    """Load a file of `write` on the CPU.

    Raises:
        UserError: it is missing or damaged, or not from this version's `write`.
    """
    path = path.expanduser()
    try:
        with safe_open(path, "pt") as file:
            known = file.metadata() or {}
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is not a readable safetensors file ({error}).") from error
    if known.get("fersweep_format") != str(about.FORMAT):
        raise UserError(f"{path} was not written by this version of fersweep: export the checkpoint again.")
    try:
        names, config = (json.loads(known[key]) for key in ("labels", "config"))
        temperature = float(known["temperature"])
        if not isinstance(names, list) or not isinstance(config, dict) or not 0 < temperature < math.inf:
            raise ValueError("labels, config or temperature have another type")
    except (KeyError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: its metadata cannot be read ({first_line(error)}).") from error
    names = tuple(map(str, names))
    cfg, network = rebuild(config, len(names), path, tensors)
    network.load_state_dict(tensors)
    framing = framing_of(known, cfg)
    return Trained(path, network, cfg, names, temperature, torch.device("cpu"), framing)
