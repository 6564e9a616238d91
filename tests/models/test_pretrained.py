"""Networks of other libraries: their numbers, weights of files, attention after stages, sentences for the rest."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import requests
import timm
import torch
from checkpoints import write_checkpoint
from conftest import NARROW, quickly_composed
from facenet_pytorch import InceptionResnetV1
from safetensors.torch import save_file
from torch import Tensor, nn

from fersweep import build, build_model
from fersweep.config.idle import refuse_idle
from fersweep.config.schema import title, to_dict
from fersweep.errors import UserError
from fersweep.inference import explain, trained
from fersweep.models.depth import depths
from fersweep.models.pretrained import Attended, Pretrained, read
from fersweep.training import initial

CHOICES = ("backbone=timm", "backbone.model.name=test_resnet", "dataset.image_size=64")


def images(channels: int = 1, size: int = 64) -> Tensor:
    return torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(3))


def made(name: str = "test_resnet", attention: str = "none", activation: str = "own", **settings: object) -> Pretrained:
    torch.manual_seed(0)
    size = settings.pop("image_size", 64)
    network = build_model("timm", attention, activation, name=name, image_size=size, **settings)
    assert isinstance(network, Pretrained)
    return network.eval()


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"])
def test_the_logits_are_those_of_timm_for_normalised_images(name: str) -> None:
    ours = made(name, in_channels=3)
    config = timm.get_pretrained_cfg(name)
    size = {"img_size": 64} if config.fixed_input_size else {}
    theirs = timm.create_model(name, num_classes=7, **size).eval()
    theirs.load_state_dict(ours.network.state_dict())
    x = images(3)
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (config.mean, config.std))
    torch.testing.assert_close(ours(x), theirs((x - mean) / std))
    assert not torch.allclose(ours(x), theirs(x))


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_a_file_of_weights_initialises_all_but_the_classifier(suffix: str, tmp_path: Path) -> None:
    """As timm itself adapts them: 1,000 classes to 7, three channels to one."""
    torch.manual_seed(5)
    theirs = timm.create_model("test_resnet", num_classes=1000)
    file = tmp_path / f"weights.{suffix}"
    if suffix == "pth":
        torch.save({"state_dict": {f"module.{key}": value for key, value in theirs.state_dict().items()}}, file)
    else:
        save_file(theirs.state_dict(), file)
    cfg = quickly_composed(*CHOICES, "attention=se")
    cfg.weights = str(file)
    torch.manual_seed(0)
    ours = build.model(cfg, 7)
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    initial.load(ours, cfg)
    after, expected = ours.state_dict(), theirs.state_dict()
    expected["conv1.0.weight"] = expected["conv1.0.weight"].sum(dim=1, keepdim=True)
    for key, value in expected.items():
        here = f"network.{ours.name_here(key)}"
        torch.testing.assert_close(after[here], before[here] if key.startswith("fc.") else value, rtol=1e-5, atol=1e-6)
    assert all(torch.equal(after[key], before[key]) for key in before if ".attention." in key)


def test_grey_images_and_another_size_go_into_a_transformer(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_vit", num_classes=0).state_dict(), tmp_path / "headless.pth")
    network = made("test_vit", image_size=48)
    network.load(read(tmp_path / "headless.pth"), "headless.pth")
    assert network(images(size=48)).shape == (2, 7)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            timm.create_model("test_resnet2" if timm.is_model("test_resnet2") else "resnet10t").state_dict(),
            "other weights",
        ),
        ({"conv1.0.weight": torch.zeros(3)}, "other weights"),
        ({"epoch": 3}, "is not a table of a network's weights"),
        (nn.Linear(2, 2), "not a readable file of weights"),
        (b"damaged", "not a readable file of weights"),
        ({"fc.bias": torch.tensor([0.0, math.nan])}, "has numbers that are infinite or NaN, first in fc.bias"),
    ],
    ids=["other", "shape", "table", "code", "damaged", "not finite"],
)
def test_a_wrong_file_is_one_sentence(content: object, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    cfg = quickly_composed(*CHOICES)
    cfg.weights = str(file)
    with pytest.raises(UserError, match=sentence) as raised:
        initial.check(cfg)
    assert str(file) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["nowhere.pth", "folder"])
def test_weights_that_are_not_there_are_one_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    cfg = quickly_composed(*CHOICES)
    cfg.weights = str(tmp_path / name)
    with pytest.raises(UserError, match=rf"There is no checkpoint .*{name}.*: give a .ckpt or .safetensors file"):
        initial.check(cfg)


def test_a_checkpoint_of_the_project_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    file = write_checkpoint(tmp_path / "best.ckpt", *NARROW)
    content = torch.load(file, weights_only=True)
    name = next(iter(content["state_dict"]))
    content["state_dict"][name].fill_(math.inf)
    torch.save(content, file)
    cfg = quickly_composed(*NARROW)
    cfg.weights = str(file)
    with pytest.raises(UserError, match=f"infinite or NaN, first in {name.removeprefix('model.')}"):
        initial.load(build.model(cfg, 7), cfg)


def test_a_wrong_position_names_the_network_and_the_only_choice_once() -> None:
    sentence = "attention_position=after_stages is not possible in a network of timm: choose after_stage$"
    cfg = quickly_composed(*CHOICES, "attention=se")
    cfg.backbone.attention_position = "after_stages"
    with torch.device("meta"), pytest.raises(UserError, match=sentence):
        build.model(cfg, 7)


def test_a_checkpoint_of_the_project_still_initialises(tmp_path: Path) -> None:
    file = write_checkpoint(tmp_path / "best.ckpt", *CHOICES)
    cfg = quickly_composed(*CHOICES)
    cfg.weights = str(file)
    torch.manual_seed(9)
    network = build.model(cfg, 7)
    initial.load(network, cfg)
    stored = torch.load(file, weights_only=True)["state_dict"]
    assert all(torch.equal(stored[f"model.{key}"], value) for key, value in network.state_dict().items())
    cfg.weights = str(write_checkpoint(tmp_path / "other.ckpt", *NARROW))
    with pytest.raises(UserError, match="another architecture"):
        initial.check(cfg)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"name": "convnext_tyni"}, "did you mean convnext_tiny"),
        ({"name": "hf-hub:someone/resnet18"}, "is not known to timm"),
        ({"name": "resnet18.a9_in1k"}, "timm has no weights a9_in1k of resnet18"),
        ({"name": "test_vit", "attention": "se"}, "no stages with maps .* set attention=none"),
        ({"name": "hrnet_w18_small", "activation": "elu"}, "set activation=own"),
        ({"name": "test_vit4", "pretrained": True}, "timm has no weights for"),
        (
            {"name": "crossvit_9_240", "attention": "se", "image_size": 48},
            "cannot take images|cannot be built|no stages",
        ),
    ],
)
def test_an_impossible_network_is_one_sentence(settings: dict[str, object], sentence: str) -> None:
    with torch.device("meta"), pytest.raises(UserError, match=sentence) as raised:
        made(**settings)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


def test_a_size_that_a_transformer_does_not_take_is_refused_before_the_run() -> None:
    cfg = quickly_composed("backbone=timm", "backbone.model.name=test_vit", "dataset.image_size=50")
    with pytest.raises(
        UserError, match=r"model.name=test_vit attention=none cannot take images of shape \(2, 1, 50, 50\)"
    ):
        build.check(cfg, 7)


def test_a_download_without_a_network_is_one_sentence_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_answer(*_: object, **__: object) -> None:
        raise requests.ConnectionError("no route")

    monkeypatch.setattr(requests, "head", no_answer)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    network = made()
    monkeypatch.setattr("timm.create_model", lambda *_, **__: pytest.fail("asked the network"))
    with pytest.raises(UserError, match="cannot be downloaded, as there is no answer from the network") as raised:
        network.download()
    assert "http" not in str(raised.value)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_attention_follows_each_stage_and_learns(name: str) -> None:
    network = made(name, attention="se", activation="silu").train()
    places = [each for each, module in network.named_modules() if isinstance(module, Attended)]
    stages = [each["module"] for each in timm.create_model(name).feature_info if each["module"] != "act1"]
    assert places == [f"network.{each}" for each in stages]
    network(images()).square().sum().backward()
    assert all(each.grad is not None for each in network.parameters())
    assert any(type(each) is nn.SiLU for each in network.modules())


def test_the_setting_pretrained_alone_counts_and_an_idle_one_is_refused() -> None:
    refuse_idle(to_dict(quickly_composed(*CHOICES, "backbone.model.pretrained=true")))
    cfg = quickly_composed("backbone=resnet50", "activation=own")
    with pytest.raises(UserError, match="activation=own is not possible with backbone=resnet50"):
        build.model(cfg, 7)


def test_a_checkpoint_is_rebuilt_without_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``pretrained=true`` in its configuration; it predicts, and Grad-CAM reads its last stage."""
    monkeypatch.setattr(Pretrained, "download", lambda _: pytest.fail("asked the network"))
    file = write_checkpoint(tmp_path / "best.ckpt", *CHOICES, "backbone.model.pretrained=true", "attention=se")
    loaded = trained.load(file, "cpu")
    batch = (255 * images()).byte()
    assert loaded.probabilities(batch).sum(dim=1).tolist() == pytest.approx([1, 1], abs=1e-5)
    found = explain.explain(loaded, batch)
    assert [each.maps["gradcam"].shape for each in found] == [(64, 64), (64, 64)]
    assert {len(gate) for gate in found[0].gates.values()} == {32, 48, 96, 192}
    write_checkpoint(tmp_path / "vit.ckpt", "backbone=timm", "backbone.model.name=test_vit", "dataset.image_size=64")
    (first, _) = explain.explain(trained.load(tmp_path / "vit.ckpt", "cpu"), batch)
    assert first.maps["gradcam"].shape == (64, 64)  # of its patches


