"""Benchmarks of speed and memory, and checks of behaviour under load, in a checkout: ``python -m benchmarks``.

Importing this package, or its command line, imports no torch.
"""

from __future__ import annotations

PARTS = {
    "efficiency": "an epoch of training beside the bare loop",
    "input": "the steps from the memory map to a batch",
    "startup": "from the start of a run to its first training step",
    "together": "two runs at once beside one after another",
    "sweep": "many small runs beside their training steps alone",
    "data": "FER2013, decoded and from the cache (--fer2013 PATH)",
    "memory": "of a training process; cost of one more process",
    "inference": "images per second and latency, single view and ten crops",
    "changes": "the gain from each optimisation of the project",
    "ceiling": "a training step beside a large matrix product",
    "peers": "torchvision, timm, plain Lightning; bf16 beside fp32",
}
"""Names and descriptions of the modules in `benchmarks.parts`, in the order in which they are measured."""

CHECKS = {
    "chaos": "sweeps that are interrupted and killed",
    "comparisons": "error rates of the report's statistics",
    "copies": "known copies and odd pixels in the audit of a dataset (--fer2013 PATH)",
    "export": "ONNX beside PyTorch, for every network",
    "faces": "MTCNN: recall and speed",
    "ferplus": "the votes of FER+: counts of its protocols, and agreement (--votes fer2013new.csv)",
    "fuzz": "damaged and hostile input of every kind, given to the commands",
    "gpu": "everything that needs a GPU, in eight minutes, into one file (--fer2013 PATH)",
    "predict": "fersweep predict on a synthetic video",
    "search": "searches: ASHA beside random search, and killed ones",
    "video": "frames per second of fersweep predict, and its answers, by the way of finding faces",
}
"""Names and descriptions of the modules in `benchmarks.checks`."""
