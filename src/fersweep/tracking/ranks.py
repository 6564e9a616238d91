"""Rank of this process, as Lightning knows it before and during a training."""

from __future__ import annotations


def is_rank_zero() -> bool:
    """Return whether this process is the one that records."""
    from pytorch_lightning.utilities import rank_zero_only

    return getattr(rank_zero_only, "rank", 0) == 0
