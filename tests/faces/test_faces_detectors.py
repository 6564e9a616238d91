"""Detectors: MTCNN on the astronaut's face, alone and in batches; both formats of YOLO5Face; refusals."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from skimage.data import astronaut

from fersweep.errors import UserError
from fersweep.faces import Face, mtcnn
from fersweep.faces.detectors import make
from fersweep.faces.mtcnn import Mtcnn
from fersweep.faces.yolo5face import Yolo5Face

BLANK = np.full((512, 512, 3), 90, np.uint8)


@pytest.fixture(scope="module")
def detector() -> Mtcnn:
    return Mtcnn(device="cpu")


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - shared)


def is_the_astronaut(face: Face, scale: float = 1.0) -> bool:
    return overlap(face.box, tuple(scale * side for side in (181, 62, 268, 172))) > 0.8


def test_mtcnn_finds_the_astronaut(detector: Mtcnn) -> None:
    ((face,),) = detector.detect([astronaut()])
    assert is_the_astronaut(face)
    assert 0.99 < face.confidence <= 1
    assert all(type(side) is float for side in (*face.box, face.confidence))
    assert face.landmarks is not None
    assert face.landmarks.dtype == np.float64
    left_eye, right_eye, nose, mouth_left, mouth_right = face.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_eye[1] < nose[1] < mouth_left[1]
    assert mouth_left[0] < mouth_right[0]


def test_images_with_and_without_a_face_grey_tiny_and_odd_may_be_mixed(detector: Mtcnn) -> None:
    grey = cv2.cvtColor(astronaut(), cv2.COLOR_RGB2GRAY)
    noise = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    small = [np.zeros(shape, np.uint8) for shape in ((1, 1), (3, 5, 3), (1, 300), (19, 19, 3))]
    found = detector.detect([BLANK, astronaut(), *small, grey, noise, BLANK])
    assert [len(faces) for faces in found] == [0, 1, 0, 0, 0, 0, 1, 0, 0]
    assert is_the_astronaut(found[1][0])
    assert is_the_astronaut(found[6][0])
    assert detector.detect([BLANK]) == [[]]
    assert detector.detect([BLANK, BLANK]) == [[], []]
    assert detector.detect([]) == []


def test_a_batch_finds_what_single_images_do(detector: Mtcnn, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [cv2.resize(each, (256, 256)) for each in (astronaut(), BLANK, np.fliplr(astronaut()))]
    alone = [detector.detect([each])[0] for each in pictures]
    together = detector.detect(pictures)
    monkeypatch.setattr(mtcnn, "BATCH_PIXELS", 2 * 256 * 256)
    in_two = detector.detect(pictures)
    for other in (together, in_two):
        assert [len(faces) for faces in other] == [1, 0, 1]
        for one, same in zip(alone, other, strict=True):
            assert np.allclose([face.box for face in one], [face.box for face in same], atol=0.01)


def test_small_and_large_images_are_scaled_and_boxes_scaled_back(detector: Mtcnn) -> None:
    large = cv2.resize(astronaut(), (2560, 2560))
    wide = np.concatenate([BLANK, astronaut(), BLANK, BLANK], axis=1)  # 2048 pixels
    face_alone = astronaut()[40:200, 150:300]
    tiny = cv2.resize(face_alone, (37, 39), interpolation=cv2.INTER_AREA)
    found = detector.detect([large, wide, tiny])
    assert is_the_astronaut(found[0][0], scale=5)
    left, top, right, bottom = found[1][0].box
    assert is_the_astronaut(Face((left - 512, top, right - 512, bottom), 1.0))
    assert all(0 < side < 40 for face in found[2] for side in face.box)


def test_candidates_wholly_outside_the_image_do_no_harm(detector: Mtcnn, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library skips them when it crops but not when it counts, and then fails or mixes up scores."""
    boxes = torch.tensor([[-50.0, -50, -10, -10, 1], [700, 20, 740, 60, 1], [10, 10, 30, 30, 1]])
    y, end_y, x, end_x = mtcnn._pad(boxes, 640, 480)
    assert (end_y >= y).all()
    assert (end_x >= x).all()
    assert min(y.min(), x.min()) == 1
    assert (end_y.max() <= 480, end_x.max() <= 640) == (True, True)
    regress = mtcnn.library.rerec

    def astray(boxes: torch.Tensor) -> torch.Tensor:
        boxes = regress(boxes)
        boxes[0, :4] -= 1000
        return boxes

    moved = {**mtcnn._detect_face.__globals__, "rerec": astray}
    monkeypatch.setattr(mtcnn, "_detect_face", type(astray)(mtcnn._detect_face.__code__, moved))
    ((face,),) = detector.detect([astronaut()])
    assert is_the_astronaut(face)


