"""A page to try a network: a picture or the camera in; boxes, probabilities, Grad-CAM out. All on this machine."""

from __future__ import annotations

import os
import socket
import tempfile
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
import numpy as np
import numpy.typing as npt
import uvicorn
from fastapi import FastAPI
from gradio.data_classes import ImageData
from gradio.themes.utils.fonts import Font
from starlette.middleware.trustedhost import TrustedHostMiddleware

from fersweep.data.images import UnreadableImageError
from fersweep.errors import UserError
from fersweep.faces import Face, Pixels, pictures
from fersweep.inference.explain import GRADCAM, explain
from fersweep.inference.explain.pictures import overlay
from fersweep.inference.predict import Predictor, draw
from fersweep.runs import collect

HOST = "127.0.0.1"
PORTS = range(7860, 7960)
CAVEAT = "FER labels are posed or crowd-judged expressions, not feelings."

CSS = """
.gradio-container { max-width: 1200px !important; margin: 0 auto !important; }
#heat img { width: 100%; height: 100%; object-fit: contain; }
#caveat { opacity: 0.75; text-align: center; }
"""


@dataclass(frozen=True)
class Seen:
    """The faces of one picture, from left to right, at least one.

    Attributes:
        image: uint8, ``(H, W)`` or ``(H, W, 3)`` RGB.
        faces: ``n`` of them.
        probabilities: calibrated, float32 ``(n, K)``.
    """

    image: Pixels
    faces: list[Face]
    probabilities: npt.NDArray[np.float32]

    @property
    def largest(self) -> int:
        """Number of the face with the largest box."""
        return max(range(len(self.faces)), key=lambda number: self.faces[number].area)


def look(predictor: Predictor, file: Path) -> Seen | None:
    """Find and classify the faces of a picture; ``None`` where there are none.

    Raises:
        UnreadableImageError: it is not an image, or not all of one.
    """
    image = pictures.read(file)
    faces = sorted(predictor.find([image])[0], key=lambda face: face.box[0] + face.box[2])
    return Seen(image, faces, predictor.classify([image], [faces])[0]) if faces else None


