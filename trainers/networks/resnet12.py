"""ResNet-12, the larger network of the few-shot literature."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from metaprobe.trainers.errors import MetaprobeError

__all__ = ["ResNet12"]

_WIDTHS = (64, 160, 320, 640)


class ResNet12(nn.Module):
    """Four residual blocks of three 3×3 convolutions, a max-pool after each, their mean and a linear head.

    Oreshkin et al. (2018, Appendix A) in the widths of Lee et al. (2019, §4.1); layers are named as in the latter's
    code and what followed it (layer1 … layer4), so that weights of those fit. Their DropBlock acts in training alone,
    and is left out: none is trained here.

    Args:
        n_way: outputs of the head.
        channels: of the images.
        widths: filters of each block.
        slope: of the leaky ReLU.
    """

    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module

    def __init__(self, n_way: int = 5, channels: int = 3, widths: Sequence[int] = _WIDTHS, slope: float = 0.1) -> None:
        super().__init__()
        if len(widths) != len(_WIDTHS):
            raise MetaprobeError(f"resnet12 has four blocks; got widths={list(widths)}")
        for number, width in enumerate(widths, 1):
            self.add_module(f"layer{number}", nn.Sequential(_Block(channels, width, slope)))
            channels = width
        self.fc = nn.Linear(channels, n_way)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (sample, n_way) of images (sample, channel, height, width)."""
        maps = self.layer4(self.layer3(self.layer2(self.layer1(images))))
        return self.fc(maps.mean(dim=(-2, -1)))


class _Block(nn.Module):
    """Three convolutions with batch norm beside a 1×1 convolution with batch norm, their sum, and a 2×2 max-pool."""

    conv1: nn.Module
    conv2: nn.Module
    conv3: nn.Module
    bn1: nn.Module
    bn2: nn.Module
    bn3: nn.Module

    def __init__(self, channels: int, width: int, slope: float) -> None:
        super().__init__()
        for number in (1, 2, 3):
            convolution = nn.Conv2d(channels if number == 1 else width, width, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(convolution.weight, a=slope, mode="fan_out", nonlinearity="leaky_relu")
            self.add_module(f"conv{number}", convolution)
            self.add_module(f"bn{number}", nn.BatchNorm2d(width))
        shortcut = nn.Conv2d(channels, width, 1, bias=False)
        nn.init.kaiming_normal_(shortcut.weight, a=slope, mode="fan_out", nonlinearity="leaky_relu")
        self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(width))
        self.active, self.pool = nn.LeakyReLU(slope), nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        out = self.active(self.bn1(self.conv1(x)))
        out = self.active(self.bn2(self.conv2(out)))
        return self.pool(self.active(self.bn3(self.conv3(out)) + self.downsample(x)))
