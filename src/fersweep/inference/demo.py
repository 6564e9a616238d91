"""A local web page to try a network: a picture or the camera in; boxes, probabilities and Grad-CAM out."""

from __future__ import annotations

import os
import socket
import tempfile
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fersweep.data.images import UnreadableImageError
from fersweep.data.samples import CLASSES, CONTEMPT
from fersweep.data.sources.synthetic import Synthetic
from fersweep.errors import UserError, extra
from fersweep.faces import Face, Pixels, pictures
from fersweep.inference import guard
from fersweep.inference.explain import GRADCAM, explain
from fersweep.inference.explain.pictures import overlay
from fersweep.inference.predict import Predictor, draw
from fersweep.inference.predict.outputs import write_picture
from fersweep.inference.trained import Trained
from fersweep.report.statistics import wilson
from fersweep.runs import collect
from fersweep.training.checkpoint import TESTED

with extra("fersweep demo"):
    import gradio as gr
    import uvicorn
    from fastapi import FastAPI
    from gradio.data_classes import ImageData
    from gradio.themes.utils.fonts import Font
    from starlette.middleware.trustedhost import TrustedHostMiddleware

HOST = "127.0.0.1"
PORTS = range(7860, 7960)
SMALLEST, LARGEST = 16, 256  # side of an example in pixels
CAVEAT = "FER labels are posed or crowd-judged expressions, not feelings."

HINT = "Drop a picture, paste one, use the camera, or choose a drawn face."
NO_FACE = "No face was found: try a picture with a larger or frontal face."

CSS = """
.gradio-container { width: 100% !important; max-width: 1200px !important; margin: 0 auto !important; }
.gradio-container .row > .column { min-width: min(320px, 100%) !important; }
#picture, #faces, #heat { padding-top: 40px; }
#picture img, #faces img, #heat img { width: 100%; height: 100%; object-fit: contain; }
#faces .icon-button-wrapper { transform: translateY(-36px); }
#bars, #heat { height: HEIGHTpx !important; overflow-y: auto; }
#says { min-height: 3.2em; }
#which { height: 150px; overflow-y: auto; }
#examples { height: 92px; overflow: auto; }
#examples .gallery { flex-wrap: nowrap; }
#examples .gallery-item { flex: 0 0 auto; }
#examples .gallery-item * { width: 56px; height: 56px; }
#caveat { opacity: 0.75; text-align: center; }
"""
"""Every area has its place and height before a picture is there, and labels stand above pictures, not on them."""

State = tuple[Pixels, list[Face], npt.NDArray[np.float32]]
"""A picture, its faces from left to right, and their calibrated probabilities ``(n, K)``."""


def score(predictor: Predictor) -> str:
    """State the test accuracy in a sentence; the run beside a checkpoint knows it, or an exported file."""
    if len(predictor.trained) > 1:
        return f"The mean of {len(predictor.trained)} networks; Grad-CAM is of the first."
    network, checkpoint = predictor.trained[0], predictor.trained[0].path
    if network.run is not None and set(TESTED) <= set(network.tested):
        n, accuracy = int(network.tested["test/n"]), network.tested["test/accuracy"]
        return _score(network, accuracy, wilson(round(accuracy * n), n), n)
    run = collect.read(checkpoint.parent.parent) if checkpoint.name == "best.ckpt" else None
    if run is None or run.state != "done" or run.accuracy_interval is None:
        return "Test accuracy unknown: there is no finished run beside this checkpoint."
    return _score(network, run.metrics["test/accuracy"], run.accuracy_interval, run.metrics["test/n"])


def _score(network: Trained, accuracy: float | None, interval: Sequence[float], n: float | None) -> str:
    (low, high), crops = interval, network.cfg.recipe.test_crops
    views = f", mean of {crops} crops; this page uses one view" if crops > 1 else ""
    within = f"95 % interval {low:.1%} to {high:.1%}"
    return f"Test accuracy {accuracy:.1%} ({within}, n = {n:,.0f}), seed {network.cfg.seed}{views}."