def looked_at(predictor: Predictor, seen: Seen, number: int) -> Pixels:
    """Return one face under the (first) network's Grad-CAM for the class that is named: uint8 ``(H, W, 3)`` RGB."""
    network, target = predictor.trained[0], int(seen.probabilities[number].argmax())
    [face] = predictor.cut(seen.image, [seen.faces[number]])
    saliency = explain(network, network.prepare([face]), target)[0].maps[GRADCAM]
    enlarged = cv2.resize(saliency, face.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return overlay(face, np.asarray(enlarged, np.float32))


def score(predictor: Predictor) -> str:
    """What the network is worth, in a sentence; of a checkpoint whose run is not beside it nothing is known."""
    if len(predictor.trained) > 1:
        return f"The mean of {len(predictor.trained)} networks; Grad-CAM is of the first."
    checkpoint = predictor.trained[0].path
    run = collect.read(checkpoint.parent.parent) if checkpoint.name == "best.ckpt" else None
    if run is None or run.state != "done" or run.accuracy_interval is None:
        return "Test accuracy unknown: there is no finished run beside this checkpoint."
    low, high = run.accuracy_interval
    accuracy, n = run.metrics["test/accuracy"], run.metrics["test/n"]
    return f"Test accuracy {accuracy:.1%} (95 % interval {low:.1%} to {high:.1%}, n = {n:,.0f}), seed {run.seed}."


def build(predictor: Predictor) -> gr.Blocks:
    """Return the page for a network; `serve` shows it."""

    def show(file: str | None) -> tuple[Any, ...]:
        nothing = (None, gr.Radio(visible=False), None, None, None)
        if file is None:
            return "", *nothing
        try:
            seen = look(predictor, Path(file))
        except UnreadableImageError as error:
            return f"This picture cannot be read: {error}.", *nothing
        if seen is None:
            return "No face was found: try a picture in which one is larger, or seen from the front.", *nothing
        count, chosen = len(seen.faces), seen.largest
        says = f"{count} faces, numbered from left to right." if count > 1 else "One face was found."
        if predictor.takes_pictures_whole:
            says = "The picture is taken whole, as the network's training pictures were."
        radio = gr.Radio([(f"Face {n + 1}", n) for n in range(count)], value=chosen, visible=count > 1)
        return (
            says,
            draw.faces(seen.image, seen.faces, seen.probabilities, predictor.class_names),
            radio,
            *choose(seen, chosen),
            seen,
        )

    def choose(seen: Seen, number: int) -> tuple[dict[str, float], Pixels]:
        bars = dict(zip(predictor.class_names, seen.probabilities[number].tolist(), strict=True))
        return bars, looked_at(predictor, seen, number)

    with gr.Blocks(title=f"fersweep: {predictor.title}", analytics_enabled=False) as page:
        gr.Markdown(f"# {predictor.title}\n{score(predictor)}")
        if predictor.caveats:
            gr.Markdown("\n\n".join(f"**{each}**" for each in predictor.caveats), elem_id="warnings")
        seen = gr.State()
        with gr.Row():
            with gr.Column():
                picture = gr.Image(
                    label="Picture or camera",
                    type="filepath",
                    sources=["upload", "webcam", "clipboard"],
                    height=420,
                )
                says = gr.Markdown("Drop a picture, paste one, or use the camera.", elem_id="says")
            with gr.Column():
                found = gr.Image(
                    label="Faces", interactive=False, height=420, buttons=["download", "fullscreen"], elem_id="faces"
                )
                number = gr.Radio(label="Probabilities and Grad-CAM of", visible=False)
        with gr.Row():
            bars = gr.Label(label="Probabilities, calibrated", elem_id="bars")
            heat = gr.Image(
                label="Where the network looked (Grad-CAM)", interactive=False, height=330, buttons=[], elem_id="heat"
            )
        gr.Markdown(CAVEAT, elem_id="caveat")
        # One at a time: Grad-CAM listens to the network's layers while it computes.
        alone: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "network", "api_visibility": "private"}
        picture.change(show, picture, [says, found, number, bars, heat, seen], show_progress="minimal", **alone)
        number.input(choose, [seen, number], [bars, heat], show_progress="minimal", **alone)
    picture.preprocess = _path  # type: ignore[method-assign]
    return page


def serve(predictor: Predictor, listener: socket.socket, open_browser: bool = False) -> None:
    """Show the page until Ctrl-C; uploaded pictures are deleted then.

    Args:
        predictor: the network and how faces are found.
        listener: of this machine's loopback address, as `listen` makes it.
        open_browser: open the page in the default browser.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    with tempfile.TemporaryDirectory(prefix="fersweep-demo-") as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads  # read when a page is built
        app = FastAPI()
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
        gr.mount_gradio_app(
            app,
            build(predictor),
            "/",
            theme=gr.themes.Soft(
                primary_hue="teal",
                font=[Font("system-ui"), Font("sans-serif")],
                font_mono=[Font("ui-monospace"), Font("monospace")],
            ),
            css=CSS,
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            show_error=False,
            max_file_size="50mb",
        )
        address = f"http://{HOST}:{listener.getsockname()[1]}"
        print(f"{predictor.title}: {address}  (Ctrl-C ends it)", flush=True)
        if open_browser:
            webbrowser.open(address)
        config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
        uvicorn.Server(config).run(sockets=[listener])


def listen(port: int | None) -> socket.socket:
    """Return a socket that listens on a port of the loopback address, by default the first free one of `PORTS`.

    Raises:
        UserError: the port is taken or there is no such one; none is free.
    """
    for candidate in PORTS if port is None else [port]:
        listener = socket.socket()
        try:
            if os.name != "nt":  # where it would share a port that another program has
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((HOST, candidate))
            listener.listen()
            return listener
        except (OSError, OverflowError) as error:
            listener.close()
            reason = error.strerror if isinstance(error, OSError) else "ports are 1 to 65535"
    which = f"{PORTS[0]} to {PORTS[-1]} are" if port is None else f"{port} is"
    raise UserError(f"Port {which} not to be had on {HOST} ({reason}): choose another with --port.")


def _path(payload: ImageData | None) -> str | None:
    """The uploaded file as it is: Gradio would decode it, and answer a broken one with its own error."""
    return None if payload is None else payload.path
