"""MAML written out plainly, one task at a time, with torch.nn.functional and autograd alone: the reference."""

import torch
import torch.nn.functional as F


def conv4(params, x, downsample, n_context=None):
    """The network without any of the project's code; n_context as in the project's norms."""
    for layer in ("conv1", "conv2", "conv3", "conv4"):
        x = F.conv2d(x, params[f"{layer}.conv.weight"], stride=2 if downsample == "stride" else 1, padding=1)
        context = x if n_context is None else x[:n_context]
        mean = context.mean(dim=(0, 2, 3), keepdim=True)
        variance = ((context - mean) ** 2).mean(dim=(0, 2, 3), keepdim=True)
        x = (x - mean) / torch.sqrt(variance + 1e-5)
        shape = (1, -1, 1, 1)
        x = torch.relu(x * params[f"{layer}.norm.weight"].view(shape) + params[f"{layer}.norm.bias"].view(shape))
        if downsample == "max-pool":
            x = F.max_pool2d(x, 2)
    x = x.mean(dim=(2, 3)) if downsample == "stride" else x.flatten(1)
    return x @ params["head.weight"].T + params["head.bias"]


def adapt(params, images, labels, names, inner_lr, steps, first_order, downsample):
    """Inner loop on one task; returns the adapted parameters with their graph."""
    current = dict(params)
    for _ in range(steps if names else 0):
        loss = F.cross_entropy(conv4(current, images, downsample), labels)
        gradients = torch.autograd.grad(loss, [current[name] for name in names], create_graph=True)
        for name, gradient in zip(names, gradients, strict=True):
            current[name] = current[name] - inner_lr * (gradient.detach() if first_order else gradient)
    return current


def meta_gradient(params, tasks, names, inner_lr, steps, first_order, downsample, transductive):
    """Sum over tasks of the gradient of the query loss by the initial parameters."""
    total = 0.0
    for task in range(len(tasks)):
        support, query = tasks.support.images[task], tasks.query.images[task]
        adapted = adapt(params, support, tasks.support.labels[task], names, inner_lr, steps, first_order, downsample)
        if transductive:
            logits = conv4(adapted, query, downsample)
        else:
            logits = conv4(adapted, torch.cat([support, query]), downsample, len(support))[len(support) :]
        total = total + F.cross_entropy(logits, tasks.query.labels[task])
    gradients = torch.autograd.grad(total, list(params.values()))
    return float(total.detach()), dict(zip(params, gradients, strict=True))