def names(predictor: Predictor) -> list[str]:
    """Return the names of the classes as the page shows them: emotions begin with a capital letter."""
    shown = [name.capitalize() if name in (*CLASSES, CONTEMPT) else name for name in predictor.class_names]
    return shown if len(set(shown)) == len(shown) else list(predictor.class_names)


def show(predictor: Predictor, file: str | None) -> tuple[Any, ...]:
    """Find and classify the faces of a picture; return what the page shows, and the state."""
    none = gr.Radio([], value=None)
    if file is None:
        return HINT, None, none, None, None, None
    try:
        image = pictures.read(Path(file))
    except UnreadableImageError as error:
        return f"This picture cannot be read: {error}.", None, none, None, None, None
    faces = sorted(predictor.find([image])[0], key=lambda face: face.box[0] + face.box[2])
    if not faces:
        return NO_FACE, image, none, None, None, None
    count, called = len(faces), names(predictor)
    text = f"{count} faces, numbered from left to right." if count > 1 else "One face was found."
    if whole := not predictor.detects_faces or max(image.shape[:2]) <= predictor.whole_up_to:
        text = "The picture is classified whole, as in training."
    state = image, faces, predictor.classify([image], [faces])[0]
    labels = [f"Face {n}: {called[row.argmax()]} {row.max():.0%}" for n, row in enumerate(state[2], start=1)]
    largest = max(range(count), key=lambda number: faces[number].area)
    radio = gr.Radio(list(zip(labels, range(count), strict=True)), value=largest)
    drawn = image if whole else draw.faces(*state, called, range(1, count + 1) if count > 1 else ())
    return text, drawn, radio, *choose(predictor, state, largest), state


def choose(
    predictor: Predictor, state: State | None, number: int | None
) -> tuple[dict[str, float], Pixels] | tuple[None, None]:
    """Return the probabilities of a face, and the face under the (first) network's Grad-CAM for the predicted class."""
    if state is None or number is None or number not in range(len(state[1])):
        return None, None
    image, faces, probabilities = state
    network, target = predictor.trained[0], int(probabilities[number].argmax())
    [face] = predictor.cut(image, [faces[number]])
    saliency = explain(network, network.prepare([face]), target)[0].maps[GRADCAM]
    enlarged = cv2.resize(network.uncropped(saliency), face.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    bars = dict(zip(names(predictor), probabilities[number].tolist(), strict=True))
    return bars, overlay(face, np.asarray(enlarged, np.float32))


def examples(predictor: Predictor, folder: Path) -> list[str]:
    """Draw a face of each emotion, of a size at which ``predictor`` sees it as a face; return the files."""
    size = max(SMALLEST, min(predictor.whole_up_to or LARGEST, LARGEST))
    drawn = Synthetic(image_size=size, channels=3, size=3 * len(CLASSES), seed=1, subjects=len(CLASSES)).load()
    files = []
    for number, name in enumerate(CLASSES):
        image = drawn.images[np.flatnonzero(drawn.labels == number)[number % 3]]
        write_picture(folder / f"{name}.png", image)
        files.append(str(folder / f"{name}.png"))
    return files


def build(predictor: Predictor, uploads: Path) -> gr.Blocks:
    """Build the page for a network, which reads pictures in the folder ``uploads`` only; `serve` shows it."""
    with gr.Blocks(title=f"fersweep: {predictor.title}", analytics_enabled=False) as page:
        _heading(predictor)
        state = gr.State()
        drawings = examples(predictor, uploads / "examples")
        with gr.Row():
            with gr.Column():
                picture, text, drawing = _inputs(drawings)
            with gr.Column():
                drawn = _image("Faces", "faces", height=420, buttons=["download", "fullscreen"])
                number = gr.Radio([], label="Probabilities and Grad-CAM of", elem_id="which")
        with gr.Row():
            bars = gr.Label(label="Probabilities, calibrated", elem_id="bars")
            heat = _image("Grad-CAM: where it looked", "heat", buttons=[])
        gr.Markdown(CAVEAT, elem_id="caveat")
        # One event at a time: Grad-CAM hooks the network's layers.
        events: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "network", "api_visibility": "private"}
        events["show_progress"] = "minimal"
        shown = [text, drawn, number, bars, heat, state]
        picture.change(lambda file: show(predictor, file), picture, shown, **events)
        number.input(lambda *chosen: choose(predictor, *chosen), [state, number], [bars, heat], **events)
        drawing.click(lambda index: _drawing(drawings, index), drawing, picture, **events)

    def path(payload: ImageData | None) -> str | None:
        """Return the uploaded file undecoded; Gradio would answer a broken one with its own error."""
        return None if payload is None else guard.uploaded(payload.path, uploads)

    picture.preprocess = path  # type: ignore[method-assign]
    guard.only_uploads(page, uploads)
    return page


