"""Decoding, colour conversion and resizing."""

from pathlib import Path

import cv2
import fakes
import numpy as np
import pytest
from fakes import encoded, picture, write
from PIL import Image

from fersweep.data import images
from fersweep.data.sources.folder import Folder


def test_colour_becomes_grey_as_opencv_weighs_it(tmp_path: Path) -> None:
    colour = picture(3, channels=3)
    decoded = images.decode(encoded(colour))
    assert np.array_equal(decoded, colour)
    grey = images.to_channels(decoded, 1)
    assert np.array_equal(grey, cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY))
    weighed = colour @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey - weighed).max() <= 0.51
    assert np.array_equal(images.to_channels(grey, 3), np.repeat(grey[..., None], 3, axis=2))
    folder = fakes.folder(tmp_path, ("happy", "sad"), 1)
    write(folder / "sad" / "0.png", encoded(colour))
    data = Folder(folder, channels=3).load()
    assert np.array_equal(data.images[1], colour)
    assert np.array_equal(data.images[0], np.repeat(picture(0)[..., None], 3, axis=2))


def test_large_images_shrink_by_area_and_small_ones_grow() -> None:
    large = picture(1, (96, 144))
    small = images.resize(large, 48)
    assert np.abs(small - large.reshape(48, 2, 48, 3).mean((1, 3))).max() <= 0.51
    assert images.resize(small, 96).shape == (96, 96)
    assert images.resize(small, 48) is small


def test_unusual_pixels(tmp_path: Path) -> None:
    def through(image: Image.Image, name: str = "x.png", **options: object) -> np.ndarray:
        image.save(tmp_path / name, **options)  # type: ignore[arg-type]
        return images.decode((tmp_path / name).read_bytes())

    grey = picture(2)
    deep = grey.astype(np.uint16) * 257
    assert np.array_equal(through(Image.fromarray(deep)), grey)
    assert np.array_equal(through(Image.fromarray(deep), "x.tiff"), grey)
    colours = Image.fromarray(picture(2, channels=3)).quantize(16)
    assert np.array_equal(through(colours), np.asarray(colours.convert("RGB")))
    bits = Image.fromarray(grey).convert("1")
    assert set(np.unique(through(bits))) <= {0, 255}
    clear = np.dstack([picture(2, channels=3), np.zeros((48, 48), np.uint8)])
    clear[:24, :, 3] = 255
    decoded = through(Image.fromarray(clear))
    assert np.array_equal(decoded[:24], clear[:24, :, :3])
    assert (decoded[24:] == 255).all()
    both = through(Image.merge("LA", [Image.fromarray(grey), Image.new("L", (48, 48), 255)]))
    assert np.array_equal(both, grey)
    turned = Image.Exif()
    turned[0x0112] = 6
    assert through(Image.fromarray(picture(2, (20, 40))), "x.png", exif=turned).shape == (40, 20)
    with pytest.raises(images.UnreadableImageError, match="floating-point"):
        through(Image.fromarray(grey.astype(np.float32)), "f.tiff")
