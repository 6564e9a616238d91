"""How fast the project is and what it costs, part by part, always beside what it is compared with.

Nothing here imports torch: `run` does the work, `PARTS` are the names the command line knows.
"""

from __future__ import annotations

PARTS = {
    "efficiency": "an epoch of training beside the bare loop",
    "input": "the steps from the memory map to a batch",
    "startup": "from the start of a run to its first training step",
    "together": "two runs at once beside one after another",
    "sweep": "many small runs beside their arithmetic alone",
    "data": "FER2013, decoded and from the cache (--fer2013 PATH)",
    "memory": "of a training process; what one more process costs",
    "inference": "images a second and latency, single view and ten crops",
    "changes": "what each thing done for speed is worth",
    "ceiling": "a training step beside a large matrix product",
    "peers": "torchvision, timm, plain Lightning; bf16 beside fp32",
}
