"""The networks written out plainly, with any number of blocks, with torch.nn.functional alone: the reference."""

import torch
import torch.nn.functional as F


def features(params, x, downsample, n_context=None):
    """What the head reads; n_context as in the project's norms."""
    blocks = sum(name.endswith(".conv.weight") for name in params)
    for block in range(1, blocks + 1):
        halves, layer = block <= 4, f"conv{block}"
        stride = 2 if halves and downsample == "stride" else 1
        x = F.conv2d(x, params[f"{layer}.conv.weight"], stride=stride, padding=1)
        context = x if n_context is None else x[:n_context]
        mean = context.mean(dim=(0, 2, 3), keepdim=True)
        variance = ((context - mean) ** 2).mean(dim=(0, 2, 3), keepdim=True)
        x = (x - mean) / torch.sqrt(variance + 1e-5)
        weight, bias = (params[f"{layer}.norm.{part}"].view(1, -1, 1, 1) for part in ("weight", "bias"))
        x = torch.relu(x * weight + bias)
        if halves and downsample == "max-pool":
            x = F.max_pool2d(x, 2)
    return x.mean(dim=(2, 3)) if downsample == "stride" else x.flatten(1)


def logits(params, x, downsample, n_context=None):
    return features(params, x, downsample, n_context) @ params["head.weight"].T + params["head.bias"]
