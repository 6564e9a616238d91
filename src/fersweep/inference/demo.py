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
from fersweep.errors import UserError, extra
from fersweep.faces import Face, Pixels, pictures
from fersweep.inference import guard
from fersweep.inference.explain import GRADCAM, explain
from fersweep.inference.explain.pictures import overlay
from fersweep.inference.predict import Predictor, draw
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
CAVEAT = "FER labels are posed or crowd-judged expressions, not feelings."

CSS = """
.gradio-container { max-width: 1200px !important; margin: 0 auto !important; }
#heat img { width: 100%; height: 100%; object-fit: contain; }
#caveat { opacity: 0.75; text-align: center; }
"""

State = tuple[Pixels, list[Face], npt.NDArray[np.float32]]
"""A picture, its faces from left to right, and their calibrated probabilities ``(n, K)``."""


def score(predictor: Predictor) -> str:
    """State the test accuracy in a sentence; the run beside a checkpoint knows it, or an exported file."""
    if len(predictor.trained) > 1:
        return f"The mean of {len(predictor.trained)} networks; Grad-CAM is of the first."
    network, checkpoint = predictor.trained[0], predictor.trained[0].path
    if network.run is not None and set(TESTED) <= set(network.tested):
        n, accuracy = int(network.tested["test/n"]), network.tested["test/accuracy"]
        return _score(accuracy, wilson(round(accuracy * n), n), n, network.cfg.seed)
    run = collect.read(checkpoint.parent.parent) if checkpoint.name == "best.ckpt" else None
    if run is None or run.state != "done" or run.accuracy_interval is None:
        return "Test accuracy unknown: there is no finished run beside this checkpoint."
    return _score(run.metrics["test/accuracy"], run.accuracy_interval, run.metrics["test/n"], run.seed)


def _score(accuracy: float | None, interval: Sequence[float], n: float | None, seed: int | None) -> str:
    low, high = interval
    return f"Test accuracy {accuracy:.1%} (95 % interval {low:.1%} to {high:.1%}, n = {n:,.0f}), seed {seed}."


def show(predictor: Predictor, file: str | None) -> tuple[Any, ...]:
    """Find and classify the faces of a picture; return what the page shows, and the state."""
    nothing = (None, gr.Radio(visible=False), None, None, None)
    if file is None:
        return "", *nothing
    try:
        image = pictures.read(Path(file))
    except UnreadableImageError as error:
        return f"This picture cannot be read: {error}.", *nothing
    faces = sorted(predictor.find([image])[0], key=lambda face: face.box[0] + face.box[2])
    if not faces:
        return "No face was found: try a picture with a larger or frontal face.", *nothing
    count = len(faces)
    text = f"{count} faces, numbered from left to right." if count > 1 else "One face was found."
    if not predictor.detects_faces:
        text = "The picture is classified whole, as in training."
    state = image, faces, predictor.classify([image], [faces])[0]
    largest = max(range(count), key=lambda number: faces[number].area)
    radio = gr.Radio([(f"Face {n + 1}", n) for n in range(count)], value=largest, visible=count > 1)
    return text, draw.faces(*state, predictor.class_names), radio, *choose(predictor, state, largest), state


def choose(predictor: Predictor, state: State, number: int) -> tuple[dict[str, float], Pixels]:
    """Return the probabilities of a face, and the face under the (first) network's Grad-CAM for the predicted class."""
    image, faces, probabilities = state
    network, target = predictor.trained[0], int(probabilities[number].argmax())
    [face] = predictor.cut(image, [faces[number]])
    saliency = explain(network, network.prepare([face]), target)[0].maps[GRADCAM]
    enlarged = cv2.resize(network.uncropped(saliency), face.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    bars = dict(zip(predictor.class_names, probabilities[number].tolist(), strict=True))
    return bars, overlay(face, np.asarray(enlarged, np.float32))


def build(predictor: Predictor, uploads: Path) -> gr.Blocks:
    """Build the page for a network, which reads pictures in the folder ``uploads`` only; `serve` shows it."""
    with gr.Blocks(title=f"fersweep: {predictor.title}", analytics_enabled=False) as page:
        gr.Markdown(f"# {predictor.title}\n{score(predictor)}")
        if predictor.caveats:
            gr.Markdown("\n\n".join(f"**{each}**" for each in predictor.caveats), elem_id="warnings")
        state = gr.State()
        with gr.Row():
            with gr.Column():
                sources: Any = ["upload", "webcam", "clipboard"]
                picture = gr.Image(label="Picture or camera", type="filepath", sources=sources, height=420)
                text = gr.Markdown("Drop a picture, paste one, or use the camera.", elem_id="says")
            with gr.Column():
                drawn = _image("Faces", "faces", height=420, buttons=["download", "fullscreen"])
                number = gr.Radio(label="Probabilities and Grad-CAM of", visible=False)
        with gr.Row():
            bars = gr.Label(label="Probabilities, calibrated", elem_id="bars")
            heat = _image("Where the network looked (Grad-CAM)", "heat", height=330, buttons=[])
        gr.Markdown(CAVEAT, elem_id="caveat")
        # One event at a time: Grad-CAM hooks the network's layers.
        events: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "network", "api_visibility": "private"}
        events["show_progress"] = "minimal"
        shown = [text, drawn, number, bars, heat, state]
        picture.change(lambda file: show(predictor, file), picture, shown, **events)
        number.input(lambda *chosen: choose(predictor, *chosen), [state, number], [bars, heat], **events)

    def path(payload: ImageData | None) -> str | None:
        """Return the uploaded file undecoded; Gradio would answer a broken one with its own error."""
        return None if payload is None else guard.uploaded(payload.path, uploads)

    picture.preprocess = path  # type: ignore[method-assign]
    guard.only_uploads(page, uploads)
    return page


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
        css=CSS,
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
