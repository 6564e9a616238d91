"""A stranger on the machine, and a web page, ask the server of `fersweep demo`; so does its owner, for other files."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from checkpoints import write_checkpoint
from conftest import SMALL
from fakes import encoded, write
from skimage.data import astronaut

from fersweep.inference import guard


class Served(NamedTuple):
    """A running page: its address without the token, the token, its folder of uploads, and standard error."""

    address: str
    token: str
    uploads: Path
    said: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The page of an untrained network, which classifies pictures without looking for faces."""
    folder = tmp_path_factory.mktemp("served")
    checkpoint = write_checkpoint(folder / "x.ckpt", *SMALL, "backbone=aer_cnn", "attention=none")
    command = [
        sys.executable,
        "-m",
        "fersweep.cli.main",
        "demo",
        str(checkpoint),
        "--device",
        "cpu",
        "--detector",
        "none",
    ]
    environment = os.environ | {"TMPDIR": str(folder)}
    said = folder / "stderr"
    gradio = importlib.util.find_spec("gradio")
    assert gradio is not None
    stub = Path(str(gradio.origin)).parent / "components" / "radio.pyi"
    assert "def input(" in (stubs := stub.read_text())
    with (
        said.open("w") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment) as process,
    ):
        assert process.stdout is not None
        found = re.search(r"(http://127\.0\.0\.1:\d+)/\?token=(\S+)", process.stdout.readline())
        if found is None:
            process.kill()
            pytest.fail(said.read_text())
        [uploads] = folder.glob("fersweep-demo-*/uploads")
        yield Served(found[1], found[2], uploads, said)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130  # Ctrl-C still ends it
    assert "Traceback" not in said.read_text()
    assert stub.read_text() == stubs  # the guard's classes leave the installed library alone
    assert not uploads.exists()


@pytest.fixture(scope="module")
def owner(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.address, timeout=30, follow_redirects=True) as client:
        assert client.get(f"/?token={served.token}").status_code == 200
        yield client


@pytest.fixture
def private(tmp_path: Path) -> Path:
    path = write(tmp_path / "private.png", encoded(astronaut()))
    path.chmod(0o600)
    return path


def ask(client: httpx.Client, data: list[Any], function: int = 0) -> str:
    """Put a request into the queue, as the page does, and return all events up to its end."""
    body = {"data": data, "fn_index": function, "session_hash": "abc", "event_data": None}
    joined = client.post("/gradio_api/queue/join", json=body)
    if joined.status_code != 200:
        return joined.text
    lines = []
    with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": "abc"}) as events:
        for line in events.iter_lines():
            lines.append(line)
            if "process_completed" in line or "unexpected_error" in line:
                break
    return "\n".join(lines)


def picture(path: str, **more: Any) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


def held(uploads: Path) -> list[Path]:
    """The uploaded files, without the examples that are drawn beside them."""
    return [path for path in uploads.rglob("*") if path.is_file() and path.parent.name != "examples"]


