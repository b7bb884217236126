"""The papers' network: four convolution blocks (or another number) and a linear head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metaprobe.trainers.config import Downsample, HeadStart, NetworkConfig
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.networks.kernels import convolve, norm_relu
from metaprobe.trainers.networks.running import GivenNorm, normed_by
from metaprobe.trainers.networks.task_network import TaskNetwork

__all__ = ["Conv4", "add_linear", "draw_head"]

_HALVING = 4  # blocks that halve the feature map
_LEAK = 0.01  # slope of a leaky ReLU below 0


class Conv4(TaskNetwork):
    """Blocks of 3×3 convolution, batch norm and ReLU, and a linear head: layers conv1 … conv4, head.

    The two variants of Finn et al. (2017, §5.2): on Omniglot 64 filters with stride 2 and the last feature map averaged
    over its positions; on RGB images 32 filters, each block ending in a 2×2 max-pool, the last feature map flattened.

    As in that paper's code (cbfinn/maml) are by default: kernels, strides and pools, Glorot convolutions, statistics of
    the batch in training and in test. Not, unless the config says so (`--like finn2017`): norms there have a shift and
    no scale, ε is 1e-3, the inner loop leaves them alone (`Adaptation.adapt_norm`), and but for 84×84 images the head
    reads the mean of the last map and starts from N(0, 1). Never: convolutions there have a bias, which the norm that
    follows subtracts, and TensorFlow pads a map of even size behind it alone where it strides, here on both sides.

    With `linnet` widths linear layers stand before the head, linear1 …, with bias and without activation (Arnold et al.
    2021): Glorot uniform, biases 0. Without blocks the head, or the first of those, reads the pixels.

    Of a deeper network, a control for how much depth alone gives, blocks after the fourth (conv5 …) neither stride nor
    pool: they keep the size of the feature map, as all do where `downsample` is "none".

    Args:
        config: shapes and variant.
        generator: draws the initial weights: convolutions Glorot uniform, the head as the config says (`draw_head`);
            norms start at scale 1 and shift 0, the head's bias at 0.

    Raises:
        MetaprobeError: nothing is left of the images after the max-pools.
    """

    linear_head = True
    head: Head

    def __init__(self, config: NetworkConfig, generator: torch.Generator) -> None:
        super().__init__()
        channels, size = config.channels, config.image_size
        self.input_shape = (channels, size, size)
        blocks = tuple(f"conv{number}" for number in range(1, config.blocks + 1))
        for place, name in enumerate(blocks):
            downsample = config.downsample if place < _HALVING else "none"
            self.add_module(name, ConvBlock(channels, config, downsample, generator))
            channels, size = (
                config.filters,
                {"stride": (size + 1) // 2, "max-pool": size // 2, "none": size}[downsample],
            )
        if size < 1:
            halvings = min(config.blocks, _HALVING)
            raise MetaprobeError(
                f"images of {config.image_size} pixels are too small for {halvings} 2×2 max-pools; "
                f"{2**halvings} will do"
            )
        pooled = config.reads == "mean"
        features = channels if pooled else channels * size * size
        self.layer_names = (*blocks, *add_linear(self, features, pooled, config, generator))

    def features(self, maps: Tensor) -> Tensor:
        """Return the last feature map averaged over its positions, or flattened, or the last linear layer's output."""
        return self.head.features(maps)


