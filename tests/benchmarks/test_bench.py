"""``python -m benchmarks``: rounds and ratios, what every part measures and leaves out, tables and JSON."""

from __future__ import annotations

import io
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from conftest import quickly_composed
from fakes import fer2013_zip
from rich.console import Console
from torch import nn

from benchmarks import (
    PARTS,
    ceiling,
    changes,
    data,
    efficiency,
    inference,
    measure,
    memory,
    networks,
    peers,
    pipeline,
    plain,
    report,
    settings,
    startup,
    sweep,
    together,
)
from benchmarks.__main__ import main
from benchmarks.bare import BareLoop
from benchmarks.measure import Figure, Part
from benchmarks.run import MEASURES
from benchmarks.runs import wait_for_server
from benchmarks.settings import Settings
from fersweep import build
from fersweep.build import build_model
from fersweep.models import attention, convolution
from fersweep.models.common import parameter_counts as parameters
from fersweep.sweep.local.launch import LocalSweep
from fersweep.sweep.plan import Outcome
from fersweep.training.attempt import prepare, run_frozen

CPU = torch.device("cpu")


@pytest.fixture
def smoke(tmp_path: Path) -> Settings:
    """A smoke benchmark of two rounds."""
    asked: dict[str, Any] = {"parts": [], "backbones": None, "batches": None, "image_size": None}
    return settings.check(**asked, repeats=2, threads=1, device="cpu", smoke=True, folder=tmp_path)


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    """Figures by what they are, each with as many values as rounds."""
    assert all(len(figure.values) == 2 and min(figure.values) > 0 for figure in figures)
    named = {figure.what: figure for figure in figures}
    for figure in figures:
        base = () if figure.to is None else named[figure.to].values
        assert figure.ratios == tuple(a / b for a, b in zip(figure.values[: len(base)], base, strict=True))
    return named


def test_contestants_take_turns_after_a_round_that_does_not_count() -> None:
    order: list[str] = []
    numbers = count()

    def contestant(name: str) -> Any:
        return lambda: order.append(name) or next(numbers)

    found = measure.alternate({"a": contestant("a"), "b": contestant("b")}, 3)
    assert order == ["a", "b"] * 4
    assert found == {"a": (2, 4, 6), "b": (3, 5, 7)}
    assert measure.alternate({"a": contestant("a")}, 2, warm_up=False) == {"a": (8, 9)}


def test_ratios_are_of_one_round() -> None:
    ours, theirs = measure.figures(
        "s", {"batch": 4}, {"ours": (1.0, 8.0, 3.0), "theirs": (2.0, 4.0, 3.0)}, {"ours": "theirs"}
    )
    assert ours.ratios == (0.5, 2.0, 1.0)
    assert ours.as_dict() == {
        "what": "ours",
        "case": {"batch": 4},
        "unit": "s",
        "median": 3.0,
        "min": 1.0,
        "max": 8.0,
        "values": [1.0, 8.0, 3.0],
        "ratio": {"to": "theirs", "median": 1.0, "min": 0.5, "max": 2.0, "values": [0.5, 2.0, 1.0]},
    }
    assert theirs.to is None
    assert theirs.as_dict()["ratio"] is None


def test_a_rate_is_over_as_many_calls_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def work() -> None:
        nonlocal now
        now += 0.03

    monkeypatch.setattr(measure, "clock", lambda _: now)
    rated = measure.rate(work, 6, CPU, least=0.1)
    assert rated() == pytest.approx(200)
    assert now == pytest.approx(
        6 * 0.03
    )  # one for what is done only once, one to see how long it takes, four to measure
    assert rated() == pytest.approx(200)
    assert now == pytest.approx(10 * 0.03)


