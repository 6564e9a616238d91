"""``dataset.faces``: images cropped to faces before all other steps; caching, identity, refusals."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import fakes
import numpy as np
import pytest
from conftest import plain, quickly_composed
from PIL import Image
from skimage.data import astronaut

from fersweep import build
from fersweep.cli.main import main
from fersweep.config.checks import validate
from fersweep.data import cache, images
from fersweep.data.sources.ckplus import CkPlus
from fersweep.data.sources.jaffe import Jaffe
from fersweep.errors import UserError
from fersweep.faces import Face, Pixels
from fersweep.faces.crop import Crop
from fersweep.faces.dataset import FaceCropped
from fersweep.faces.detectors import make
from fersweep.runs.identity import identity, run_hash


class Corner:
    """Finds a face in the upper left quarter of images higher than ``least``, and one of lower confidence elsewhere."""

    name = "corner"

    def __init__(self, least: int = 0) -> None:
        self.least = least
        self.seen = 0

    def fingerprint(self) -> str:
        return f"corner {self.least}"

    def detect(self, images: Sequence[Pixels]) -> list[list[Face]]:
        self.seen += len(images)
        return [
            [Face((9, 9, 30, 30), 0.6), Face((0, 0, image.shape[1] // 2, image.shape[0] // 2), 0.9)]
            if image.shape[0] > self.least
            else []
            for image in images
        ]


def test_the_most_confident_face_at_the_images_own_size_is_decoded(tmp_path: Path) -> None:
    source = Jaffe(fakes.jaffe(tmp_path / "jaffe"), 32)
    cropped, whole = FaceCropped(source, Corner()).load(), source.load()
    records = source.records()
    for index in (0, 17, len(records) - 1):
        expected = images.resize(records.read(index)[:32, :32], 32)
        assert np.array_equal(cropped.images[index], expected)
    for name in ("labels", "ids", "subjects"):
        assert np.array_equal(getattr(cropped, name), getattr(whole, name))
    assert cropped.class_names == whole.class_names
    nothing = FaceCropped(source, make("none")).load()
    assert np.array_equal(nothing.images, whole.images)


STUDY = Crop(clip=True, size=80, nearest=True, jpeg_image=100, jpeg_face=95)


class Fixed:
    """Finds the same face in every image, its box beyond the image's right edge."""

    name = "fixed"

    def fingerprint(self) -> str:
        return self.name

    def detect(self, images: Sequence[Pixels]) -> list[list[Face]]:
        return [[Face((11.0, 5.0, image.shape[1] + 9.0, 57.0), 0.9)] for image in images]


def test_jaffe_goes_through_the_files_of_the_studys_program(tmp_path: Path) -> None:
    """To the byte: its conversion of tiffs, its crop, and what Keras' loader makes of that, each a file on the disk.

    The program asks OpenCV for a JPEG quality of 200, which that takes for 100, writes the crop under the picture's
    name, so as JPEG again, at OpenCV's default; Keras opens it by Pillow, as grey, and resizes by nearest neighbour.
    """
    source = Jaffe(fakes.jaffe(tmp_path / "jaffe"), 48)
    samples = FaceCropped(source, Fixed(), STUDY).load()
    for index in (0, 20):
        tiff = next((tmp_path / "jaffe").glob(f"{samples.ids[index]}*"))
        converted, cropped = str(tmp_path / "converted.jpg"), str(tmp_path / "cropped.jpg")
        cv2.imwrite(converted, cv2.imread(str(tiff)), [int(cv2.IMWRITE_JPEG_QUALITY), 200])
        face = cv2.imread(converted)[5:57, 11:64]
        cv2.imwrite(cropped, cv2.resize(face, (80, 80), interpolation=cv2.INTER_AREA))
        with Image.open(cropped) as opened:
            expected = np.asarray(opened.convert("L").resize((48, 48), Image.Resampling.NEAREST))
        assert np.array_equal(samples.images[index], expected)
    other = cv2.resize(cv2.imread(cropped, cv2.IMREAD_GRAYSCALE), (48, 48), interpolation=cv2.INTER_NEAREST)
    assert not np.array_equal(other, expected)  # OpenCV's nearest neighbours are others


def test_colour_frames_of_ckplus_go_through_the_studys_crop(tmp_path: Path) -> None:
    """Its files are PNG, which lose nothing; grey is computed by Pillow there and OpenCV here, within one step."""
    source = CkPlus(fakes.ckplus(tmp_path / "ck"), 48)
    records, crop = source.records(), Crop(clip=True, size=80, nearest=True)
    samples = FaceCropped(source, Fixed(), crop).load()
    (index,) = [each for each in range(len(records)) if records.read(each).ndim == 3][:1]
    frame = records.read(index)
    face = cv2.resize(frame[5:57, 11:], (80, 80), interpolation=cv2.INTER_AREA)
    expected = np.asarray(Image.fromarray(face).convert("L").resize((48, 48), Image.Resampling.NEAREST))
    assert np.abs(samples.images[index].astype(int) - expected).max() <= 1
    assert len({FaceCropped(source, Fixed(), each).fingerprint() for each in (crop, STUDY, Crop())}) == 3


