"""The shape of a network and how it starts, as frozen dataclasses: ours, or a module from elsewhere. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.formats.strict_json import parse_json
from metaprobe.trainers.limits import fits_float32
from metaprobe.trainers.plain import LATER, completed, from_mapping

__all__ = ["Downsample", "HeadInput", "HeadStart", "ModuleConfig", "ModuleNorm", "NetworkConfig", "Norm", "NormAffine"]
__all__ += ["Activation", "AnyNetwork", "ScaleStart", "TestNorm", "network_as_told", "network_from"]

Norm = Literal["transductive", "non-transductive"]
ModuleNorm = Literal["transductive", "non-transductive", "running"]
TestNorm = Literal["transductive", "non-transductive", "one-query", "running"]
Downsample = Literal["stride", "max-pool", "none"]
NormAffine = Literal["both", "shift", "none"]
HeadStart = Literal["glorot", "normal"]
HeadInput = Literal["flatten", "mean"]
ScaleStart = Literal["ones", "uniform"]
Activation = Literal["relu", "leaky-relu"]

_MOST_ARGUMENTS = 10_000  # characters
_MOST_LINEAR, _WIDEST = 64, 65_536


@dataclass(frozen=True)
class NetworkConfig:
    """The shape of a network: everything needed to build it again.

    `norm` names whose statistics normalise a query: "transductive", the query batch's own (Finn et al. 2017's code), or
    "non-transductive", those of the task's support set, so that no query sees another. ("one-query", the support set
    and that one query as Zhou et al. 2021 have it, is a way of testing, see `trainers.evaluate`.)

    Without blocks the head reads the images themselves: softmax regression.

    Of an "mlp", `channels` are the features of a sample, `filters` the units of a hidden layer, `blocks` the hidden
    layers and `n_way` the outputs; `image_size` is 1, and it has no norms.

    Attributes:
        norm_affine: the norms' parameters: scale γ and shift β, β alone (the TensorFlow family), or none.
        norm_epsilon: what is added to a variance.
        head_start: how the head's weights are drawn: Glorot uniform, or from N(0, 1).
        head_input: what the head reads of the last feature map: all of it, or its mean over positions. None where that
            is as `downsample` has it: flattened after max-pools, the mean otherwise; `reads` says which.
        linnet: widths of linear layers between what the head reads and the head, without activation (Arnold et al.
            2021, section 3).
        norm_scale_start: how the norms' scales are drawn: all 1, or from U(0, 1).
        activation: what follows a norm: ReLU, or a leaky ReLU of slope 0.01 (Antoniou et al. 2019's code).
    """

    name: str
    n_way: int
    channels: int
    image_size: int
    filters: int
    downsample: Downsample
    norm: Norm
    blocks: int = 4
    norm_affine: NormAffine = field(default="both", metadata=LATER)
    norm_epsilon: float = field(default=1e-5, metadata=LATER)
    head_start: HeadStart = field(default="glorot", metadata=LATER)
    head_input: HeadInput | None = field(default=None, metadata=LATER)
    linnet: tuple[int, ...] = field(default=(), metadata=LATER)
    norm_scale_start: ScaleStart = field(default="ones", metadata=LATER)
    activation: Activation = field(default="relu", metadata=LATER)

    def __post_init__(self) -> None:
        most_of = {"n_way": 65_536, "channels": 4096, "image_size": 4096, "filters": 4096, "blocks": 64}
        for name, most in most_of.items():  # also what a damaged file may ask for
            if not (least := 0 if name == "blocks" else 1) <= getattr(self, name) <= most:
                told = f"must be from {least} to {most}; got {getattr(self, name)}"
                raise MetaprobeError(f"a network's {name} {told}")
        if len(self.linnet) > _MOST_LINEAR or not all(0 < width <= _WIDEST for width in self.linnet):
            told = f"takes at most {_MOST_LINEAR} widths from 1 to {_WIDEST}; got {', '.join(map(str, self.linnet))}"
            raise MetaprobeError(f"a network's linnet {told}")
        if self.name == "mlp" and (self.image_size, self.downsample) != (1, "none"):
            got = f"got {self.image_size} and {self.downsample!r}"
            raise MetaprobeError(f"an mlp's image_size is 1 and its downsample 'none', it takes vectors; {got}")
        if not fits_float32(self.norm_epsilon):
            told = f"must be above 0 and finite in float32; got {self.norm_epsilon}"
            raise MetaprobeError(f"a network's norm_epsilon {told}")
        if self.blocks == 0 and (self.head_input == "mean" or self.downsample != "none"):
            told = "leave head_input and downsample out"
            raise MetaprobeError(f"without blocks the head reads all pixels, and nothing is halved; {told}")
        if self.head_input == self._usual:  # one spelling for one network
            object.__setattr__(self, "head_input", None)

    @property
    def reads(self) -> HeadInput:
        """What the head reads of the last feature map."""
        return self.head_input or self._usual

    @property
    def _usual(self) -> HeadInput:
        return _reads(self.downsample) if self.blocks else "flatten"

    @property
    def told(self) -> str:
        """The network in a few words."""
        blocks = "" if self.blocks == 4 else f", {self.blocks} blocks"
        leaky = ", leaky ReLU" * (self.activation == "leaky-relu")
        convolutions = f"{self.name}{blocks}, {self.filters} filters, {self.downsample}{leaky}"
        body = convolutions if self.blocks else "linear model"
        return f"{body}, linear layers of {', '.join(map(str, self.linnet))}" if self.linnet else body


@dataclass(frozen=True)
class ModuleConfig:
    """A network that others wrote: what it is called, what it is given, and what of it is a file's.

    `norm` is that of `NetworkConfig`, or "running": the running statistics that the weights came with.

    Attributes:
        name: as `trainers.networks.named` knows it: "resnet12", "torchvision:resnet18", "timm:…", or "module:factory",
            which is code of the user's that only a command line runs.
        image_size: height = width.
        layers: names of what may adapt, in the order of the pass, the head last.
        parameters: names of the weights, in the network's order.
        constants: names of what never adapts: buffers, weights that do not require gradients or reach no output.
        args: of its factory, as the text of a JSON object.
    """

    name: str
    n_way: int
    channels: int
    image_size: int
    norm: ModuleNorm
    layers: tuple[str, ...]
    parameters: tuple[str, ...]
    constants: tuple[str, ...] = ()
    args: str = "{}"

    def __post_init__(self) -> None:
        for name, most in {"n_way": 65_536, "channels": 4096, "image_size": 4096}.items():
            if not 1 <= getattr(self, name) <= most:  # also what a damaged file may ask for
                raise MetaprobeError(f"a network's {name} must be from 1 to {most}; got {getattr(self, name)}")
        names = (*self.parameters, *self.constants)
        if not self.layers or not self.parameters or len(set(names)) != len(names):
            raise MetaprobeError(f"network {self.name!r} needs layers and parameters, each of its own name")
        self.arguments  # noqa: B018 (told here, not when it is built)

    @property
    def arguments(self) -> dict[str, Any]:
        """What its factory is given, by name."""
        try:
            found = parse_json(self.args[:_MOST_ARGUMENTS])
        except ValueError as error:
            raise MetaprobeError(f"network {self.name!r} has arguments that are no JSON: {error}") from error
        if not isinstance(found, dict):
            raise MetaprobeError(f"network {self.name!r} has arguments that are no JSON object: {self.args}")
        return found

    @property
    def told(self) -> str:
        """The network in a few words."""
        return self.name if self.args == "{}" else f"{self.name} {self.args}"


AnyNetwork = NetworkConfig | ModuleConfig


def network_from(values: Mapping[str, Any], where: str) -> AnyNetwork:
    """Build the config of a network from what a file says of it.

    Raises:
        UnreadableInput: a field is missing, unknown, or of the wrong type.
    """
    return from_mapping(ModuleConfig if "parameters" in values else NetworkConfig, values, where)


def network_as_told(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a file says of its network together with what files leave out because it is as it always was."""
    if "parameters" in values:
        return dict(values)
    told = completed(NetworkConfig, values)
    told.setdefault("head_input", _reads(told.get("downsample")) if told.get("blocks") else "flatten")
    return told


def _reads(downsample: object) -> HeadInput:
    return "flatten" if downsample == "max-pool" else "mean"
