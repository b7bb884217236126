"""Networks that people have, tried whole: captured, compared, frozen. What came of each is a row of docs/networks.md.

`python -m tests.networks_tried` writes the table anew.
"""

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from torch import nn

from metaprobe import probe
from metaprobe.analyses.freezing import freeze_module
from metaprobe.analyses.similarity import measures_named, similarity
from metaprobe.probe.capturing.choosing import told as told_of
from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.tasks.episodes import EpisodeSampler
from tests.captures import state_of
from tests.conftest import make_imageset

PAGE = Path(__file__).parents[1] / "docs" / "networks.md"
MARK, END = "<!-- tried: written by tests/networks_tried.py -->", "<!-- end -->"
WAY = 3


@dataclass(frozen=True)
class Case:
    """A network, what is captured of it, and what is frozen in turn."""

    make: Callable[[], nn.Module]
    layers: str
    frozen: tuple[str, ...]
    size: int = 16
    channels: int = 1
    tasks: int = 2
    train: bool = True
    dtype: torch.dtype = torch.float32


class Residual(nn.Module):
    """Three convolutions and a shortcut, as in ResNet-12."""

    def __init__(self, given, width):
        super().__init__()
        parts = []
        for place in range(3):
            parts += [nn.Conv2d(width if place else given, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
            parts += [nn.LeakyReLU(0.1, inplace=True)] if place < 2 else []
        self.body, self.short = nn.Sequential(*parts), nn.Conv2d(given, width, 1, bias=False)

    def forward(self, x):
        return nn.functional.max_pool2d(nn.functional.leaky_relu(self.body(x) + self.short(x), 0.1), 2)


def resnet12():
    blocks = nn.Sequential(*(Residual(a, b) for a, b in ((1, 4), (4, 6), (6, 8), (8, 10))))
    return nn.Sequential(blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, WAY))


class Rows(nn.Module):
    """An LSTM that reads the rows of an image, the first of all images first."""

    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(16, 6), nn.Linear(6, WAY)

    def forward(self, x):
        return self.head(self.lstm(x[:, 0].transpose(0, 1))[0][-1])


class Attending(nn.Module):
    """Multi-head attention over rows, sequence first."""

    def __init__(self):
        super().__init__()
        self.embed, self.attention = nn.Linear(16, 8), nn.MultiheadAttention(8, 2)
        self.head = nn.Linear(8, WAY)

    def forward(self, x):
        x = self.embed(x[:, 0].transpose(0, 1))
        return self.head(self.attention(x, x, x)[0].mean(0))


class Tied(nn.Module):
    """Two linear maps with one weight."""

    def __init__(self):
        super().__init__()
        self.first, self.encode, self.again = nn.Linear(256, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.again.weight = self.encode.weight
        self.head = nn.Linear(8, WAY)

    def forward(self, x):
        return self.head(torch.tanh(self.again(torch.tanh(self.encode(self.first(x.flatten(1)))))))


class Shared(nn.Module):
    """One PReLU, called twice, under two names."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(256, 8), nn.Linear(8, 8), nn.Linear(8, WAY)
        self.act = nn.PReLU()
        self.same = self.act

    def forward(self, x):
        return self.head(self.same(self.second(self.act(self.first(x.flatten(1))))))


class Dictionary(nn.Module):
    """A body that gives a dict, a head that is in place, and a wrapper round both."""

    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3, stride=4)

        def forward(self, x):
            x *= 2
            return {"maps": self.conv(x), "size": x.shape}

    def __init__(self):
        super().__init__()
        self.model = nn.ModuleDict({"body": self.Body(), "head": nn.Linear(4, WAY)})

    def forward(self, x):
        return self.model["head"](self.model["body"](x)["maps"].relu_().mean((2, 3)))


def convolutions(*after):
    return nn.Sequential(nn.Conv2d(1, 6, 3, stride=2), *after, nn.ReLU(), nn.Flatten(), nn.Linear(294, WAY))


def vit():
    sizes = {"image_size": 16, "patch_size": 4, "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 16}
    return torchvision.models.VisionTransformer(**sizes, num_classes=WAY)


def google():
    return torchvision.models.GoogLeNet(num_classes=WAY, aux_logits=True, init_weights=False)


def perceptron():
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 12), nn.ReLU(), nn.Linear(12, WAY))


CASES = {
    "MLP": Case(perceptron, "*", ("1",)),
    "ResNet-12": Case(resnet12, "0.?,0.?.short,3", ("0.0", "0.1.body.0", "0.*.short")),
    "ResNet-18 (torchvision)": Case(
        lambda: torchvision.models.resnet18(num_classes=WAY), "layer[34],fc", ("layer1.0.conv2", "layer?"), 32, 3, 1
    ),
    "ViT (torchvision)": Case(vit, "*", ("encoder.layers.*", "encoder.layers.encoder_layer_0"), 16, 3),
    "LSTM, sequence first": Case(Rows, "*", ("lstm",)),
    "multi-head attention, sequence first": Case(Attending, "*", ("attention",)),
    "GoogLeNet (torchvision), train mode": Case(google, "inception3a,aux?,fc", ("inception*",), 32, 3, 1),
    "GoogLeNet (torchvision), eval mode": Case(google, "inception3a,[af]*", ("inception*",), 32, 3, 1, train=False),
    "tied weights": Case(Tied, "*", ("encode.weight", "again")),
    "a PReLU under two names, called twice": Case(Shared, "*", ("same",)),
    "a wrapper, a dict, a forward in place": Case(Dictionary, "*", ("model.body",)),
    "running-statistics norm, eval mode": Case(lambda: convolutions(nn.BatchNorm2d(6)), "*", ("1",), train=False),
    "dropout, train mode": Case(lambda: convolutions(nn.Dropout(0.5)), "*", ("0",)),
    "bf16": Case(convolutions, "*", ("0",), dtype=torch.bfloat16),
}


def network_of(case):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = case.make().train(case.train).to(case.dtype)
        for parameter in network.parameters():  # what begins at zero says nothing
            if not parameter.any():
                nn.init.normal_(parameter, std=0.1)
    return network


def tasks_of(case):
    images = make_imageset(n_classes=12, per_class=6, size=case.size, channels=case.channels)
    return EpisodeSampler(images, "test", WAY, 1, 3, 0, dtype=case.dtype).batch(range(case.tasks))


def tried(name, folder):
    """Capture, compare and freeze a network; return its row of the table."""
    case = CASES[name]
    network, tasks = network_of(case), tasks_of(case)
    held, images = state_of(network.float()) if case.dtype == torch.bfloat16 else state_of(network), tasks.query.images
    network, before = network.to(case.dtype), images.clone()
    adaptation = Adaptation(("*",), inner_lr=0.01, steps=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        out = probe.capture(network, None, tasks, out=folder / "s.h5", layers=case.layers, adaptation=adaptation)
        frozen = freeze_module(network, None, tasks, adaptation, frozen=[(), *((one,) for one in case.frozen)])
    told = [f"{one.category.__name__}: {one.message}" for one in caught if issubclass(one.category, UserWarning)]
    table = similarity(out, measures_named(["cka"]), replicates=0, permutations=0)
    assert all(row.value is not None or row.reason for row in table.rows)
    assert [row.frozen for row in frozen.rows if row.measure == "loss"] == ["", *case.frozen]
    assert all(row.status == "ok" for row in frozen.rows)
    assert torch.equal(images, before)
    assert state_of(network.float()) == held
    with probe.open_store(out) as store:
        return row_of(name, case, store.metadata, told)


def row_of(name, case, metadata, told):
    """Return the row: what was captured and where its features are, what was left out, told and frozen."""
    kinds: dict[str, list[str]] = {}
    for layer in metadata.layers:
        where = (
            "a row a sample" if len(layer.shape) == 1 else f"axis {layer.channel_axis + 1} of {len(layer.shape) + 1}"
        )
        kinds.setdefault(where, []).append(layer.name + (f" (output{layer.part})" if layer.part else ""))
    captured = "; ".join(f"{few(names)}: {where}" for where, names in kinds.items())
    words = dict.fromkeys(message.partition(": ")[2] for message in told)
    words = [word for word in words if not word.startswith(("the capture leaves out", "interval"))]
    lost = told_of(metadata.left_out) or "nothing"
    frozen = ", ".join(f"`{one}`" for one in case.frozen)
    return f"| {name} | {captured} | {lost} | {frozen} | {'; '.join(words) or 'nothing'} |"


def few(names):
    return ", ".join(f"`{name}`" if " " not in name else name for name in names[:3]) + (
        f" and {len(names) - 3} more" if len(names) > 3 else ""
    )


def table():
    """Return all rows."""
    rows = [
        "| network | captured, and where its features are | left out | frozen in turn | told |",
        "|---|---|---|---|---|",
    ]
    for name in CASES:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(tried(name, Path(folder)))
    return rows


def written():
    """Return the rows of the page, by the network's name."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines if line.startswith("| ")}


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    before, after = (text.partition(mark)[place] for mark, place in ((MARK, 0), (END, 2)))
    PAGE.write_text("\n".join([before + MARK, *table(), END + after]), encoding="utf-8")
