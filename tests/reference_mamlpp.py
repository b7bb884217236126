"""MAML++ written out plainly, one task at a time, with torch.nn.functional and autograd alone: the reference.

All parts are options of one loop: rates a tensor and step, losses after every step, first order, norms of a step,
running statistics of a step.
"""

import torch
import torch.nn.functional as F

RATES, SETS = "update_rule.{}.rates", "update_rule.{}.steps"


def conv4(params, x, downsample, slope=0.0, n_context=None, given=None, seen=None):
    for layer in ("conv1", "conv2", "conv3", "conv4"):
        x = F.conv2d(x, params[f"{layer}.conv.weight"], stride=2 if downsample == "stride" else 1, padding=1)
        context = x if n_context is None else x[:n_context]
        mean = context.mean(dim=(0, 2, 3), keepdim=True)
        variance = ((context - mean) ** 2).mean(dim=(0, 2, 3), keepdim=True)
        if seen is not None:
            count = context.numel() // context.shape[1]
            seen[layer] = (mean.detach().flatten(), variance.detach().flatten() * count / (count - 1))
        if given is not None:
            mean, variance = (value.view(1, -1, 1, 1) for value in given[layer])
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


def batch_statistics(leaves, tasks, names, inner_lr, steps, transductive=True, **options):
    """Return of each pass of a test, by layer, the sums over tasks of its means and unbiased variances, (steps + 1, C).

    The passes are those of the support set under the weights before each step, and the query set's after the last.
    """
    seen = {name: value for name, value in options.items() if name in ("downsample", "slope")}
    seen.setdefault("downsample", "max-pool")
    sums = {}
    for task in range(len(tasks)):
        support, query = tasks.support.images[task], tasks.query.images[task]
        start = {name: value for name, value in leaves.items() if not name.startswith("update_rule.")}
        states = [start, *path(leaves, support, tasks.support.labels[task], names, inner_lr, steps, **options)]
        for number, state in enumerate(states):
            last, found = number == steps, {}
            images = torch.cat([support, query]) if last and not transductive else query if last else support
            at = state if last else with_norms(state, leaves, number)
            conv4(at, images, **seen, n_context=None if transductive or not last else len(support), seen=found)
            for layer, values in found.items():
                for name, value in zip(("mean", "variance"), values, strict=True):
                    rows = sums.setdefault(f"update_rule.{layer}.norm.{name}", [0.0] * (steps + 1))
                    rows[number] = rows[number] + value
    return {name: torch.stack(rows) for name, rows in sums.items()}


def logits_by_sets(leaves, images, labels, query, names, inner_lr, steps, downsample="max-pool"):
    """Return one task's query logits after each of 0 … steps, every pass normalised by the running statistics."""
    layers = ("conv1", "conv2", "conv3", "conv4")

    def given(step):
        sets = {
            layer: [leaves[f"update_rule.{layer}.norm.{name}"] for name in ("mean", "variance")] for layer in layers
        }
        return {layer: [value[min(step, len(value) - 1)] for value in both] for layer, both in sets.items()}

    current = {name: value for name, value in leaves.items() if not name.startswith("update_rule.")}
    found = [conv4(current, query, downsample, given=given(0))]
    for step in range(steps):
        current = with_norms(current, leaves, step)
        loss = F.cross_entropy(conv4(current, images, downsample, given=given(step)), labels)
        gradients = torch.autograd.grad(loss, [current[name] for name in names])
        for name, gradient in zip(names, gradients, strict=True):
            current[name] = current[name] - inner_lr * gradient
        found.append(conv4(current, query, downsample, given=given(step + 1)))
    return torch.stack(found)