def _heading(predictor: Predictor) -> None:
    gr.Markdown(f"# {predictor.title}\n{score(predictor)}")
    if predictor.caveats:
        gr.Markdown("\n\n".join(f"**{each}**" for each in predictor.caveats), elem_id="warnings")


def _inputs(drawings: Sequence[str]) -> tuple[gr.Image, gr.Markdown, gr.Dataset]:
    """Add the picture, the sentence below it, and the drawn faces to choose from."""
    sources: Any = ["upload", "webcam", "clipboard"]
    options: dict[str, Any] = {"type": "filepath", "sources": sources, "height": 420}
    picture = gr.Image(label="Picture or camera", elem_id="picture", **options)
    text = gr.Markdown(HINT, elem_id="says")
    thumbnails = gr.Image(type="filepath", render=False)
    samples = [[each] for each in drawings]
    about: dict[str, Any] = {"label": "Drawn faces to try", "type": "index", "elem_id": "examples"}
    return picture, text, gr.Dataset(components=[thumbnails], samples=samples, **about)


def _drawing(files: Sequence[str], index: object) -> str | None:
    return files[index] if isinstance(index, int) and 0 <= index < len(files) else None


def _image(label: str, name: str, **options: Any) -> gr.Image:
    return gr.Image(label=label, elem_id=name, interactive=False, **options)


def application(predictor: Predictor, port: int, token: str, uploads: Path) -> FastAPI:
    """Return the page as an ASGI application for one address, its token, and an empty folder for uploads."""
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)  # read when a page is built
    app = FastAPI()
    app.add_middleware(guard.Guard, token=token, port=port)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    fonts = [Font("system-ui"), Font("sans-serif")], [Font("ui-monospace"), Font("monospace")]
    gr.mount_gradio_app(
        app,
        build(predictor, uploads),
        "/",
        theme=gr.themes.Soft(primary_hue="teal", font=fonts[0], font_mono=fonts[1]),
        css=CSS.replace("HEIGHT", str(min(640, 110 + 36 * len(predictor.class_names)))),
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        show_error=False,
        max_file_size="50mb",
    )
    return app


def serve(predictor: Predictor, listener: socket.socket, open_browser: bool = False) -> None:
    """Serve the page on a socket from `listen` until Ctrl-C, then delete uploads and raise KeyboardInterrupt."""
    with tempfile.TemporaryDirectory(prefix="fersweep-demo-") as folder:
        (uploads := Path(folder) / "uploads").mkdir()
        port, token = listener.getsockname()[1], guard.new_token()
        app = application(predictor, port, token, uploads)
        address = f"http://{HOST}:{port}/?token={token}"
        print(f"{predictor.title}: {address}  (stop with Ctrl-C)", flush=True)
        if open_browser:
            webbrowser.open(guard.opener(Path(folder), address))
        config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
        uvicorn.Server(config).run(sockets=[listener])


def listen(port: int | None) -> socket.socket:
    """Return a loopback socket on ``port``, by default the first free one of `PORTS`; raise UserError if taken."""
    if port is not None and not 0 <= port < 2**16:
        raise UserError(f"--port {port} is out of range: ports are 1 to 65535.")
    for candidate in PORTS if port is None else [port]:
        try:
            return socket.create_server((HOST, candidate))
        except OSError as error:
            reason = os.strerror(error.errno or 0)
    ports = f"Ports {PORTS[0]} to {PORTS[-1]} are" if port is None else f"Port {port} is"
    raise UserError(f"{ports} not available on {HOST} ({reason}): choose another with --port.")
