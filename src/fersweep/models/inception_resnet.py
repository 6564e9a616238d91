"""Inception-ResNet-v1 as FaceNet's successors use it, by facenet-pytorch."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fersweep.errors import UserError
from fersweep.models.common import ActivationFactory, AttentionFactory, check_choice, check_images
from fersweep.models.download import SECONDS, unreachable
from fersweep.models.pretrained import Pretrained, attends

SMALLEST = 75
"""Least side of its images in pixels: smaller ones leave nothing after the last reduction."""

STAGES = {"repeat_1": 256, "repeat_2": 896, "block8": 1792}
"""Channels after its three stages of residual blocks (Szegedy et al. 2016, figure 10)."""

PRETRAINED = ("none", "vggface2", "casia-webface")


class InceptionResNetV1(Pretrained):
    """Inception-ResNet-v1 (Szegedy et al. 2016, figures 10 to 14) of facenet-pytorch, trained to recognise people.

    Its embedding of 512 numbers, with dropout and batch norm, is followed by a linear classifier. Pixels are mapped to
    (255 x - 127.5) / 128, as in its training. Grey images go through a first convolution whose weights are summed over
    red, green and blue, which is the same as repeating them.
    """

    described = "an Inception-ResNet-v1"

    def __init__(
        self,
        pretrained: str = "none",
        dropout: float = 0.6,
        resize: int | None = 160,
        *,
        attention: AttentionFactory,
        activation: ActivationFactory | None = None,
        attention_position: str,
        num_classes: int,
        in_channels: int,
        image_size: int,
    ) -> None:
        """Build the network with random weights; `download` and `load` replace them.

        Args:
            pretrained: ``vggface2`` or ``casia-webface``, the faces whose weights are to be downloaded, or ``none``.
            dropout: before the embedding.
            resize: side in pixels to which images are resized (bilinear), by default that of its training; ``None``
                leaves their size, which is then `SMALLEST` or more.
            attention, attention_position: see docs/reference/models.md; after each of the three stages.
            activation: refused, as the library fixes its own (ReLU).
            num_classes, in_channels, image_size: of the data.

        Raises:
            UserError: for unknown weights, an activation, and images smaller than `SMALLEST`.
        """
        import facenet_pytorch

        check_choice("backbone.model.pretrained", pretrained, PRETRAINED)
        if activation is not None:
            raise UserError("backbone=inception_resnet_v1 keeps its own activation: set activation=own.")
        side = resize or image_size
        if side < SMALLEST:
            raise UserError(
                f"backbone=inception_resnet_v1 takes images of {SMALLEST} pixels or more, not of {side}: "
                "set backbone.model.resize=160, the size that it was trained with."
            )
        network = facenet_pytorch.InceptionResnetV1(classify=True, num_classes=num_classes, dropout_prob=dropout)
        if in_channels == 1:
            network.conv2d_1a.conv = nn.Conv2d(1, 32, 3, stride=2, bias=False)
        scale = [127.5 / 255], [128 / 255]
        super().__init__(network, *scale, in_channels, image_size, "" if pretrained == "none" else pretrained)
        self.resize = resize
        if attends(attention):
            self.attend(STAGES, attention, attention_position)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``images`` (B, in_channels, image_size, image_size) in [0, 1] to logits (B, num_classes)."""
        check_images(images, self.in_channels, self.image_size)
        if self.resize is not None and self.resize != self.image_size:
            images = F.interpolate(images, size=(self.resize, self.resize), mode="bilinear", align_corners=False)
        return self.network((images - self.mean) / self.std)

    def load(self, weights: Mapping[str, Tensor], source: str) -> None:
        """Copy weights of facenet-pytorch; the classifier begins anew.

        Raises:
            UserError: they are not this network's.
        """
        weights, first = dict(weights), "conv2d_1a.conv.weight"
        if first in weights and self.in_channels == 1 and weights[first].ndim == 4:
            weights[first] = weights[first].sum(dim=1, keepdim=True)
        own = [key for key in self.network.state_dict() if ".attention." not in key]
        expected = {key.replace(".stage.", ".") for key in own}
        if missing := [key for key in sorted(expected - set(weights)) if not self.is_head(key)]:
            raise UserError(
                f"{source} is of another network than backbone=inception_resnet_v1: it has no {missing[0]}."
            )
        self.take_over(weights, source)

    def download(self) -> None:
        """Load the weights that facenet-pytorch has, from its cache or the network.

        Raises:
            UserError: they cannot be reached.
        """
        import facenet_pytorch

        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(SECONDS)  # of each answer: the library sets none
        try:
            with torch.random.fork_rng(devices=[]):
                donor = facenet_pytorch.InceptionResnetV1(pretrained=self.pretrained, classify=True)
        except OSError as error:
            raise unreachable(f"backbone=inception_resnet_v1 trained on {self.pretrained}") from error
        finally:
            socket.setdefaulttimeout(before)
        self.load(donor.state_dict(), f"The file of {self.pretrained}")

    def is_head(self, key: str) -> bool:
        return key.startswith("logits.")