def test_without_the_token_nothing_is_answered(served: Served, private: Path) -> None:
    with httpx.Client(base_url=served.address, timeout=30) as client:
        asked = [
            client.get("/"),
            client.get("/?token=wrong"),
            client.get("/?token=%E2%82%AC"),
            client.get("/config"),
            client.get(f"/gradio_api/file={private}"),
            client.get(f"/config?token={served.token}"),
            client.post("/gradio_api/queue/join", json={"data": [picture(str(private))], "fn_index": 0}),
            client.post("/gradio_api/upload", files={"files": ("a.png", private.read_bytes())}),
            client.get("/", headers={"Cookie": "fersweep-demo-1=x; ;;=\x01"}),
        ]
    assert {answer.status_code for answer in asked} == {403}
    assert not held(served.uploads)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    ],
)
def test_another_page_cannot_send_with_the_cookie(owner: httpx.Client, served: Served, headers: dict[str, str]) -> None:
    answer = owner.post("/gradio_api/upload", files={"files": ("a.png", b"x")}, headers=headers)
    assert (answer.status_code, answer.text) == (403, guard.OTHER_PAGE)
    assert not held(served.uploads)
    assert owner.get("/", headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.parametrize(
    "place", ["private", "/dev/zero", "/dev/stdin", "/etc/passwd", "http://127.0.0.1:9/a.png", "", "\0"]
)
@pytest.mark.parametrize("more", [{}, {"is_stream": True}, {"meta": None}, {"url": "http://127.0.0.1:9/x.svg"}])
def test_files_that_were_not_uploaded_are_not_read(
    owner: httpx.Client, served: Served, private: Path, place: str, more: dict[str, Any]
) -> None:
    path = str(private) if place == "private" else place
    read = private.stat().st_atime_ns
    answer = ask(owner, [picture(path, **more)])
    assert "was found" not in answer
    assert "classified" not in answer
    assert "cannot be read" not in answer  # nor told what it is
    assert not held(served.uploads)
    assert private.stat().st_atime_ns == read


def test_paths_in_other_components_are_not_read(owner: httpx.Client, served: Served, private: Path) -> None:
    svg = write(private.with_suffix(".svg"), b"<svg/>")
    for path in (private, svg):
        for function, data in ((0, [[picture(str(path))]]), (1, [picture(str(path)), picture(str(path))])):
            answer = ask(owner, data, function)
            assert (
                "process_completed" not in answer
                or json.loads(answer[answer.rindex("data: ") + 6 :])["success"] is False
            )
        assert owner.get(f"/gradio_api/file={path}").status_code in (403, 404)
    assert not held(served.uploads)


def test_an_uploaded_picture_is_shown(owner: httpx.Client, served: Served, private: Path) -> None:
    own = {"Origin": served.address, "Sec-Fetch-Site": "same-origin"}
    sent = owner.post("/gradio_api/upload", files={"files": ("a.png", private.read_bytes())}, headers=own)
    [path] = sent.json()
    assert Path(path).is_relative_to(served.uploads)
    assert "classified whole" in ask(owner, [picture(path)])
    link = served.uploads / "link.png"
    link.symlink_to(private)
    assert "classified" not in ask(owner, [picture(str(link))])


def test_the_selector_that_gradio_makes_anew_is_guarded(owner: httpx.Client, served: Served, private: Path) -> None:
    [path] = owner.post("/gradio_api/upload", files={"files": ("a.png", private.read_bytes())}).json()
    assert "classified whole" in ask(owner, [picture(path)])  # replaces the selector of this session
    uploaded = held(served.uploads)
    for place in (str(private), "/etc/passwd", "http://127.0.0.1:9/a.png", "http://example.invalid/a.png"):
        before = served.said.read_text()
        assert '"success":false' in ask(owner, [None, picture(place)], 1)
        assert served.said.read_text().removeprefix(before) == "Refused: This is not an uploaded file.\n"
    assert held(served.uploads) == uploaded


@pytest.mark.parametrize("function", [0, 1, 2, None])
def test_requests_that_make_no_sense_are_one_line(owner: httpx.Client, served: Served, function: Any) -> None:
    before = served.said.read_text()
    for data in ([], [5], ["x"], [[]], [None, None], [{"path": 5}], [{"meta": 1}], None, "x"):
        ask(owner, data, function)
    said = served.said.read_text().removeprefix(before).splitlines()
    assert all(line.startswith("Refused: ") for line in said)
    assert bool(said) == (function in (0, 1, 2))


def test_the_token_reaches_a_browser_in_a_file_of_its_owner(tmp_path: Path) -> None:
    token = guard.new_token()
    address = f"http://127.0.0.1:7860/?token={token}"
    url = guard.opener(tmp_path, address)
    assert token not in url
    page = tmp_path / "open.html"
    assert url == page.as_uri()
    assert address in page.read_text()
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert guard.new_token() != token
