"""The networks written out plainly, with any number of blocks, with torch.nn.functional alone: the reference."""

import functools

import torch
import torch.nn.functional as F


def features(params, x, downsample, n_context=None, epsilon=1e-5, head_input=None):
    """What the head reads; n_context as in the project's norms; a scale or shift that is no parameter is 1 or 0."""
    blocks = sum(name.endswith(".conv.weight") for name in params)
    for block in range(1, blocks + 1):
        halves, layer = block <= 4, f"conv{block}"
        stride = 2 if halves and downsample == "stride" else 1
        x = F.conv2d(x, params[f"{layer}.conv.weight"], stride=stride, padding=1)
        context = x if n_context is None else x[:n_context]
        mean = context.mean(dim=(0, 2, 3), keepdim=True)
        variance = ((context - mean) ** 2).mean(dim=(0, 2, 3), keepdim=True)
        x = (x - mean) / torch.sqrt(variance + epsilon)
        if f"{layer}.norm.weight" in params:
            x = x * params[f"{layer}.norm.weight"].view(1, -1, 1, 1)
        if f"{layer}.norm.bias" in params:
            x = x + params[f"{layer}.norm.bias"].view(1, -1, 1, 1)
        x = torch.relu(x)
        if halves and downsample == "max-pool":
            x = F.max_pool2d(x, 2)
    flat = downsample == "max-pool" if head_input is None else head_input == "flatten"
    return x.flatten(1) if flat else x.mean(dim=(2, 3))


def logits(params, x, downsample, n_context=None, **options):
    features_of = functools.partial(features, **options)
    return features_of(params, x, downsample, n_context) @ params["head.weight"].T + params["head.bias"]
