"""The page of `fersweep demo` in a browser; it sends nothing to other machines."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from checkpoints import write_checkpoint
from conftest import SHALLOW, SMALL
from fakes import encoded, write
from playwright.sync_api import Page, expect, sync_playwright

from fersweep.cli.main import main
from fersweep.data import images
from fersweep.data.samples import CLASSES

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
CAVEAT = "FER labels are posed or crowd-judged expressions, not feelings."


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of an untrained ResNet."""
    return write_checkpoint(tmp_path_factory.mktemp("demo") / "untrained.ckpt", *SMALL, SHALLOW)


@pytest.fixture(scope="module")
def served(untrained: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process of ``fersweep demo`` and the address it prints."""
    if CHROMIUM is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on the PATH")
    command = [sys.executable, "-m", "fersweep.cli.main", "demo", str(untrained), "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", process.stdout.readline())
        if found is None:
            process.kill()
            pytest.fail(process.communicate()[1])
        yield process, found[0]
        process.kill()


WATCH = """
window.moved = 0;
new PerformanceObserver(list => list.getEntries().forEach(each => window.moved += each.value))
    .observe({type: "layout-shift", buffered: true});
"""
"""Script that sums how far the page's contents move; 1 is everything by the window's height."""


AREAS = ("#picture", "#faces", "#which", "#bars", "#heat", "#examples", "#caveat")


def moved(page: Page) -> float:
    """Return the layout shift since the last call."""
    return float(page.evaluate("() => { const moved = window.moved; window.moved = 0; return moved; }"))


def stand_apart(page: Page, area: str) -> bool:
    """Return whether the label of an area is above its picture."""
    label, image = page.locator(f"{area} label").first.bounding_box(), page.locator(f"{area} img").bounding_box()
    return bool(label and image and label["y"] + label["height"] <= image["y"])


def upload(page: Page, path: Path) -> None:
    if (clear := page.get_by_role("button", name="Clear")).count():
        clear.first.click()
    page.locator("input[type=file]").first.set_input_files(path)


def test_it_listens_on_loopback_only(served: tuple[subprocess.Popen[str], str]) -> None:
    _, address = served
    port = int(address.split("/")[2].rpartition(":")[2])
    listening = [
        line.split()[1:4] for file in ("tcp", "tcp6") for line in Path(f"/proc/net/{file}").read_text().splitlines()
    ]
    assert [place for place, _, state in listening if state == "0A" and place.endswith(f":{port:04X}")] == [
        f"0100007F:{port:04X}"
    ]


@pytest.mark.timeout(180)
def test_the_page(served: tuple[subprocess.Popen[str], str], tmp_path: Path) -> None:
    from skimage.data import astronaut

    process, address = served
    face = astronaut()
    one = write(tmp_path / "one.png", encoded(face))
    two = write(tmp_path / "two.png", encoded(np.hstack([face, face[:, ::-1]])))
    none = write(tmp_path / "none.png", encoded(np.full((200, 300, 3), 128, np.uint8)))
    broken = write(tmp_path / "broken.png", encoded(face)[:3000])
    asked: list[str] = []
    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1200, "height": 1100})
        page.add_init_script(WATCH)
        page.set_default_timeout(40_000)
        expect.set_options(timeout=40_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        says, bars, heat = page.locator("#says"), page.locator("#bars"), page.locator("#heat img")
        expect(page.get_by_role("heading", name="ResNet-50 + SE, ELU, synthetic faces")).to_be_visible()
        expect(page.get_by_text(CAVEAT)).to_be_visible()
        expect(page.get_by_text("Test accuracy unknown")).to_be_visible()
        expect(page.locator("#warnings")).to_contain_text("This network was trained on drawn faces")

        expect(page.locator("#examples img")).to_have_count(len(CLASSES))
        page.locator("#examples img").last.scroll_into_view_if_needed()
        places = [page.locator(area).bounding_box() for area in AREAS]
        moved(page)
        upload(page, broken)
        expect(says).to_contain_text("This picture cannot be read")
        upload(page, none)
        expect(says).to_contain_text("No face was found")
        assert heat.count() == 0
        assert page.locator("#faces img").count() == 1
        upload(page, one)
        expect(says).to_contain_text("One face was found.")
        expect(heat).to_be_visible()
        listed = bars.inner_text()
        assert all(name.capitalize() in listed for name in CLASSES)
        assert all(stand_apart(page, area) for area in ("#picture", "#faces", "#heat"))
        assert moved(page) < 0.05  # 0.3 where areas grow with their contents
        for area, place in zip(AREAS, places, strict=True):
            assert page.locator(area).bounding_box() == pytest.approx(place, abs=2), area
        assert 98 <= sum(int(each) for each in re.findall(r"(\d+)%", listed)) <= 102
        drawn = page.request.get(page.locator("#faces img").get_attribute("src") or "").body()
        pixels = images.decode(drawn).astype(int)
        changed = np.argwhere(np.abs(pixels - face).max(axis=2) > 100)
        assert pixels.shape == face.shape
        assert 40 < changed[:, 0].min() < changed[:, 0].max() < 220  # a box and a label, around the head
        assert 140 < changed[:, 1].min() < changed[:, 1].max() < 320

        upload(page, two)
        expect(says).to_contain_text("2 faces, numbered from left to right.")
        before = heat.get_attribute("src")
        page.get_by_role("radio", checked=False).check()
        expect(heat).not_to_have_attribute("src", before or "")
        assert [text[:8] for text in page.locator("#which label").all_inner_texts()] == ["Face 1: ", "Face 2: "]
        page.locator("#examples button").nth(3).click()
        expect(says).to_contain_text("The picture is classified whole")
        expect(page.locator("#which label")).to_have_count(1)
        assert moved(page) < 0.05
        browser.close()

    assert {url.split("/")[2] for url in asked if not url.startswith(("data:", "blob:"))} == {address.split("/")[2]}
    assert not errors
    process.send_signal(signal.SIGINT)
    printed, complained = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in printed + complained


def test_a_mistake_is_one_sentence(untrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["demo", str(untrained), "--port", str(port)]) == 2
        assert f"Port {port} is not available on 127.0.0.1" in capsys.readouterr().err
    assert main(["demo", str(untrained), "--port", "70000"]) == 2
    assert "ports are 1 to 65535" in capsys.readouterr().err


def test_the_score_is_of_the_run_beside_the_checkpoint(finished: Path) -> None:
    from fersweep.inference.demo import score

    cfg = SimpleNamespace(seed=1, recipe=SimpleNamespace(test_crops=1))
    of_run = SimpleNamespace(path=finished / "checkpoints" / "best.ckpt", run=None, cfg=cfg)
    result = json.loads((finished / "result.json").read_text())
    low, high = result["accuracy_interval"]
    accuracy = result["metrics"]["test/accuracy"]
    said = f"Test accuracy {accuracy:.1%} (95 % interval {low:.1%} to {high:.1%}, n = 14), seed 1."
    assert score(SimpleNamespace(trained=[of_run])) == said
    cfg.recipe.test_crops = 10
    views = ", mean of 10 crops; this page uses one view."
    assert score(SimpleNamespace(trained=[of_run])) == said.removesuffix(".") + views
    last = SimpleNamespace(path=finished / "checkpoints" / "last.ckpt", run=None)
    assert "unknown" in score(SimpleNamespace(trained=[last]))
    assert "mean of 2 networks" in score(SimpleNamespace(trained=[of_run, last]))