def test_mtcnn_leaves_the_random_generator_as_it_is_and_has_a_fingerprint() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    prints = {Mtcnn(confidence, "cpu").fingerprint() for confidence in (None, 0.9, 0.5)}
    assert torch.equal(torch.get_rng_state(), before)
    assert len(prints) == 2


def test_without_a_detector_the_image_is_the_face() -> None:
    (face,), (other,) = make("none").detect([np.zeros((3, 7), np.uint8), BLANK])
    assert (face.box, face.confidence, face.landmarks) == ((0, 0, 7, 3), 1, None)
    assert other.box == (0, 0, 512, 512)


def candidate(
    centre: tuple[float, float], size: tuple[float, float], objectness: float, score: float = 1.0
) -> np.ndarray:
    """Candidate of a decoded export, with landmarks around the centre."""
    points = [centre[0] - 9, centre[1] - 8, centre[0] + 9, centre[1] - 8, *centre, *[centre[0] - 7, centre[1] + 9] * 2]
    return np.array([*centre, *size, objectness, *points, score], np.float32)


def constant(path: Path, outputs: list[np.ndarray], size: object = 640, kind: int = TensorProto.FLOAT) -> Path:
    """Write an ONNX file with constant ``outputs`` for any image ``(1, 3, size, size)``."""
    names = [f"output{number}" for number in range(len(outputs))]
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(each))
        for name, each in zip(names, outputs, strict=True)
    ]
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("input", kind, [1, 3, size, size])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, each.shape)
            for name, each in zip(names, outputs, strict=True)
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


def decoded(path: Path) -> Path:
    """Two faces, one of them found twice, and three candidates below the threshold."""
    rows = [
        candidate((320, 320), (100, 120), 0.9, 0.8),
        candidate((323, 322), (100, 120), 0.7, 0.9),
        candidate((120, 200), (40, 40), 0.95),
        candidate((500, 320), (50, 50), 0.49),
        candidate((500, 420), (50, 50), 0.7, 0.7),
        candidate((500, 220), (50, 50), np.nan),
    ]
    return constant(path, [np.stack(rows)[None]])


def test_yolo5face_decoded(tmp_path: Path) -> None:
    """The image is 1280×640: half its size in the input, with 160 rows of grey above."""
    detector = make("yolo5face", weights=decoded(tmp_path / "face.onnx"), device="cpu")
    for image in (np.zeros((640, 1280, 3), np.uint8), np.zeros((640, 1280), np.uint8)):
        small, large = detector.detect([image])[0]
        assert large.box == pytest.approx((540, 200, 740, 440))
        assert small.box == pytest.approx((200, 40, 280, 120))
        assert (small.confidence, large.confidence) == pytest.approx((0.95, 0.72))
        assert large.landmarks is not None
        assert large.landmarks[:3] == pytest.approx(np.array([[622, 304], [658, 304], [640, 320]]))
    strict = make("yolo5face", weights=tmp_path / "face.onnx", confidence=0.8, device="cpu")
    assert [face.confidence for face in strict.detect([image])[0]] == pytest.approx([0.95])
    lenient = make("yolo5face", weights=tmp_path / "face.onnx", confidence=0.4, device="cpu")
    assert len(lenient.detect([image])[0]) == 4
    assert len({each.fingerprint() for each in (detector, strict, lenient)}) == 3


