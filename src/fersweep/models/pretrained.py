"""Networks of other libraries, whose weights were trained on other images."""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fersweep.errors import UserError
from fersweep.models.common import AttentionFactory, check_attention_position, check_images, refuse_not_finite

POSITIONS = ("after_stage",)

WITHIN = ("state_dict", "model", "state_dict_ema")
"""Names under which training programs store a network's weights in a file."""


class Attended(nn.Module):
    """A stage, and attention to its output (B, C, H, W)."""

    def __init__(self, stage: nn.Module, attention: nn.Module) -> None:
        super().__init__()
        self.stage, self.attention = stage, attention

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(self.stage(x))


class Pretrained(nn.Module, ABC):
    """A network of another library that takes images in [0, 1], with attention after its stages.

    ``mean`` and ``std``, (1, C, 1, 1), which its library subtracts and divides by, belong to the weights and are stored
    with them.

    Args:
        network: normalised images (B, C, H, W) to logits.
        mean, std: of each channel.
        in_channels, image_size: of the data.
        pretrained: what `download` is to load; empty for nothing.
    """

    described = "this network"
    """The network in an error message, with its article."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        in_channels: int,
        image_size: int,
        pretrained: str = "",
    ) -> None:
        super().__init__()
        self.network, self.pretrained = network, pretrained
        self.in_channels, self.image_size = in_channels, image_size
        self.attended: list[str] = []
        for name, values in (("mean", mean), ("std", std)):
            of_channels = values if len(values) == in_channels else [sum(values) / len(values)] * in_channels
            self.register_buffer(name, torch.tensor(of_channels).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Map ``images`` (B, in_channels, image_size, image_size) in [0, 1] to logits (B, num_classes)."""
        check_images(images, self.in_channels, self.image_size)
        return self.network((images - self.mean) / self.std)

    def attend(self, stages: Mapping[str, int], attention: AttentionFactory, position: str) -> None:
        """Insert attention after the ``stages``: channels of their output by the module's name."""
        check_attention_position(position, POSITIONS, self.described)
        for name, channels in stages.items():
            *above, last = name.split(".")
            parent = self.network.get_submodule(".".join(above))
            setattr(parent, last, Attended(parent.get_submodule(last), attention(channels)))
            self.attended.append(name)

    def name_here(self, key: str) -> str:
        """Return the name in ``network`` of a parameter that the library calls ``key``."""
        for stage in self.attended:
            if key.startswith(f"{stage}."):
                return f"{stage}.stage.{key.removeprefix(f'{stage}.')}"
        return key

    @abstractmethod
    def load(self, weights: Mapping[str, Tensor], source: str) -> None:
        """Copy weights with the library's names, all but the classifier's.

        Raises:
            UserError: they are another network's; ``source`` names them.
        """

    @abstractmethod
    def download(self) -> None:
        """Load ``pretrained`` weights from the library's cache or the network.

        Raises:
            UserError: there are none, or they cannot be reached.
        """

    def library_depths(self) -> dict[str, int] | None:
        """Return the layer of parameters by the library's names, if it numbers them (`fersweep.models.depth`)."""
        return None

    def no_decay(self) -> set[str]:
        """Return the names here of the parameters that the library excludes from weight decay."""
        excluded: set[str] = getattr(self.network, "no_weight_decay", set)()
        return {f"network.{self.name_here(key)}" for key in excluded}

    @abstractmethod
    def is_head(self, key: str) -> bool:
        """Return whether the parameter that the library calls ``key`` belongs to the classifier."""

    def take_over(self, donor: Mapping[str, Tensor], source: str) -> None:
        """Copy the values of a network without attention, ``donor``, except for the classifier."""
        own = self.network.state_dict()
        copied = {self.name_here(key): value for key, value in donor.items() if not self.is_head(key)}
        for key, value in copied.items():
            if key not in own or own[key].shape != value.shape:
                there = tuple(own[key].shape) if key in own else "absent"
                raise UserError(
                    f"{source} is of another network: {key} is {tuple(value.shape)} there and {there} here."
                )
        self.network.load_state_dict(own | copied)


def attends(attention: AttentionFactory) -> bool:
    """Return whether a factory makes attention, and not the identity that stands for none."""
    return getattr(attention, "func", attention) is not nn.Identity


def read(path: Path) -> dict[str, Tensor]:
    """Read weights by name from a file of safetensors or of torch, whose pickle may hold nothing but tensors.

    Raises:
        UserError: the file is not readable, does not hold a network's weights, or numbers that are not finite.
    """
    try:
        content: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (OSError, RuntimeError, ValueError, LookupError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{path} is not a readable file of weights: give one of safetensors, or one of torch that loads with "
            "weights_only=True."
        ) from error
    for name in WITHIN:
        if isinstance(content, dict) and isinstance(content.get(name), Mapping):
            content = content[name]
            break
    tensors = isinstance(content, Mapping) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    )
    if not tensors or not content:
        raise UserError(f"{path} is not a table of a network's weights by name: save network.state_dict().")
    refuse_not_finite(content, str(path))
    return {key.removeprefix("module."): value for key, value in content.items()}
