"""Modulated MAML written out plainly, a task and a sample at a time, with torch.nn.functional alone: the reference."""

import torch
import torch.nn.functional as F

from tests import reference_maml
from tests.reference_maml import conv4


def film(params, own, images, labels):
    """FiLM of every norm: its parameters of one task, and no penalty."""
    x = images
    for number in range(1, 5):
        name = f"modulation.encoder.conv{number}"
        x = F.conv2d(x, own[f"{name}.weight"], stride=2, padding=1)
        x = torch.relu(F.batch_norm(x, None, None, own[f"{name}.scale"], own[f"{name}.shift"], training=True))
    seen = [one.flatten(1).mean(dim=1) for one in x]
    linear = own["modulation.encoder.linear.weight"], own["modulation.encoder.linear.bias"]
    embedding = sum(torch.relu(F.linear(one, *linear)) for one in seen) / len(seen)
    found = dict(params)
    for layer in ("conv1", "conv2", "conv3", "conv4"):
        name = f"modulation.{layer}.norm.film"
        both = F.linear(embedding, own[f"{name}.weight"], own[f"{name}.bias"])
        gamma, beta = both[: len(both) // 2], both[len(both) // 2 :]
        scale, shift = params[f"{layer}.norm.weight"], params[f"{layer}.norm.bias"]
        found[f"{layer}.norm.weight"] = scale + scale * gamma
        found[f"{layer}.norm.bias"] = shift + shift * gamma + beta
    return found, 0.0


def tree(params, own, images, labels):
    """HSML: every parameter of one task, and the weighted reconstruction error."""
    own = {name.removeprefix("modulation."): value for name, value in own.items()}

    def linear(name, x):
        return own[f"{name}.weight"] @ x + own[f"{name}.bias"]

    def cell(part, x, h):
        into, back = linear(f"{part}.input", x).chunk(3), linear(f"{part}.state", h).chunk(3)
        reset, update = torch.sigmoid(into[0] + back[0]), torch.sigmoid(into[1] + back[1])
        return (1 - update) * torch.tanh(into[2] + reset * back[2]) + update * h

    inputs = []
    for image, label in zip(images, labels, strict=True):
        x = F.conv2d(image[None], own["encoder.conv1.weight"], own["encoder.conv1.bias"], padding=2)
        x = normalised(F.max_pool2d(torch.relu(x), 3, 2, padding=1))
        x = F.conv2d(x, own["encoder.conv2.weight"], own["encoder.conv2.bias"], padding=2)
        x = F.max_pool2d(normalised(torch.relu(x)), 3, 2, padding=1).flatten()
        x = torch.relu(linear("encoder.dense2", torch.relu(linear("encoder.dense1", x))))
        indicators = torch.zeros(3, dtype=x.dtype)
        indicators[label] = 1
        inputs.append(torch.cat([x, indicators]))
    h, states = torch.zeros(128, dtype=x.dtype), []
    for x in inputs:
        h = cell("reader", x, h)
        states.append(h)
    z = sum(states) / len(states)
    error, given = 0.0, torch.zeros_like(inputs[0])
    for x in reversed(inputs):
        h = cell("writer", given, h)
        given = linear("writer.output", h)
        error = error + ((given - x) ** 2).sum() / (len(inputs) * len(x))

    kernel = torch.stack([torch.exp(-((z - centre) ** 2).sum() / 20) for centre in own["tree.centres"]])
    leaves = [share * torch.tanh(linear(f"tree.leaf{i + 1}", z)) for i, share in enumerate(kernel / kernel.sum())]
    nodes = [torch.zeros_like(z), torch.zeros_like(z)]
    for leaf in leaves:
        gates = torch.exp(linear("tree.gate", leaf))
        for place in range(2):
            share = gates[place] / gates.sum()
            nodes[place] = nodes[place] + share * torch.tanh(linear(f"tree.node{place + 1}", leaf))
    root = sum(torch.tanh(linear("tree.root", node)) for node in nodes)
    both = torch.cat([z, root])
    found = dict(params)
    for name, value in params.items():
        if f"{name}.gate.bias" in own:
            found[name] = value / (1 + torch.exp(-linear(f"{name}.gate", both))).view(value.shape)
    return found, 0.01 * error


def normalised(x):
    """Local response normalisation over nine channels."""
    squares = torch.zeros_like(x)
    for channel in range(x.shape[1]):
        near = x[:, max(0, channel - 4) : channel + 5]
        squares[:, channel] = (near**2).sum(dim=1)
    return x / (1 + 0.001 / 9 * squares) ** 0.75


MODULATIONS = {"mmaml": film, "hsml": tree}


def meta_gradient(name, params, own, tasks, names, inner_lr, steps, downsample, transductive):
    """Outer loss, and its gradient by all parameters, summed over tasks."""
    total = 0.0
    for task in range(len(tasks)):
        images, query = tasks.support.images[task], tasks.query.images[task]
        labels = tasks.support.labels[task]
        start, penalty = MODULATIONS[name](params, own, images, labels)
        adapted = reference_maml.adapt(start, images, labels, names, inner_lr, steps, False, downsample)
        if transductive:
            logits = conv4(adapted, query, downsample)
        else:
            logits = conv4(adapted, torch.cat([images, query]), downsample, len(images))[len(images) :]
        total = total + F.cross_entropy(logits, tasks.query.labels[task]) + penalty
    everything = params | own
    found = torch.autograd.grad(total, list(everything.values()))
    return float(total.detach()), dict(zip(everything, found, strict=True))
