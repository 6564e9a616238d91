"""Unscaled crops: random ones are parts of their images, at every place; centre and corners are where they belong."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from fersweep.data import crops


def places(count: int, seed: int, channels: int = 0) -> Counter[tuple[int, int]]:
    """Crop images whose pixels tell their place, and return where from; every crop must be a part of its image."""
    rows, columns = np.mgrid[:12, :14].astype(np.uint8)
    image = 16 * rows + columns if not channels else np.stack([rows, columns, rows + columns], axis=2)
    images = np.repeat(image[None], count, axis=0)
    images.setflags(write=False)  # as a memory map is
    found = crops.at_random(images, 9, seed)
    assert (found.shape, found.dtype) == ((count, 9, 9, *image.shape[2:]), np.uint8)
    corners = [tuple(each[0, 0].tolist()[:2]) if channels else divmod(int(each[0, 0]), 16) for each in found]
    for crop, (top, left) in zip(found, corners, strict=True):
        np.testing.assert_array_equal(crop, image[top : top + 9, left : left + 9])
    return Counter(corners)


def test_random_crops_begin_at_every_place_equally_often() -> None:
    found = places(2400, seed=3)
    assert set(found) == {(top, left) for top in range(4) for left in range(6)}
    assert min(found.values()) > 65  # of 100 expected, standard deviation 10
    assert max(found.values()) < 135


def test_the_seed_alone_decides_and_colour_is_cropped_alike() -> None:
    assert places(50, seed=1, channels=3) == places(50, seed=1)
    assert places(50, seed=1) != places(50, seed=2)
    assert crops.at_random(np.empty((0, 12, 12), np.uint8), 9, 0).shape == (0, 9, 9)  # a process without images


@pytest.mark.parametrize("side", [5, 6])
def test_the_centre_and_the_corners(side: int) -> None:
    images = torch.arange(2 * 3 * 8 * 8).view(2, 3, 8, 8)
    first, second, third, fourth, centre = crops.five(images, side, side)
    assert torch.equal(first, images[..., :side, :side])
    assert torch.equal(second, images[..., :side, -side:])
    assert torch.equal(third, images[..., -side:, :side])
    assert torch.equal(fourth, images[..., -side:, -side:])
    assert torch.equal(centre, images[..., 1 : 1 + side, 1 : 1 + side])
    assert torch.equal(crops.centre(images, side), centre)
    assert crops.centre(images, 8) is images
    assert crops.centre(images, None) is images
