"""Words of a command line: a network or a folder of runs may come first, the others are pictures."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import fakes
import pytest

from fersweep.cli import main as cli
from fersweep.errors import UserError
from fersweep.inference.which import Kind, kind, split

FACE = fakes.encoded(fakes.picture(1))


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks, pictures and other files, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for path in ("face.png", "folder/deep/face.jpg", "runs/a/confusion_matrix.png", "pending/learning_curves.png"):
        fakes.write(Path(path), FACE)
    fakes.write(Path("no_suffix"), FACE)
    for path in ("v.mp4", "text.txt", "m.safetensors", "old.ckpt", "runs/a/checkpoints/best.ckpt", "empty/notes.txt"):
        fakes.write(Path(path), b"anything")
    fakes.write(Path("pending/status.json"), b"{}")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("archive/data.pkl", b"")
    fakes.write(Path("renamed.pt"), packed.getvalue())
    Path("checkpoints").mkdir()
    os.mkfifo("pipe")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("face.png", Kind.INPUT),
        ("no_suffix", Kind.INPUT),
        ("missing.JPG", Kind.INPUT),
        ("v.mp4", Kind.INPUT),
        ("folder", Kind.INPUT),
        ("fold*/*", Kind.INPUT),
        ("pipe", Kind.INPUT),
        ("old.ckpt", Kind.NETWORK),
        ("missing.ckpt", Kind.NETWORK),
        ("m.safetensors", Kind.NETWORK),
        ("renamed.pt", Kind.NETWORK),
        ("runs/a", Kind.NETWORK),
        ("pending", Kind.NETWORK),
        ("runs", Kind.RUNS),
        (".", Kind.RUNS),
        ("text.txt", Kind.NEITHER),
        ("missing", Kind.NEITHER),
        ("empty", Kind.NEITHER),
    ],
)
def test_a_word_is_a_network_or_an_input(word: str, expected: Kind) -> None:
    assert kind(word) is expected


@pytest.mark.parametrize(
    ("words", "option", "network", "inputs"),
    [
        (["face.png"], None, None, ["face.png"]),
        (["runs/a", "face.png", "folder"], None, "runs/a", ["face.png", "folder"]),
        (["runs", "face.png"], None, "runs", ["face.png"]),
        (["face.png", "runs"], None, None, ["face.png", "runs"]),
        (["missing.ckpt", "face.png"], None, "missing.ckpt", ["face.png"]),
        (["camera", "0"], None, None, ["camera", "0"]),
        (["old.ckpt", "camera", "0"], None, "old.ckpt", ["camera", "0"]),
        (["runs"], "m.safetensors", "m.safetensors", ["runs"]),
        (["text.txt"], "old.ckpt", "old.ckpt", ["text.txt"]),
        ([], None, None, []),
    ],
)
def test_the_first_word_may_be_the_network(
    words: list[str], option: str | None, network: str | None, inputs: list[str]
) -> None:
    found, rest = split(words, option and Path(option))
    assert (found and str(found), rest) == (network, inputs)


@pytest.mark.parametrize(
    ("words", "option", "sentence"),
    [
        (["text.txt", "face.png"], None, "text.txt is neither a network (the directory of a run, a .ckpt or "),
        (["empty"], None, "empty is neither a network ("),
        (["output/typo", "face.png"], None, "There is no output/typo: name a picture, a video, a folder of pictures"),
        (["face.png", "runs/a"], None, "runs/a is a network, after inputs: name one network, first or with"),
        (["runs/a", "old.ckpt"], None, "old.ckpt is a network, beside runs/a: name one network"),
        (["runs/a", "face.png"], "old.ckpt", "runs/a is a network, beside old.ckpt: name one network"),
    ],
)
def test_what_is_neither_or_twice_is_one_sentence(words: list[str], option: str | None, sentence: str) -> None:
    with pytest.raises(UserError) as raised:
        split(words, option and Path(option))
    assert str(raised.value).startswith(sentence)
    assert "\n" not in str(raised.value)


def test_inputs_may_follow_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    from fersweep.inference.predict import run as predict

    jobs: list[predict.Job] = []
    monkeypatch.setattr(predict, "run", lambda job: jobs.append(job) or 0)
    for words in ("old.ckpt --device cpu face.png folder", "--device cpu old.ckpt face.png --choose all folder"):
        assert cli.main(["predict", *words.split()]) == 0
    assert {(job.checkpoint, job.inputs, job.device) for job in jobs} == {
        (Path("old.ckpt"), ("face.png", "folder"), "cpu")
    }


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("predict runs/a", "error: runs/a is a network: name a picture, a video, "),
        ("explain", "error: Name images to explain, or a run ("),
        ("explain -o out", "error: Name images to explain, or a run ("),
        ("explain nope face.png -o out", "error: There is no nope: name a picture"),
        ("explain nope.ckpt face.png -o out", "error: There is no checkpoint nope.ckpt: give a run's directory"),
        ("demo old.ckpt --checkpoint m.safetensors", "error: old.ckpt and --checkpoint m.safetensors are two networks"),
    ],
)
def test_commands_say_what_is_missing(words: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words.split()) == 2
    told = capsys.readouterr().err
    assert told.startswith(sentence)
    assert told.count("\n") == 1
    assert not Path("out").exists()


@pytest.mark.parametrize("command", ["predict", "explain", "demo"])
def test_help_names_both_places_of_the_network(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert f"usage: fersweep {command} [" in told
    assert "CHECKPOINT]" in told
    assert "a run's directory, a .ckpt or a .safetensors file" in told
    assert "default: the one that comes with fersweep" in told
