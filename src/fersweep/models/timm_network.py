"""Networks of timm (Wightman, "PyTorch Image Models"), by the names of its registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fersweep.errors import UserError, extra
from fersweep.models.common import ActivationFactory, AttentionFactory
from fersweep.models.download import cached_or_reachable, unreachable
from fersweep.models.pretrained import Pretrained, attends, read
from fersweep.text import did_you_mean, first_line

SETTING = "backbone.model.name"


class TimmNetwork(Pretrained):
    """A network of timm with a classifier of ``num_classes``, and timm's normalisation of its images.

    Grey images go through a first convolution of one channel, whose weights are the sums of timm's over red, green and
    blue; mean and standard deviation are then those of the three channels on average.
    """

    described = "a network of timm"

    def __init__(
        self,
        name: str,
        pretrained: bool = False,
        *,
        attention: AttentionFactory,
        activation: ActivationFactory | None = None,
        attention_position: str,
        num_classes: int,
        in_channels: int,
        image_size: int,
    ) -> None:
        """Build the network with random weights; `download` and `load` replace them.

        Args:
            name: of timm's registry, such as ``convnext_tiny`` or ``resnet18.a1_in1k``, which names the weights, too.
            pretrained: weights are to be downloaded (`download`).
            attention, attention_position: see docs/reference/models.md; after the stages of timm's ``feature_info``.
            activation: in place of the network's own, which ``None`` leaves.
            num_classes, in_channels, image_size: of the data; a network of fixed size is built for ``image_size``.

        Raises:
            UserError: timm is not installed, does not know the name, cannot change the activation, or does not take
                images of this size; and for attention in a network without stages.
        """
        config = _known(name)
        options = {"in_chans": in_channels}
        if config["fixed_input_size"]:
            options["img_size"] = image_size
        self_made = {} if activation is None else {"act_layer": _as_layer(activation)}
        network = _created(name, num_classes=num_classes, **options, **self_made)
        super().__init__(network, config["mean"], config["std"], in_channels, image_size, name if pretrained else "")
        self.name, self.options = name, options
        if activation is not None and not any(type(each) is type(activation()) for each in network.modules()):
            raise UserError(f"{SETTING}={name} keeps its own activation: set activation=own.")
        if attends(attention):
            with torch.device("meta"):
                stages = _stages(name, _created(name, **options), in_channels, image_size)
            self.attend(stages, attention, attention_position)

    def load(self, weights: Mapping[str, Tensor], source: str) -> None:
        """Copy weights of timm, adapted to the channels and the size of the images as timm does.

        The classifier begins anew.

        Raises:
            UserError: they are not this network's.
        """
        config = _known(self.name)
        first = config.get("first_conv") or ()
        for each in (first,) if isinstance(first, str) else first:
            if f"{each}.weight" in weights and weights[f"{each}.weight"].ndim < 4:  # timm would leave it out
                raise UserError(f"{source} has other weights than {SETTING}={self.name}: {each} is not a convolution.")
        head = next((weights[f"{each}.weight"] for each in self.heads() if f"{each}.weight" in weights), None)
        refused = None
        for classes in (config["num_classes"], 0) if head is None else (len(head),):
            try:
                self._adapt({"state_dict": dict(weights), "num_classes": classes}, classes, source)
                return
            except UserError as error:
                refused = refused or error
        assert refused is not None
        raise refused

    def download(self) -> None:
        """Load the weights that timm has for this name, from its cache or the network.

        Raises:
            UserError: timm has none, or they cannot be reached.
        """
        config = _known(self.name)
        if not config.get("hf_hub_id") and not config.get("url"):
            raise UserError(f"timm has no weights for {SETTING}={self.name}: set backbone.model.pretrained=false.")
        what = f"{SETTING}={self.name}"
        found = cached_or_reachable(config.get("hf_hub_id"), config.get("hf_hub_filename"), what)
        try:
            self._adapt({} if found is None else {"state_dict": read(found)}, config["num_classes"], what)
        except OSError as error:
            raise unreachable(what) from error

    def _adapt(self, given: Mapping[str, Any], classes: int, source: str) -> None:
        """Copy the weights of a network of timm that is built with ``classes`` and these entries of its config."""
        with torch.random.fork_rng(devices=[]):
            try:
                donor = _timm().create_model(
                    self.name, pretrained=True, pretrained_cfg_overlay=given, num_classes=classes, **self.options
                )
            except (RuntimeError, LookupError, ValueError, TypeError, AttributeError, AssertionError) as error:
                raise UserError(
                    f"{source} has other weights than {SETTING}={self.name} ({' '.join(str(error).split()):.200}): "
                    "name the network that they were trained in."
                ) from error
        self.take_over(donor.state_dict(), source)

    def library_depths(self) -> dict[str, int] | None:
        """Return the layer of parameters by timm's names, if the network has timm's ``group_matcher``."""
        with torch.device("meta"):
            plain = _created(self.name, **self.options)
        if not hasattr(plain, "group_matcher"):
            return None
        with extra("recipe.layer_decay of backbone=timm"):
            from timm.models import group_parameters
        matcher: Any = plain.group_matcher
        return dict(group_parameters(plain, matcher(coarse=False), reverse=True))

    def heads(self) -> tuple[str, ...]:
        """Return the names of the classifier's layers."""
        named = _known(self.name)["classifier"] or ()
        return (named,) if isinstance(named, str) else tuple(named)

    def is_head(self, key: str) -> bool:
        return key.startswith(tuple(f"{each}." for each in self.heads()))


