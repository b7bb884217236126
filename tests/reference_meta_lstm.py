"""Meta-LSTM written out plainly, one task and one tensor at a time, with torch.nn.LSTMCell: the reference."""

import math

import torch
import torch.nn.functional as F

from tests.reference_networks import logits

PREFIX = "update_rule."


def preprocessed(x):
    """Two numbers of each of a vector's, by cases (Ravi and Larochelle 2017, Section 3.4), p = 10."""
    rows = []
    for one in x.tolist():
        large = abs(one) >= math.exp(-10)
        rows.append([math.log(abs(one)) / 10, math.copysign(1, one)] if large else [-1, math.exp(10) * one])
    return torch.tensor(rows, dtype=x.dtype)


def cell_step(xi, gradient, loss, phi, state):
    """One step of the elements of a tensor, as a batch of the cell; returns φ′ and what is carried."""
    hidden, cell, forget, rate = state
    cells = torch.nn.LSTMCell(4, 20, dtype=gradient.dtype)
    weights = {
        "weight_ih": xi[f"{PREFIX}lstm_inputs"],
        "weight_hh": xi[f"{PREFIX}lstm_hidden"],
        "bias_ih": xi[f"{PREFIX}lstm_bias"],
        "bias_hh": torch.zeros(80, dtype=gradient.dtype),
    }
    seen = torch.cat([preprocessed(gradient), preprocessed(loss.reshape(1)).expand(len(gradient), 2)], dim=1)
    hidden, cell = torch.func.functional_call(cells, weights, (seen, (hidden, cell)))
    forget = torch.cat([hidden, phi[:, None], forget[:, None]], dim=1) @ xi[f"{PREFIX}forget"]
    rate = torch.cat([hidden, phi[:, None], rate[:, None]], dim=1) @ xi[f"{PREFIX}input"]
    forget, rate = forget + xi[f"{PREFIX}forget_bias"], rate + xi[f"{PREFIX}input_bias"]
    moved = torch.sigmoid(forget) * phi - torch.sigmoid(rate) * gradient
    return moved, (hidden, cell, forget, rate)


def begun(value):
    n = value.numel()
    widths = ((n, 20), (n, 20), (n,), (n,))
    return tuple(torch.zeros(width, dtype=value.dtype) for width in widths)


def adapt(params, xi, images, labels, names, steps, downsample):
    """Inner loop on one task; returns the adapted parameters with their graph, gradients and losses being constants."""
    current, states = dict(params), {name: begun(params[name]) for name in names}
    for _ in range(steps):
        loss = F.cross_entropy(logits(current, images, downsample), labels)
        gradients = torch.autograd.grad(loss, [current[name] for name in names])
        for name, gradient in zip(names, gradients, strict=True):
            before = current[name].flatten()
            moved, states[name] = cell_step(xi, gradient.flatten(), loss.detach(), before, states[name])
            current[name] = moved.view(gradient.shape)
    return current


def meta_gradient(params, xi, tasks, names, steps, downsample, transductive):
    """Sum over tasks of the gradient of the query loss by the initialisation and the LSTM."""
    total = 0.0
    for task in range(len(tasks)):
        support, query = tasks.support.images[task], tasks.query.images[task]
        adapted = adapt(params, xi, support, tasks.support.labels[task], names, steps, downsample)
        if transductive:
            scores = logits(adapted, query, downsample)
        else:
            scores = logits(adapted, torch.cat([support, query]), downsample, len(support))[len(support) :]
        total = total + F.cross_entropy(scores, tasks.query.labels[task])
    leaves = {**params, **xi}
    gradients = torch.autograd.grad(total, list(leaves.values()), materialize_grads=True)
    return float(total.detach()), dict(zip(leaves, gradients, strict=True))