def test_what_is_not_given_is_the_default(tmp_path: Path, smoke: Settings) -> None:
    asked: dict[str, Any] = {"image_size": None, "repeats": None, "threads": 3, "device": "cpu", "folder": tmp_path}
    full = settings.check(parts=["peers", "input", "peers"], backbones=None, batches=[8, 8, 400], smoke=False, **asked)
    assert (full.parts, full.backbones, full.batches) == (
        ("input", "peers"),
        ("resnet50", "vgg19", "aer_cnn"),
        (8, 400),
    )
    assert (full.image_size, full.repeats, full.threads, full.images) == (48, 5, 3, 4000)
    assert (smoke.parts, smoke.backbones, smoke.batches) == (tuple(PARTS), ("aer_cnn",), (8,))
    assert (smoke.image_size, smoke.repeats, smoke.images) == (32, 2, 140)
    assert settings.check(parts=[], backbones=None, batches=None, smoke=True, **asked | {"threads": None}).threads == 1
    cfg = smoke.compose("backbone=vgg19")
    assert (cfg.backbone.name, cfg.dataset.image_size, cfg.dataset.source.size) == ("vgg19", 32, 140)
    assert (cfg.trainer.name, cfg.outputs, cfg.cache) == ("cpu", f"{tmp_path}/outputs", f"{tmp_path}/cache")
    assert MEASURES.keys() == PARTS.keys()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("inptu", f"There is no part 'inptu' (did you mean input?); choices: {', '.join(PARTS)}."),
        ("--backbone vgg91", "There is no backbone 'vgg91' (did you mean vgg19?); choices: aer_cnn, "),
        ("--batch 64 1", "--batch 1 is out of range: 2 or more."),
        ("--image-size 24", "--image-size 24 is out of range: 32 to 256."),
        ("--repeats 0", "--repeats 0 is out of range: 1 or more."),
        ("--threads 0", "--threads 0 is out of range: 1 or more."),
        ("--fer2013 nowhere", "--fer2013 nowhere does not exist: name the archive or folder of FER2013."),
        ("input --fer2013 .", "--fer2013 has no effect without the part data: leave it out, or name that part too."),
        (
            "--json missing/file.json",
            "--json missing/file.json cannot be written: name a file in a folder that exists.",
        ),
        pytest.param(
            "--device gpu",
            "--device gpu is not possible: torch sees no CUDA device here.",
            marks=pytest.mark.skipif(torch.cuda.device_count() > 0, reason="there is a GPU"),
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(
    arguments: str, sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {sentence}")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_the_bare_step_is_the_recipes() -> None:
    torch.manual_seed(0)
    cfg = quickly_composed(
        "trainer.precision=32", "recipe.batch_size=4", "dataset.image_size=32", "recipe.gradient_clip=0.01"
    )
    ours, reference = (nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 7)) for _ in range(2))
    reference.load_state_dict(ours.state_dict())
    loop = BareLoop(ours, cfg, CPU)
    loop.step(3)
    optimizer = build.optimizer_factory(cfg)(reference.parameters())
    nn.functional.cross_entropy(reference(loop.images[:3]), loop.labels[:3]).backward()
    assert nn.utils.clip_grad_norm_(reference.parameters(), 0.01) > 0.01
    optimizer.step()
    torch.testing.assert_close(ours.state_dict(), reference.state_dict())
    before = ours[1].weight.clone()
    loop.validate()
    assert torch.equal(ours[1].weight, before)
    assert ours.training


@pytest.mark.parametrize(
    ("images", "least", "sizes"), [(20, 2, (8, 8, 4)), (17, 2, (8, 8)), (17, 1, (8, 8, 1)), (3, 2, (3,))]
)
def test_steps_are_an_epochs_batches(images: int, least: int, sizes: tuple[int, ...]) -> None:
    assert efficiency.steps(images, 8, least) == sizes