def test_the_same_resizing_without_a_detector_is_of_whole_images(tmp_path: Path) -> None:
    """``dataset.faces=none`` with the study's resizing: its protocol on uncropped frames."""
    root, cache_folder = fakes.jaffe(tmp_path / "jaffe"), f"cache={tmp_path / 'cache'}"
    options = ("dataset=jaffe", f"dataset.root={root}", "split=subjects", cache_folder)
    resized = (*options, "dataset.face_crop.size=80", "dataset.face_crop.nearest=true")
    validate(quickly_composed(*resized))
    samples, plain_ones = build.samples(quickly_composed(*resized)), build.samples(quickly_composed(*options))
    whole = build.source(quickly_composed(*options)).records().read(0)
    area = cv2.resize(whole, (80, 80), interpolation=cv2.INTER_AREA)
    assert np.array_equal(samples.images[0], Image.fromarray(area).resize((48, 48), Image.Resampling.NEAREST))
    assert not np.array_equal(samples.images[0], plain_ones.images[0])


def test_images_without_a_face_are_kept_uncropped_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = CkPlus(fakes.ckplus(tmp_path / "ck"), 32, channels=3)  # frames 48 or 60 pixels high
    with caplog.at_level(logging.WARNING):
        cropped = FaceCropped(source, Corner(least=50)).load()
    whole, records = source.load(), source.records()
    small = [index for index in range(len(records)) if records.read(index).shape[0] == 48]
    assert 0 < len(small) < len(records)
    equal = [index for index in range(len(records)) if np.array_equal(cropped.images[index], whole.images[index])]
    assert equal == small
    assert f"corner finds no face in {len(small)} of the {len(records)} images of ckplus" in caplog.text


def test_a_face_in_no_image_at_all_is_an_error(tmp_path: Path) -> None:
    source = Jaffe(fakes.jaffe(tmp_path / "jaffe"), 32)
    with pytest.raises(UserError, match=r"corner finds no face in any of the .* images of jaffe: dataset.faces=none"):
        FaceCropped(source, Corner(least=10_000)).load()


def test_crops_are_cached_once_per_setting(tmp_path: Path) -> None:
    source, detector = Jaffe(fakes.jaffe(tmp_path / "jaffe"), 32), Corner()
    first = cache.load(FaceCropped(source, detector), tmp_path / "cache")
    seen = detector.seen
    again = cache.load(FaceCropped(source, detector), tmp_path / "cache")
    assert (seen, detector.seen) == (len(first), seen)
    assert np.array_equal(first.images, again.images)
    variants = [
        FaceCropped(source, detector),
        FaceCropped(source, Corner(7)),
        FaceCropped(source, detector, Crop(margin=0.5)),
        FaceCropped(source, detector, Crop(align=True)),
    ]
    assert len({each.fingerprint() for each in (source, *variants)}) == 5


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    root = fakes.jaffe(tmp_path / "jaffe")
    fakes.write(root / "KL.AN1.99.tiff", b"II*\0")
    with pytest.raises(UserError, match=r"cannot read the image KL.AN1.99.tiff: .*fersweep data jaffe"):
        FaceCropped(Jaffe(root, 32), Corner()).load()
    broken = fakes.fer2013_csv(tmp_path / "fer2013.csv", extra=[fakes.csv_row(pixels=7)])
    cfg = quickly_composed("dataset=fer2013", f"dataset.root={broken}", "dataset.faces=mtcnn")
    with pytest.raises(UserError, match="row 29"):
        FaceCropped(build.source(cfg), Corner()).load()


def test_a_run_sees_the_faces_that_mtcnn_finds(tmp_path: Path) -> None:
    """The astronaut's face is cropped out of part of her picture; preprocessing follows."""
    picture = astronaut()[20:276, 96:352]
    for index, name in enumerate(("happy", "sad")):
        fakes.write(tmp_path / "data" / name / "face.png", fakes.encoded(np.roll(picture, 3 * index, axis=1)))
    fakes.write(tmp_path / "data" / "sad" / "none.png", fakes.encoded(np.zeros((256, 256, 3), np.uint8)))
    options = ("dataset=folder", f"dataset.root={tmp_path / 'data'}", f"cache={tmp_path / 'cache'}", "trainer=cpu")
    options = (*options, "split=random", "dataset.faces=mtcnn")
    cfg = quickly_composed(*options)
    validate(cfg)
    samples = build.samples(cfg)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    expected = cv2.resize(grey[62 - 20 : 172 - 20, 181 - 96 : 268 - 96], (48, 48), interpolation=cv2.INTER_AREA)
    face = samples.images[list(samples.ids).index("happy/face.png")]
    assert np.corrcoef(face.ravel(), expected.ravel())[0, 1] > 0.9
    assert not samples.images[list(samples.ids).index("sad/none.png")].any()
    stretched = build.samples(quickly_composed(*options, "dataset.preprocessing.min_max=true"))
    assert stretched.images[0].max() == 255
    assert np.abs(stretched.images[0].astype(int) - face).max() < 60
    assert len(list((tmp_path / "cache").glob("folder-*"))) == 2


