"""Update rules written out plainly, one task at a time, with torch.nn.functional and autograd alone: the reference.

T-Nets are networks with a map behind every layer here, and the factors of Meta-KFO adapt by autograd through the step.
"""

import torch
import torch.nn.functional as F

PREFIX = "update_rule."


def own(name, rule, xi):
    """What of a rule belongs to a tensor, or to its layer, by its last name."""
    places = {full: full.removeprefix(PREFIX).rpartition(".") for full in xi}
    return {last: xi[full] for full, (place, _, last) in places.items() if f"{name}.".startswith(f"{place}.")}


def by_slices(gradient, function):
    """Apply a function to a matrix: the tensor itself, a column, or each output channel's (in, positions)."""
    if gradient.dim() == 1:
        return function(gradient[:, None])[:, 0]
    if gradient.dim() == 2:
        return function(gradient)
    return torch.stack([function(one.flatten(1)).view(one.shape) for one in gradient])


def meta_sgd(g, a):
    return a["rates"] * g


def at(step, a):
    """Of LSLR the rate of a step, or of the last that there is one for."""
    return {name: value[min(step, len(value) - 1)] for name, value in a.items()}


def meta_curvature(g, a):
    if g.dim() == 1:
        return a["scale"] * g
    if g.dim() == 2:
        return a["out"] @ g @ a["in"]
    flat = torch.einsum("po,qi,rk,oik->pqr", a["out"], a["in"], a["kernel"], g.flatten(2))
    return flat.view(g.shape)


def meta_kfo(g, a):
    return by_slices(g, lambda m: a["left"].T @ a["left"] @ m @ a["right"].T @ a["right"])


def meta_kfo_free(g, a):
    return by_slices(g, lambda m: a["left"] @ m @ a["right"])


def meta_kfo_nonlinear(g, a):
    def mapped(m):
        first = torch.relu(a["left1"] @ m @ a["right1"])
        second = torch.relu(a["left2"] @ first @ a["right2"])
        return m + a["left3"] @ second @ a["right3"]

    return by_slices(g, mapped)


TRANSFORMS = {
    "sgd": lambda g, a: g,
    "t_nets": lambda g, a: g,
    "meta_sgd": meta_sgd,
    "lslr": meta_sgd,
    "lslr_layer": meta_sgd,
    "meta_curvature": meta_curvature,
    "meta_kfo": meta_kfo,
    "meta_kfo_free": meta_kfo_free,
    "meta_kfo_nonlinear": meta_kfo_nonlinear,
}
RATED = ("meta_sgd", "lslr", "lslr_layer")
ADAPTING = ("meta_kfo", "meta_kfo_free", "meta_kfo_nonlinear")


def conv4(params, xi, x, downsample, n_context=None):
    """The network; T-Nets has a 1×1 convolution behind every convolution, and a matrix behind the head."""
    for layer in ("conv1", "conv2", "conv3", "conv4"):
        x = F.conv2d(x, params[f"{layer}.conv.weight"], stride=2 if downsample == "stride" else 1, padding=1)
        if (behind := xi.get(f"{PREFIX}{layer}.conv.map")) is not None:
            x = F.conv2d(x, behind[:, :, None, None])
        context = x if n_context is None else x[:n_context]
        mean = context.mean(dim=(0, 2, 3), keepdim=True)
        variance = ((context - mean) ** 2).mean(dim=(0, 2, 3), keepdim=True)
        x = (x - mean) / torch.sqrt(variance + 1e-5)
        shape = (1, -1, 1, 1)
        x = torch.relu(x * params[f"{layer}.norm.weight"].view(shape) + params[f"{layer}.norm.bias"].view(shape))
        if downsample == "max-pool":
            x = F.max_pool2d(x, 2)
    x = x.mean(dim=(2, 3)) if downsample == "stride" else x.flatten(1)
    logits = x @ params["head.weight"].T + params["head.bias"]
    behind = xi.get(f"{PREFIX}head.map")
    return logits if behind is None else logits @ behind.T


def adapt(rule, params, xi, images, labels, names, inner_lr, steps, first_order, downsample):
    """Inner loop on one task; returns the adapted parameters of network and rule with their graph."""
    current, xi, alpha = dict(params), dict(xi), 1.0 if rule in RATED else inner_lr
    for step in range(steps):
        loss = F.cross_entropy(conv4(current, xi, images, downsample), labels)
        gradients = torch.autograd.grad(loss, [current[name] for name in names], create_graph=True)
        if rule in ADAPTING and step > 0:
            moves = torch.autograd.grad(loss, list(xi.values()), create_graph=True, allow_unused=True)
            assert all(move is not None for move in moves)
            moves = [move.detach() if first_order else move for move in moves]
            xi = {name: value - inner_lr * move for (name, value), move in zip(xi.items(), moves, strict=True)}
        for name, gradient in zip(names, gradients, strict=True):
            gradient = gradient.detach() if first_order else gradient
            a = own(name, rule, xi)
            a = at(step, a) if rule.startswith("lslr") else a
            current[name] = current[name] - alpha * TRANSFORMS[rule](gradient, a)
    return current, xi


def meta_gradient(rule, params, xi, tasks, names, inner_lr, steps, first_order, downsample, transductive):
    """Sum over tasks of the gradient of the query loss by the initial parameters of network and rule."""
    total = 0.0
    for task in range(len(tasks)):
        support, query = tasks.support.images[task], tasks.query.images[task]
        labels = tasks.support.labels[task]
        adapted, own_xi = adapt(rule, params, xi, support, labels, names, inner_lr, steps, first_order, downsample)
        if transductive:
            logits = conv4(adapted, own_xi, query, downsample)
        else:
            logits = conv4(adapted, own_xi, torch.cat([support, query]), downsample, len(support))[len(support) :]
        total = total + F.cross_entropy(logits, tasks.query.labels[task])
    leaves = {**params, **xi}
    gradients = torch.autograd.grad(total, list(leaves.values()), materialize_grads=True)
    return float(total.detach()), dict(zip(leaves, gradients, strict=True))