def test_depth_grows_from_the_images_to_the_classifier() -> None:
    network = made("test_efficientnet", attention="se")
    depth = depths(network)
    assert list(depth) == [name for name, _ in network.named_parameters()]
    last = max(depth.values())
    assert depth["network.conv_stem.weight"] == 0
    assert (
        0 < depth["network.blocks.1.stage.0.conv_exp.weight"] < depth["network.blocks.3.stage.0.conv_pw.weight"] < last
    )
    assert {depth[name] for name in depth if ".attention." in name or "classifier" in name} == {last}


class TestInceptionResNetV1:
    """facenet-pytorch's network."""

    def test_the_logits_are_those_of_the_library(self, tmp_path: Path) -> None:
        torch.manual_seed(4)
        theirs = InceptionResnetV1(classify=True, num_classes=8631).eval()
        torch.save(theirs.state_dict(), tmp_path / "faces.pt")
        ours = build_model("inception_resnet_v1", "none", "own", image_size=80, resize=None).eval()
        assert isinstance(ours, Pretrained)
        ours.load(read(tmp_path / "faces.pt"), "faces.pt")
        theirs.logits = ours.network.logits
        x = images(size=80)
        with torch.no_grad():
            torch.testing.assert_close(
                ours(x), theirs((255 * x.expand(-1, 3, -1, -1) - 127.5) / 128), rtol=1e-4, atol=1e-5
            )

    def test_attention_and_small_images(self) -> None:
        network = build_model("inception_resnet_v1", "eca", "own", image_size=48, resize=75).eval()
        assert network(images(size=48)).shape == (2, 7)
        depth = depths(network)
        assert depth["network.conv2d_1a.conv.weight"] == 0
        assert {depth[name] for name in depth if ".attention." in name} == {max(depth.values())}
        with torch.device("meta"), pytest.raises(UserError, match="75 pixels or more, not of 48"):
            build_model("inception_resnet_v1", "none", "own", image_size=48, resize=None)
        with torch.device("meta"), pytest.raises(UserError, match="keeps its own activation"):
            build_model("inception_resnet_v1", "none", "elu")

    def test_a_wrong_file_and_a_missing_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        network = build_model("inception_resnet_v1", "none", "own", resize=75)
        assert isinstance(network, Pretrained)
        with pytest.raises(UserError, match=r"w\.pt is of another network than backbone=inception_resnet_v1"):
            network.load({"weight": torch.zeros(1)}, "w.pt")
        network.pretrained = "vggface2"

        def unreachable(*_: object, **__: object) -> None:
            raise OSError("no route")

        monkeypatch.setattr("facenet_pytorch.InceptionResnetV1", unreachable)
        with pytest.raises(UserError, match="trained on vggface2 are not on this machine"):
            network.download()


def test_the_title_names_the_network_of_the_library() -> None:
    assert title(to_dict(quickly_composed(*CHOICES, "attention=se"))) == "timm test_resnet + SE, own activation"
