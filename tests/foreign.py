"""Networks as others write them, with their names of things, small; for the tests of imports."""

import torch
import torch.nn.functional as F
from torch import nn

USER_CODE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes=5, in_channels=1, width=4):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, 4, stride=4)
        self.norm = nn.BatchNorm2d(width)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(width, num_classes)

    def forward(self, images):
        return self.head(self.drop(torch.relu(self.norm(self.stem(images)))).mean(dim=(2, 3)))


def build(num_classes, in_channels, width=4):
    return Net(num_classes, in_channels, width)
"""
"""A module `mynet.py` of a user's."""


class L2LBlock(nn.Module):
    """The parts of learn2learn's ConvBlock, as its state dicts name them."""

    def __init__(self, channels, filters, pools):
        super().__init__()
        self.pools = pools
        self.normalize = nn.BatchNorm2d(filters)
        nn.init.uniform_(self.normalize.weight)
        self.conv = nn.Conv2d(channels, filters, 3, stride=1 if pools else 2, padding=1)

    def forward(self, x):
        x = F.relu(self.normalize(self.conv(x)))
        return F.max_pool2d(x, 2) if self.pools else x


def l2l_base(channels, filters, pools):
    return nn.Sequential(*(L2LBlock(channels if i == 0 else filters, filters, pools) for i in range(4)))


class L2LOmniglot(nn.Module):
    """What OmniglotCNN computes; its base is saved under two names."""

    def __init__(self, n_way=5, filters=8):
        super().__init__()
        self.base = l2l_base(1, filters, pools=False)
        self.features = nn.Sequential(nn.Identity(), self.base)
        self.classifier = nn.Linear(filters, n_way)

    def forward(self, x):
        return self.classifier(self.features(x).mean(dim=(2, 3)))


class L2LMini(nn.Module):
    """What MiniImagenetCNN computes."""

    def __init__(self, n_way=5, filters=8, size=16):
        super().__init__()
        self.features = l2l_base(3, filters, pools=True)
        self.classifier = nn.Linear(filters * (size // 16) ** 2, n_way)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class LibFewShot(nn.Module):
    """What MAML with Conv64F computes, in fewer filters."""

    def __init__(self, n_way=5, filters=8, size=32):
        super().__init__()
        self.emb_func, self.classifier = nn.Module(), nn.Module()
        for number in range(1, 5):
            convolution = nn.Conv2d(3 if number == 1 else filters, filters, 3, padding=1)
            self.emb_func.add_module(f"layer{number}", nn.Sequential(convolution, nn.BatchNorm2d(filters), nn.ReLU()))
        self.classifier.layers = nn.Sequential(nn.Linear(filters * (size // 16) ** 2, n_way))

    def forward(self, x):
        for layer in self.emb_func.children():
            x = F.max_pool2d(layer(x), 2)
        return self.classifier.layers(x.flatten(1))


def shaken(network, seed=0):
    """Every weight of a network moved, norms and biases too: as after training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in network.parameters():
            value += 0.1 * torch.randn(value.shape, generator=generator, dtype=value.dtype)
    return network
