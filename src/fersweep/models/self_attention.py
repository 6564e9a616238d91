"""Self-attention between the positions of a map: the non-local block, and the bottleneck transformer block (BoT).

Each maps (B, C, H, W) to the same shape, begins as the identity (the scale of its last norm is zero), and compares
every position with every other: memory grows with (H W)².
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fersweep.errors import UserError
from fersweep.models.gated_attention import reduced


class NonLocal(nn.Module):
    """Non-local block with the embedded Gaussian (Wang et al. 2018, eqs. 2–6): x + norm(W_z softmax(θᵀφ) g).

    θ, φ, g are 1×1 convolutions to C / ``reduction`` channels, W_z one back to C, all without bias.
    """

    def __init__(self, channels: int, reduction: int = 2) -> None:
        super().__init__()
        hidden = reduced(channels, reduction)
        self.queries, self.keys, self.values = (nn.Conv2d(channels, hidden, 1, bias=False) for _ in range(3))
        self.out = nn.Conv2d(hidden, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Add to each position of ``x`` (B, C, H, W) a weighted mean over all positions."""
        mixed = self.values(x).flatten(2) @ self.weights(x).transpose(1, 2)
        return x + self.norm(self.out(mixed.unflatten(2, x.shape[2:])))

    def weights(self, x: Tensor) -> Tensor:
        """Return each position's weights of all positions, (B, H W, H W); each row sums to one."""
        return (self.queries(x).flatten(2).transpose(1, 2) @ self.keys(x).flatten(2)).softmax(dim=2)

    def gates(self, x: Tensor) -> dict[str, Tensor]:
        """Return the share of attention that each position receives (:class:`fersweep.models.gates.Attention`)."""
        return {"positions": self.weights(x).mean(dim=1).unflatten(1, (1, *x.shape[2:]))}


class RelativeSelfAttention(nn.Module):
    """Self-attention with relative positions (Srinivas et al. 2021, fig. 4): softmax((q kᵀ + q rᵀ) / √d) v, by heads.

    r is the sum of a vector for the distance in rows and one for that in columns. Distances of ``reach`` and more share
    the vector of ``reach`` - 1 (Shaw et al. 2018, section 3.2), so maps of every size are taken.
    """

    def __init__(self, channels: int, heads: int, reach: int) -> None:
        super().__init__()
        self.heads, self.reach, size = heads, reach, channels // heads
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        nn.init.normal_(self.qkv.weight, std=channels**-0.5)
        self.rows, self.columns = (nn.Parameter(size**-0.5 * torch.randn(2 * reach - 1, size)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        query, key, value = self.projected(x)
        mixed = self.weights(query, key, x.shape[2], x.shape[3]) @ value.transpose(2, 3)
        return mixed.transpose(2, 3).reshape(x.shape)

    def projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, each (B, heads, C / heads, H W)."""
        query, key, value = self.qkv(x).flatten(2).unflatten(1, (3, self.heads, -1)).unbind(dim=1)
        return query, key, value

    def weights(self, query: Tensor, key: Tensor, height: int, width: int) -> Tensor:
        """Return each position's weights of all positions, (B, heads, H W, H W); each row sums to one."""
        query = query.transpose(2, 3) * query.shape[2] ** -0.5
        of_positions = query.unflatten(2, (height, width))
        rows = torch.einsum("bnhwd,hkd->bnhwk", of_positions, self.rows[self._distances(height)])
        columns = torch.einsum("bnhwd,wkd->bnhwk", of_positions, self.columns[self._distances(width)])
        relative = (rows[..., :, None] + columns[..., None, :]).flatten(4).flatten(2, 3)
        return (query @ key + relative).softmax(dim=3)

    def _distances(self, size: int) -> Tensor:
        """Return the index of the vector for each query and key along an axis, (size, size)."""
        at = torch.arange(size, device=self.rows.device)
        return (at[None, :] - at[:, None]).clamp(1 - self.reach, self.reach - 1) + self.reach - 1


class BottleneckTransformer(nn.Module):
    """The block of bottleneck transformers (Srinivas et al. 2021, fig. 3) as attention: x + expand(MHSA(reduce(x))).

    A 1×1 convolution to C / ``reduction`` channels (at least one a head), self-attention, and a 1×1 convolution back,
    each with norm, ReLU after the first two. BoTNet has these blocks in place of the last stage's; here they follow the
    convolutions of a block, as other attention does.
    """

    def __init__(self, channels: int, reduction: int = 4, heads: int = 4, reach: int = 6) -> None:
        super().__init__()
        for name, value in (("heads", heads), ("reach", reach)):
            if not isinstance(value, int) or not 1 <= value <= 64:
                raise UserError(f"attention.{name}={value} must be a whole number from 1 to 64.")
        hidden = reduced(channels, reduction, least=heads) // heads * heads
        self.reduce = nn.Sequential(nn.Conv2d(channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU())
        self.attention = RelativeSelfAttention(hidden, heads, reach)
        self.act = nn.Sequential(nn.BatchNorm2d(hidden), nn.ReLU())
        last = nn.BatchNorm2d(channels)
        nn.init.zeros_(last.weight)
        self.expand = nn.Sequential(nn.Conv2d(hidden, channels, 1, bias=False), last)

    def forward(self, x: Tensor) -> Tensor:
        """Add self-attention to ``x`` (B, C, H, W)."""
        return x + self.expand(self.act(self.attention(self.reduce(x))))

    def gates(self, x: Tensor) -> dict[str, Tensor]:
        """Return the share of attention that each position receives, mean over heads, as :class:`NonLocal` does."""
        inner = self.reduce(x)
        query, key, _ = self.attention.projected(inner)
        weights = self.attention.weights(query, key, x.shape[2], x.shape[3])
        return {"positions": weights.mean(dim=(1, 2)).unflatten(1, (1, *x.shape[2:]))}