def test_yolo5face_raw(tmp_path: Path) -> None:
    """A cell of stride 16 is active: row 4, column 7, second anchor (43, 55)."""
    maps = [np.full((1, 3, 256 // s, 256 // s, 16), -20, np.float32) for s in (32, 8, 16)]  # in any order
    cell = np.zeros(16, np.float32)
    cell[4], cell[15], cell[5], cell[6] = 3, 4, 0.5, -1
    maps[2][0, 1, 4, 7] = cell
    detector = Yolo5Face(constant(tmp_path / "raw.onnx", maps, 256), device="cpu")
    ((face,),) = detector.detect([np.zeros((128, 128), np.uint8)])
    sigmoid = 1 / (1 + np.exp(-np.array([3, 4])))
    x, y = (0.5 + 7) * 16 / 2, (0.5 + 4) * 16 / 2  # the image is doubled in the input
    assert face.box == pytest.approx((x - 43 / 4, y - 55 / 4, x + 43 / 4, y + 55 / 4))
    assert face.confidence == pytest.approx(sigmoid.prod())
    assert face.landmarks is not None
    assert face.landmarks[0] == pytest.approx(((0.5 * 43 + 7 * 16) / 2, (-55 + 4 * 16) / 2))


def test_yolo5face_sees_the_image_in_its_letterbox(tmp_path: Path) -> None:
    """A network that outputs the colours of three places: the image, and the grey above."""
    places = [[0, 0, 32, 32], [0, 0, 1, 32], [0, 1, 32, 32], [0, 2, 32, 32]]
    picked = helper.make_node("GatherND", ["input", "places"], ["values"])
    padded = helper.make_node("Concat", ["values", "rest"], ["row"], axis=0)
    shaped = helper.make_node("Reshape", ["row", "shape"], ["output"])
    graph = helper.make_graph(
        [picked, padded, shaped],
        "colours",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 64, 64])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, 16])],
        [
            numpy_helper.from_array(np.array(places), "places"),
            numpy_helper.from_array(np.ones(12, np.float32), "rest"),
            numpy_helper.from_array(np.array([1, 1, 16]), "shape"),
        ],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "colours.onnx"
    )
    detector = Yolo5Face(tmp_path / "colours.onnx", device="cpu")
    image = np.zeros((20, 40, 3), np.uint8)
    image[:] = (255, 51, 0)
    ((face,),) = detector.detect([image])
    scale = 64 / 40
    centre, size = ((1 / scale, (114 / 255 - 16) / scale), (0.2 / scale, 0.0))
    assert face.box == pytest.approx((centre[0] - size[0] / 2, centre[1], centre[0] + size[0] / 2, centre[1]))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "mtcn",
            {},
            r"Unknown face detector 'mtcn' \(did you mean mtcnn\?\); choices: none, mtcnn, libfacedetection, yolo5face",
        ),
        ("yolo5face", {}, "needs the ONNX file of its weights"),
        ("mtcnn", {"weights": Path("face.onnx")}, "face.onnx have no effect with the detector mtcnn"),
        ("none", {"weights": Path("face.onnx")}, "have no effect with the detector none"),
        ("none", {"confidence": 0.5}, "no effect with the detector none"),
        ("mtcnn", {"confidence": 1.0}, "1.0 is out of range"),
        ("mtcnn", {"confidence": float("nan")}, "nan is out of range"),
        ("yolo5face", {"weights": Path("missing.onnx")}, "Cannot read the weights missing.onnx: No such file"),
        ("yolo5face", {"weights": Path("/")}, "Cannot read the weights /: Is a directory"),
    ],
)
def test_a_detector_that_cannot_be_is_refused(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(name, **options)  # type: ignore[arg-type]


def test_a_missing_gpu_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    for name, weights in (("mtcnn", None), ("yolo5face", decoded(tmp_path / "face.onnx"))):
        with pytest.raises(UserError, match="--device gpu is not possible"):
            make(name, weights=weights, device="gpu")


def test_files_that_are_not_yolo5face_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.onnx"
    text.write_text("not a network")
    for path, message in (
        (text, "text.onnx is not an ONNX file that onnxruntime can run"),
        (constant(tmp_path / "odd.onnx", [np.zeros((1, 9, 16), np.float32)], 100), "its inputs are .*100"),
        (constant(tmp_path / "u8.onnx", [np.zeros((1, 9, 16), np.float32)], 64, TensorProto.UINT8), "tensor.uint8"),
        (constant(tmp_path / "seven.onnx", [np.zeros((1, 7), np.float32)], "side"), r"outputs are \(1, 7\), not"),
        (constant(tmp_path / "yolo.onnx", [np.zeros((1, 9, 85), np.float32)], 64), r"\(1, 9, 85\)"),
    ):
        with pytest.raises(UserError, match=message):
            make("yolo5face", weights=path, device="cpu")