@pytest.mark.usefixtures("tiny_network")
def test_epochs_are_timed_without_what_is_between_them(smoke: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    away, calls = 0.0, 0

    def between(trainer: pl.Trainer, _: Any) -> None:
        nonlocal away, calls
        assert trainer.current_epoch == calls
        away, calls = away + 1000, calls + 1

    monkeypatch.setattr(efficiency, "clock", lambda _: time.perf_counter() + away)
    timer = efficiency.EpochClock(CPU, between)
    config, _ = prepare(smoke.compose("recipe.max_epochs=3", "recipe.batch_size=8"))
    run_frozen(config, callbacks=(timer,))
    assert calls == len(timer.epochs) == 3
    for epoch in timer.epochs:
        assert 0 < epoch.training < epoch.training + epoch.validation < epoch.whole < 100


@pytest.mark.usefixtures("tiny_network")
def test_an_epoch_is_compared_with_the_same_steps(smoke: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    step = BareLoop.step
    monkeypatch.setattr(BareLoop, "step", lambda self, size: counts.append(size) or step(self, size))
    found = efficiency.measure(smoke).figures
    assert counts == [8] * 14 * 3  # 112 images, before each of two epochs that count and one that does not
    assert all(figure.case == {"backbone": "aer_cnn", "batch": 8} for figure in found)
    named = by_name(found)
    assert [(name, figure.unit, figure.to) for name, figure in named.items()] == [
        ("bare loop", "images/s", None),
        ("bare epoch", "images/s", None),
        ("training batches", "images/s", "bare loop"),
        ("whole epoch", "images/s", "bare epoch"),
        ("history and checkpoints, an epoch", "s", None),
    ]
    for whole, batches in (("bare epoch", "bare loop"), ("whole epoch", "training batches")):
        assert all(a < b for a, b in zip(named[whole].values, named[batches].values, strict=True))
    assert list((smoke.folder / "outputs" / "runs").iterdir()) == []


def test_every_step_of_the_input_is_faster_than_all_of_them(smoke: Settings) -> None:
    part = pipeline.measure(smoke)
    named = by_name(part.figures)
    assert list(named) == [
        "indexing the memory map",
        "flip_zoom",
        "standard",
        "to a tensor batch",
        "whole loader, flip_zoom",
        "whole loader, standard",
    ]
    assert all(figure.to == pipeline.LOADER for name, figure in named.items() if name != pipeline.LOADER)
    for step in ("indexing the memory map", "to a tensor batch"):
        assert min(named[step].values) > max(named["whole loader, flip_zoom"].values)
    assert part.notes == ["Images come in batches; the loader has 0 processes of its own."]


def test_answers_are_timed_by_batch_and_view(smoke: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "FERModule", Views)
    asked.clear()
    found = inference.measure(smoke).figures
    assert set(asked) == {("one", 1), ("ten", 1), ("one", 4), ("ten", 4)}
    rates = [(figure.case["batch"], figure.what) for figure in found if figure.unit == "images/s"]
    assert rates == [(1, "single view"), (1, "ten crops"), (4, "single view"), (4, "ten crops")]
    latencies = by_name([figure for figure in found if figure.unit == "ms"])
    for view in inference.VIEWS:
        middle, slow = latencies[f"latency, {view}"], latencies[f"latency, {view}, 95th percentile"]
        assert all(a <= b for a, b in zip(middle.values, slow.values, strict=True))


asked: list[tuple[str, int]] = []


class Views(nn.Module):
    """Stands for `FERModule`; notes what it is asked."""

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert not self.training
        assert torch.is_inference_mode_enabled()
        asked.append(("one", len(images)))
        return torch.zeros(len(images), 7)

    def ten_crop_probabilities(self, images: torch.Tensor) -> torch.Tensor:
        asked.append(("ten", len(images)))
        return torch.zeros(len(images), 7)


def test_torchvisions_networks_have_our_size() -> None:
    with torch.device("meta"):
        images = torch.empty(2, 1, 48, 48)
        for theirs, backbone in ((networks._resnet50(), "resnet50"), (networks._vgg19(2), "vgg19")):
            ours = build_model(backbone, "none", "relu", "paper")
            assert parameters(theirs) == parameters(ours)
            assert theirs(images).shape == ours(images).shape == (2, 7)
        assert parameters(networks._vgg19(7))["params_total"] == 139_597_767


def test_attention_is_timed_forward_and_backward(smoke: Settings) -> None:
    module = nn.Conv2d(8, 8, 1)
    networks._pass(module, 8, 4, 3, smoke)()
    assert module.weight.grad is not None
    assert module.weight.grad.abs().sum() > 0
    found = networks.beside_timm(smoke, 2)
    assert [figure.what for figure in found] == ["ours", "timm"] * 12
    maps = [figure.case["map"] for figure in found[::6]]
    assert maps == ["256×8×8", "512×4×4", "1024×2×2", "2048×1×1"]
    for ours, theirs in zip(found[::2], found[1::2], strict=True):
        assert ours.case == theirs.case
        by_name([ours, theirs])
        assert theirs.to == "ours"


@pytest.mark.usefixtures("tiny_network")
def test_the_plain_way_trains_on_the_same_images(smoke: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[tuple[str, int]] = []
    training_step = plain.Classifier.training_step

    def counted(self: plain.Classifier, batch: Any, batch_idx: int) -> torch.Tensor:
        images, labels = batch
        assert images.shape[1:] == (1, 32, 32)
        assert images.dtype == torch.float32
        assert 0 <= float(images.min()) <= float(images.max()) <= 1
        steps.append((str(labels.dtype), len(images)))
        return training_step(self, batch, batch_idx)

    monkeypatch.setattr(plain.Classifier, "training_step", counted)
    found = peers._beside_plain(smoke, *smoke.cases()[0])
    assert steps == [("torch.int64", 8)] * 14 * 3
    assert [(figure.what, figure.to) for figure in found] == [
        ("ours, training batches", None),
        ("ours, whole epoch", None),
        ("plain Lightning, training batches", "ours, training batches"),
        ("plain Lightning, whole epoch", "ours, whole epoch"),
    ]
    by_name(found)
    assert not (smoke.folder / "plain").exists()


def test_peers_that_are_not_there_are_left_out(smoke: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    made = measure.figures("images/s", {}, {"ours": (1.0, 1.0)})
    for name in ("beside_torchvision", "_beside_plain"):
        monkeypatch.setattr(peers, name, lambda *_: made)
    monkeypatch.setattr(peers, "find_spec", lambda _: None)
    monkeypatch.setattr(settings.callbacks, "precision", lambda *_: "32-true")
    part = peers.measure(smoke)
    assert part.figures == made * 2
    assert [note.partition(":")[0] for note in part.notes[1:]] == [
        "timm is not installed",
        "This device has no bf16 arithmetic",
    ]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int | None, int | None]]:
    """Sweeps that are not run: how many runs each has, jobs at a time, threads."""
    started: list[tuple[int, int | None, int | None]] = []

    class Sweep(LocalSweep):
        def run(self) -> list[Outcome]:
            assert (self.gpus_per_run, self.timeout) == (None, None)
            assert all(each.directory.is_dir() for each in self.runs)
            started.append((len({each.directory for each in self.runs}), self.n_jobs, self.threads))
            return [Outcome(each, {}) for each in self.runs]

    monkeypatch.setattr(together, "LocalSweep", Sweep)
    monkeypatch.setattr("fersweep.sweep.local.launch.cores", lambda: 2)
    monkeypatch.setattr("fersweep.training.memory.there", lambda: 2**40)
    for part in (together, sweep):
        monkeypatch.setattr(part, "wait_for_server", lambda: None)
    return started


def test_runs_at_once_share_the_threads(smoke: Settings, started: list[tuple[int, int | None, int | None]]) -> None:
    four = replace(smoke, threads=4)
    named = by_name(together.measure(four).figures)
    assert started == [(2, 1, 4), (2, 2, 2)] * 2
    assert named["two at once"].to == "one after another"
    assert list((smoke.folder / "outputs" / "runs").iterdir()) == []


@pytest.mark.usefixtures("tiny_network")
def test_small_runs_are_compared_with_as_much_arithmetic(
    smoke: Settings, started: list[tuple[int, int | None, int | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[str, int]] = []
    step, validate = BareLoop.step, BareLoop.validate
    monkeypatch.setattr(BareLoop, "step", lambda self, n: sizes.append(("step", n)) or step(self, n))
    monkeypatch.setattr(BareLoop, "validate", lambda self, n: sizes.append(("validate", n)) or validate(self, n))
    named = by_name(sweep.measure(replace(smoke, threads=4, batches=(64,))).figures)
    assert started == [(2, None, 2)] * 2  # of two at a time
    once = [("step", 64), ("step", 64), ("step", 30), ("validate", 21), ("validate", 21)]
    assert sizes == once * (1 + 2 * 2)
    assert named[sweep.BARE].to == sweep.SWEEP
    assert list((smoke.folder / "outputs" / "runs").iterdir()) == []


def test_fer2013_is_decoded_anew_each_round(smoke: Settings, tmp_path: Path) -> None:
    assert data.measure(smoke).figures == []
    assert data.measure(smoke).notes == ["Not measured: --fer2013 PATH names the archive or folder of FER2013."]
    archive = fer2013_zip(tmp_path / "copy" / "fer2013.zip")
    part = data.measure(replace(smoke, fer2013=archive))
    assert list(by_name(part.figures)) == ["decoded first", "from the cache"]
    assert [len(list(tmp_path.glob(f"fer2013-{n}/fer2013-*/images.npy"))) for n in range(3)] == [1, 1, 0]
    assert multiprocessing.active_children() == []


def test_a_first_step_is_found_in_the_log(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text(
        "2026-01-02 03:04:05,006 INFO fersweep: decoding\n2026-01-02 03:04:07,250 DEBUG fersweep: first training step\n"
    )
    assert startup._first_step(tmp_path) == datetime(2026, 1, 2, 3, 4, 7, 250_000).timestamp()


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="there is no /proc")
def test_data_cost_a_further_process_less_than_a_copy(smoke: Settings) -> None:
    wait_for_server()
    small, full = (smoke.compose("dataset.image_size=256", f"dataset.source.size={size}") for size in (21, 140))
    named = {figure.what: figure for figure in memory._one_more(small, full, 2)}
    size = 140 * 256**2 / 2**20
    assert named["images, decoded"].values == (size,)
    assert len(named["one more process, at its start"].values) == 4
    mapped, copied = named[memory.MAPPED], named[memory.COPIED]
    assert mapped.to == memory.COPIED
    assert max(mapped.values) < size / 4
    assert size * 0.9 < min(copied.values) <= max(copied.values) < size * 1.5
    assert multiprocessing.active_children() == []


def test_a_table_shows_what_the_json_holds() -> None:
    part = Part(
        measure.figures("s", {"backbone": "vgg19", "batch": 64}, {"a": (1234.5,), "b": (0.25,)}, {"b": "a"}), ["Note."]
    )
    text = io.StringIO()
    Console(width=160, file=text).print(report.table("input", report.as_dict(part, 2.4)))
    lines = [line.split() for line in text.getvalue().splitlines()]
    assert " ".join(lines[0]) == f"input: {PARTS['input']} (2 s)"
    assert lines[1] == ["of", "what", "unit", "n", "median", "least", "most", "ratio", "least", "most", "to"]
    assert lines[2] == ["vgg19", "batch", "64", "a", "s", "1", *["1,234"] * 3]
    assert lines[3] == ["b", "s", "1", *["0.25"] * 3, *["0.000"] * 3, "a"]
    assert lines[4] == ["Note."]


def test_json_is_data_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[Path] = []

    def fake(name: str) -> Any:
        def part(chosen: Settings) -> Part:
            folders.append(chosen.folder)
            assert chosen.folder.is_dir()
            return Part(measure.figures("s", {"batch": 8}, {name: (1.0, 2.0, 4.0)}), [f"{name}."])

        return part

    for name in PARTS:
        monkeypatch.setitem(MEASURES, name, fake(name))
    arguments = ["memory", "input", "--smoke", "--threads", "1", "--device", "cpu"]
    assert main([*arguments, "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["machine"].keys() == {"cpu", "cores", "gpu", "torch", "python", "platform", "precision", "threads"}
    assert (found["machine"]["threads"], found["machine"]["gpu"]) == (1, None)
    assert found["settings"] == {
        "parts": ["input", "memory"],
        "backbones": ["aer_cnn"],
        "batches": [8],
        "image_size": 32,
        "repeats": 1,
        "smoke": True,
    }
    assert list(found["parts"]) == ["input", "memory"]
    part = found["parts"]["memory"]
    assert part["notes"] == ["memory."]
    figure = {"what": "memory", "case": {"batch": 8}, "unit": "s", "median": 2.0, "min": 1.0, "max": 4.0}
    assert part["figures"] == [{**figure, "values": [1.0, 2.0, 4.0], "ratio": None}]
    assert main([*arguments, "--json", str(tmp_path / "found.json")]) == 0
    written = json.loads((tmp_path / "found.json").read_text())
    assert {**written, "parts": None} == {**found, "parts": None}
    assert written["parts"]["input"]["figures"] == found["parts"]["input"]["figures"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == report.headline(found["machine"])
    assert lines[0].endswith(", 1 thread")
    assert lines[1].startswith("input: ")
    assert not any(folder.exists() for folder in folders)


@pytest.fixture(autouse=True)
def _keep_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_operations_of_a_training_step_are_those_of_its_products(smoke: Settings) -> None:
    size, taps = smoke.image_size, 9
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Conv2d(4, 2, 3, padding=1))
    first, second = 4 * 1 * taps * size**2, 2 * 4 * taps * size**2
    assert ceiling._operations(network, smoke) == 2 * (2 * first + 3 * second)  # nobody asks for the images' gradient


def test_the_ceiling_is_a_product_and_every_step_lies_below_it(smoke: Settings) -> None:
    part = ceiling.measure(smoke)
    assert [(each.what, each.unit) for each in part.figures] == [
        ("matrix product", "TFLOP/s"),
        ("training step", "TFLOP/s"),
        ("bare loop", "images/s"),
    ]
    step = part.figures[1]
    assert step.to == "matrix product"
    assert all(0 < ratio < 1 for ratio in step.ratios)


def test_without_its_changes_a_step_is_torchs_and_the_weights_it_makes_are_the_same(
    smoke: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: dict[str, int] = dict.fromkeys(("_times", "spatial_mean", "spatial_max", "channel_mean", "channel_max"), 0)
    for module, name in ((convolution, "_times"), *((attention, name) for name in used if name != "_times")):
        real = getattr(module, name)

        def counted(*values: Any, real: Callable[..., Any] = real, name: str = name) -> Any:
            used[name] += 1
            return real(*values)

        monkeypatch.setattr(module, name, counted)
    conv = convolution.Conv2d(8, 8, 1).to(memory_format=torch.channels_last).bfloat16()
    cbam = attention.CBAM(8).bfloat16()
    x = torch.rand(2, 8, 3, 3).bfloat16().to(memory_format=torch.channels_last)
    with changes._torchs_all():
        plain = cbam(conv(x))
    assert set(used.values()) == {0}
    torch.testing.assert_close(cbam(conv(x)), plain)
    assert set(used.values()) == {1}
    part = changes.measure(smoke)
    assert [each.what for each in part.figures][0::5] == ["all", "none of them"]
    assert all(each.to == "none of them" for each in part.figures[:5])