JAFFE = ("dataset=jaffe", "dataset.root=x", "split=subjects")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("dataset.faces=mtcnn",), "dataset.faces=mtcnn has no effect with dataset=synthetic"),
        (
            (*JAFFE, "dataset.faces=mtcn"),
            r"dataset.faces=mtcn is not known \(did you mean mtcnn\?\); choices: none, mtc",
        ),
        ((*JAFFE, "dataset.face_crop.margin=0.1"), "dataset.face_crop.margin has no effect with dataset.faces=none"),
        ((*JAFFE, "dataset.face_crop.align=true"), "dataset.face_crop.align has no effect"),
        (
            (*JAFFE, "dataset.faces=libfacedetection", "dataset.face_crop.align=true"),
            "align has no effect with dataset.faces=libfacedetection, which finds no eyes",
        ),
        ((*JAFFE, "dataset.face_crop.clip=true"), "or set dataset.face_crop.clip=false."),
        (("dataset.face_crop.size=80",), "dataset.face_crop has no effect with dataset=synthetic"),
        ((*JAFFE, "dataset.face_crop.size=4"), "size=4 is out of range: null .* 16 to 1024"),
        ((*JAFFE, "dataset.face_crop.jpeg_face=200"), "jpeg_face=200 is out of range"),
        (
            (*JAFFE, "dataset.faces=mtcnn", "dataset.face_crop.weights=x"),
            "weights has no effect with dataset.faces=mtcnn",
        ),
        ((*JAFFE, "dataset.faces=yolo5face"), "needs dataset.face_crop.weights=FILE.onnx"),
        ((*JAFFE, "dataset.faces=yolo5face", "dataset.face_crop.weights=missing"), "weights=missing does not exist"),
        ((*JAFFE, "dataset.faces=mtcnn", "dataset.face_crop.margin=-1"), "margin=-1.0 is out of range"),
        ((*JAFFE, "dataset.faces=mtcnn", "dataset.face_crop.confidence=1"), "confidence=1.0 is out of range"),
    ],
)
def test_invalid_settings_are_refused(overrides: Sequence[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        validate(quickly_composed(*overrides))


def test_the_audit_looks_at_the_images_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = fakes.jaffe(tmp_path / "jaffe")
    assert main(["data", "jaffe", "--root", str(root), "dataset.faces=mtcnn"]) == 2
    assert "audits the original images: omit dataset.faces" in capsys.readouterr().err


def test_earlier_runs_keep_their_hashes_and_faces_make_other_runs(tmp_path: Path) -> None:
    before = plain(quickly_composed(*JAFFE))
    assert {"faces", "face_crop"}.isdisjoint(identity(before)["dataset"])
    without = {**before, "dataset": {k: v for k, v in before["dataset"].items() if k not in ("faces", "face_crop")}}
    assert run_hash(before) == run_hash(without)
    weights = fakes.write(tmp_path / "one" / "face.onnx", "weights")
    same = fakes.write(tmp_path / "two" / "same.onnx", "weights")
    yolo = ("dataset.faces=yolo5face", "dataset.face_crop.weights=")
    hashes = [
        run_hash(plain(quickly_composed(*JAFFE, *each)))
        for each in (
            (),
            ("dataset.faces=mtcnn",),
            ("dataset.faces=mtcnn", "dataset.face_crop.margin=0.2"),
            ("dataset.faces=mtcnn", "dataset.face_crop.size=80"),
            ("dataset.faces=mtcnn", "dataset.face_crop.size=80", "dataset.face_crop.nearest=true"),
            ("dataset.faces=mtcnn", "dataset.face_crop.clip=true"),
            ("dataset.faces=mtcnn", "dataset.face_crop.jpeg_image=95"),
            ("dataset.faces=mtcnn", "dataset.face_crop.jpeg_face=95"),
            (yolo[0], f"{yolo[1]}{weights}"),
            (yolo[0], f"{yolo[1]}{same}"),
        )
    ]
    assert len(set(hashes)) == 9
    assert hashes[-2] == hashes[-1]
