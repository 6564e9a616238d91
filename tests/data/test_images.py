"""Decoding, colour conversion and resizing."""

import io
from pathlib import Path

import cv2
import fakes
import numpy as np
import pytest
from fakes import encoded, picture, write
from PIL import Image, ImageFile

from fersweep.data import files, images
from fersweep.data.sources.folder import Folder
from fersweep.faces import pictures


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
    for bits in (8, 12):  # in a file of 16
        full = np.round(grey * ((2**bits - 1) / 255)).astype(np.uint16)
        full[0, 0] = 2**bits - 1
        assert np.array_equal(through(Image.fromarray(full))[1:], grey[1:]), bits
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


def saved(pixels: np.ndarray, suffix: str, **options: object) -> bytes:
    """The bytes of an image that Pillow writes."""
    Image.init()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, Image.EXTENSION[suffix], **options)  # type: ignore[arg-type]
    return file.getvalue()


LOSSY = {".jpg", ".jfif", ".webp", ".avif"}
READ = (
    ".jpg",
    ".jfif",
    ".png",
    ".tif",
    ".bmp",
    ".gif",
    ".webp",
    ".avif",
    ".jp2",
    ".pgm",
    ".tga",
    ".pcx",
    ".sgi",
    ".ico",
)


def test_a_dataset_of_every_usual_format(tmp_path: Path) -> None:
    for label in ("happy", "sad"):
        for number, suffix in enumerate(READ):
            name = suffix.upper() if number % 2 else suffix
            write(tmp_path / label / f"{number:02d}{name}", saved(picture(number), suffix))
        write(tmp_path / label / "x.heic", bytes(12))
    data = Folder(tmp_path).load()
    assert len(data) == 2 * len(READ)
    for number, (suffix, image) in enumerate(zip(READ, data.images, strict=False)):
        most = 24 if suffix in LOSSY else 0
        assert np.abs(image.astype(int) - picture(number)).max() <= most, suffix
    found = [path.name for path in pictures.find(tmp_path / "sad")]
    assert len(found) == len(READ) + 1
    assert "x.heic" in found


def test_the_suffixes_are_those_that_pillow_decodes_itself() -> None:
    Image.init()
    decoded = {suffix for suffix, name in Image.registered_extensions().items() if name in (*Image.OPEN, "MPO")}
    otherwise = {".eps", ".ps"}  # by Ghostscript
    otherwise |= {".wmf", ".emf", ".bufr", ".grib", ".h5", ".hdf", ".mpg", ".mpeg", ".iim"}  # named, but not decoded
    otherwise |= {".fit", ".fits", ".pfm", ".pcd"}  # of floating-point numbers; and what others call a point cloud
    assert set(files.IMAGE_SUFFIXES) == decoded - otherwise


def test_pictures_that_are_not_decoded_are_named() -> None:
    with pytest.raises(images.UnreadableImageError, match=r"^a HEIC photo: save it as JPEG or PNG$"):
        images.decode(b"\0\0\0\x18ftypheic" + bytes(40))
    with pytest.raises(images.UnreadableImageError, match="unknown format"):
        images.decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_16_bits_are_turned_as_8_bits_are(orientation: int) -> None:
    grey = picture(2, (20, 40))
    exif = Image.Exif()
    exif[0x0112] = orientation
    deep = grey.astype(np.uint16) * 257
    for suffix in (".png", ".tif"):
        turned = images.decode(saved(grey, suffix, exif=exif))
        assert turned.shape == ((40, 20) if orientation > 4 else (20, 40))
        assert np.array_equal(images.decode(saved(deep, suffix, exif=exif)), turned), suffix


@pytest.mark.parametrize("suffix", [".avif", ".jp2", ".webp", ".gif", ".tif", ".png", ".jpg", ".psd", ".ico", ".qoi"])
def test_damaged_bytes_are_an_unreadable_image_and_nothing_else(suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    source = suffix if suffix != ".psd" else ".png"  # which Pillow cannot write
    data = saved(picture(1, channels=3), source, **({"exif": exif} if suffix in (".avif", ".jpg", ".png") else {}))
    if suffix == ".psd":
        data = b"8BPS\0\1" + bytes(6) + data[:60]
    draw = np.random.default_rng(17)
    outcomes = set()
    with images.quiet():
        for _ in range(60):
            damaged = bytearray(data)
            for place in draw.integers(0, len(data), draw.integers(1, 6)):
                damaged[place] = draw.integers(256)
            try:
                outcomes.add(images.decode(bytes(damaged[: draw.integers(1, len(data) + 1)]), 10**6).dtype.name)
            except images.UnreadableImageError:
                outcomes.add("unreadable")
    assert "unreadable" in outcomes


def test_any_exception_of_a_plugin_is_an_unreadable_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Failed to decode image\nmore")

    data = saved(picture(1), ".bmp")
    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(images.UnreadableImageError, match=r"^damaged or too large \(RuntimeError: Failed to decode"):
        images.decode(data)
