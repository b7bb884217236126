"""MAML++ written out plainly, one task at a time, with torch.nn.functional and autograd alone: the reference.

All parts are options of one loop: rates a tensor and step, losses after every step, first order, norms of a step.
"""

import torch
import torch.nn.functional as F

RATES, SETS = "update_rule.{}.rates", "update_rule.{}.steps"


def conv4(params, x, downsample, slope=0.0, n_context=None):
    for layer in ("conv1", "conv2", "conv3", "conv4"):
        x = F.conv2d(x, params[f"{layer}.conv.weight"], stride=2 if downsample == "stride" else 1, padding=1)
        context = x if n_context is None else x[:n_context]
        mean = context.mean(dim=(0, 2, 3), keepdim=True)
        variance = ((context - mean) ** 2).mean(dim=(0, 2, 3), keepdim=True)
        x = (x - mean) / torch.sqrt(variance + 1e-5)
        scale, shift = (params[f"{layer}.norm.{name}"].view(1, -1, 1, 1) for name in ("weight", "bias"))
        x = F.leaky_relu(x * scale + shift, slope)
        if downsample == "max-pool":
            x = F.max_pool2d(x, 2)
    x = x.mean(dim=(2, 3)) if downsample == "stride" else x.flatten(1)
    return x @ params["head.weight"].T + params["head.bias"]


def with_norms(current, leaves, step):
    """Put the norms' parameters of a step into what the network computes with: the first set is the network's own."""
    sets = {name: leaves.get(SETS.format(name)) for name in current}
    at = {n: torch.cat([leaves[n][None], more]) for n, more in sets.items() if more is not None}
    return current | {name: values[min(step, len(values) - 1)] for name, values in at.items()}


def path(leaves, images, labels, names, inner_lr, steps, first_order=False, downsample="max-pool", slope=0.0):
    """Return the weights after each step, what a query is classified with."""
    current = {name: value for name, value in leaves.items() if not name.startswith("update_rule.")}
    found = []
    for step in range(steps):
        current = with_norms(current, leaves, step)
        loss = F.cross_entropy(conv4(current, images, downsample, slope), labels)
        moving = [current[name] for name in names]
        gradients = torch.autograd.grad(loss, moving, create_graph=True) if moving else ()
        for name, gradient in zip(names, gradients, strict=True):
            rates = leaves.get(RATES.format(name))
            rate = inner_lr if rates is None else rates[min(step, len(rates) - 1)]
            current[name] = current[name] - rate * (gradient.detach() if first_order else gradient)
        found.append(dict(current))
    return found


def meta_gradient(leaves, tasks, names, inner_lr, steps, transductive=True, weights=(), **options):
    """Return the sum over tasks of the weighted query losses, the last one's accuracies, and the gradient by leaves."""
    total, right = 0.0, 0.0
    seen = {name: value for name, value in options.items() if name in ("downsample", "slope")}
    seen.setdefault("downsample", "max-pool")
    for task in range(len(tasks)):
        support, query, wanted = tasks.support.images[task], tasks.query.images[task], tasks.query.labels[task]
        states = path(leaves, support, tasks.support.labels[task], names, inner_lr, steps, **options)
        for weight, state in zip(weights or (*[0.0] * (steps - 1), 1.0), states, strict=True):
            images = query if transductive else torch.cat([support, query])
            n_context = None if transductive else len(support)
            logits = conv4(state, images, **seen, n_context=n_context)[-len(query) :]
            total = total + weight * F.cross_entropy(logits, wanted)
        right += float((logits.argmax(1) == wanted).double().mean())
    gradients = torch.autograd.grad(total, list(leaves.values()), materialize_grads=True)
    return float(total.detach()), right, dict(zip(leaves, gradients, strict=True))