def _timm() -> Any:
    with extra("backbone=timm"):
        import timm
    return timm


def _known(name: str) -> dict[str, Any]:
    """Return timm's configuration of a network; UserError for an unknown name, with the closest."""
    timm = _timm()
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        hint = did_you_mean(architecture, timm.list_models())
        raise UserError(f"{SETTING}={name} is not known to timm{hint}; timm.list_models() lists its networks.")
    try:
        return timm.get_pretrained_cfg(name).to_dict()
    except RuntimeError as error:
        tags = [each.partition(".")[2] for each in timm.list_pretrained(f"{architecture}.*")]
        raise UserError(
            f"{SETTING}={name}: timm has no weights {tag} of {architecture}{did_you_mean(tag, tags)}; "
            f"it has {', '.join(tags) or 'none'}."
        ) from error


def _created(name: str, **options: Any) -> nn.Module:
    """Return the network with random weights; UserError for options that it does not take."""
    try:
        network: nn.Module = _timm().create_model(name, **options)
    except (RuntimeError, TypeError, ValueError, AssertionError, LookupError, AttributeError) as error:
        if "act_layer" in str(error):
            raise UserError(f"{SETTING}={name} keeps its own activation: set activation=own.") from error
        size = f" and dataset.image_size={options['img_size']}" if "img_size" in options else ""
        raise UserError(f"{SETTING}={name}{size} cannot be built: {first_line(error)}.") from error
    return network


def _as_layer(activation: ActivationFactory) -> Callable[..., nn.Module]:
    """Return an activation as timm's ``act_layer``, which is called with ``inplace``."""

    def act_layer(*_: Any, **__: Any) -> nn.Module:
        return activation()

    return act_layer


def _stages(name: str, network: nn.Module, in_channels: int, image_size: int) -> dict[str, int]:
    """Return the stages of a network on the meta device: channels of their maps by the module's name.

    They are the modules of timm's ``feature_info`` without the stem.

    Raises:
        UserError: it has none, or one whose output is not (B, C, H, W), such as a transformer's.
    """
    info = getattr(network, "feature_info", None) or []
    named = {each["module"]: int(each["num_chs"]) for each in info if "stem" not in each["module"]}
    blocks = {each: channels for each, channels in named.items() if any(network.get_submodule(each).children())}
    named = blocks or named
    shapes: dict[str, Any] = {}

    def keep(module: nn.Module, _inputs: Any, output: Any) -> None:
        shapes[modules[module]] = tuple(getattr(output, "shape", ()))

    modules = {network.get_submodule(each): each for each in named}
    for each in modules:
        each.register_forward_hook(keep)
    _tried(name, network, torch.empty(2, in_channels, image_size, image_size, device="meta"))
    maps = [len(shape) == 4 and shape[1] == named[each] for each, shape in shapes.items()]
    if not maps or not all(maps) or len(shapes) < len(named):
        raise UserError(
            f"{SETTING}={name} has no stages with maps (B, C, H, W), after which attention could be: "
            "set attention=none."
        )
    return named


def _tried(name: str, network: nn.Module, images: Tensor) -> None:
    try:
        with torch.no_grad():
            network(images)
    except (RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError) as error:
        raise UserError(
            f"{SETTING}={name} cannot take images of shape {tuple(images.shape)}: {first_line(error)}."
        ) from error