class ConvBlock(nn.Module):
    """Convolution, batch norm and ReLU; the convolution strides, a 2×2 max-pool follows, or the map keeps its size."""

    def __init__(
        self, channels: int, config: NetworkConfig, downsample: Downsample, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.conv = Conv(channels, config.filters, stride=2 if downsample == "stride" else 1, generator=generator)
        self.norm = NormRelu(config, downsample == "max-pool", generator)

    def forward(self, x: Tensor, n_context: int | None = None) -> Tensor:
        return self.norm(self.conv(x), n_context)


class Conv(nn.Module):
    """A 3×3 convolution without bias; its weight's first axis may hold several tasks' filters.

    `dtype`, when set, is what it computes in; it takes and gives the dtype of its input all the same.
    """

    def __init__(self, channels: int, filters: int, stride: int, generator: torch.Generator) -> None:
        super().__init__()
        self.dtype: torch.dtype | None = None
        self.filters, self.stride = filters, stride
        self.weight = nn.Parameter(torch.empty(filters, channels, 3, 3))
        nn.init.xavier_uniform_(self.weight, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        dtype = self.dtype or x.dtype
        groups = self.weight.shape[0] // self.filters
        return convolve(x.to(dtype), self.weight.to(dtype), self.stride, groups).to(x.dtype)


class NormRelu(GivenNorm):
    """Batch norm, (leaky) ReLU and, when `pools`, a 2×2 max-pool, in one operation.

    The statistics are those of the batch itself, or of its first `n_context` samples, or given (`GivenNorm`). Of scale
    and shift, those that the config's `norm_affine` names are parameters; the others stay 1 and 0.
    """

    def __init__(self, config: NetworkConfig, pools: bool, generator: torch.Generator) -> None:
        super().__init__(config.filters)
        affine = config.norm_affine
        self.weight = nn.Parameter(torch.ones(config.filters)) if affine == "both" else None
        if self.weight is not None and config.norm_scale_start == "uniform":
            with torch.no_grad():
                self.weight.uniform_(generator=generator)
        self.bias = nn.Parameter(torch.zeros(config.filters)) if affine != "none" else None
        self.pools, self.epsilon = pools, config.norm_epsilon
        self.slope = _LEAK if config.activation == "leaky-relu" else 0.0

    def forward(self, x: Tensor, n_context: int | None = None) -> Tensor:
        weight = x.new_ones(x.shape[1]) if self.weight is None else self.weight
        bias = x.new_zeros(x.shape[1]) if self.bias is None else self.bias
        if self.mean is not None and self.variance is not None:
            return normed_by(x, self.mean, self.variance, weight, bias, self.pools, self.epsilon, self.slope)
        self.tell(x, n_context)
        return norm_relu(x, weight, bias, n_context, self.pools, self.epsilon, self.slope)


def add_linear(
    network: nn.Module, features: int, pooled: bool | None, config: NetworkConfig, generator: torch.Generator
) -> tuple[str, ...]:
    """Add linear1 … and head to a network, and return their names.

    Args:
        network: which.
        features: that the first of them reads.
        pooled: whether it reads the mean of a feature map, or all of it; None of a vector.
        config: widths, outputs and how the head starts.
        generator: draws the weights.
    """
    names = (*(f"linear{number}" for number in range(1, len(config.linnet) + 1)), "head")
    for name, width in zip(names, (*config.linnet, config.n_way), strict=True):
        start: HeadStart = config.head_start if name == "head" else "glorot"
        head = VectorHead if pooled is None else Head
        network.add_module(name, head(features, width, bool(pooled), start, generator))
        features, pooled = width, None
    return names


class Head(nn.Module):
    """A linear layer on the last feature map, averaged over its positions or flattened: a classifier, or before one."""

    def __init__(self, features: int, n_way: int, pooled: bool, start: HeadStart, generator: torch.Generator) -> None:
        super().__init__()
        self.n_way, self.pooled = n_way, pooled
        self.start: HeadStart = start
        self.weight = nn.Parameter(torch.empty(n_way, features))
        self.bias = nn.Parameter(torch.zeros(n_way))
        draw_head(self.weight, start, generator)

    def features(self, maps: Tensor) -> Tensor:
        """Return what the classifier reads: (…, channel, height, width) → (…, feature)."""
        return maps.mean(dim=(-2, -1)) if self.pooled else maps.flatten(-3)

    def forward(self, x: Tensor, n_context: int | None = None) -> Tensor:
        tasks = self.weight.shape[0] // self.n_way
        features = self.features(x.unflatten(1, (tasks, -1))).transpose(0, 1)
        weight = self.weight.unflatten(0, (-1, self.n_way))
        bias = self.bias.unflatten(0, (-1, 1, self.n_way))
        logits = torch.baddbmm(bias, features, weight.transpose(1, 2))
        return logits.transpose(0, 1).flatten(1)


class VectorHead(Head):
    """A linear layer on a vector."""

    def features(self, maps: Tensor) -> Tensor:
        """Return what it reads, (…, feature), as it is."""
        return maps


def draw_head(weight: Tensor, start: HeadStart, generator: torch.Generator) -> None:
    """Fill a head's weights (way, feature): Glorot uniform, or from N(0, 1) as cbfinn/maml has it below 84×84."""
    with torch.no_grad():
        if start == "normal":
            weight.normal_(generator=generator)
        else:
            nn.init.xavier_uniform_(weight, generator=generator)
