"""MAML++'s state dicts, with rates and norms of each inner step, against plain autograd on the same tensors."""

import pytest
import torch
import torch.nn.functional as F

from metaprobe.probe.importing import Wanted, import_weights
from metaprobe.trainers.adapt import adapt_as, query_logits
from metaprobe.trainers.checkpoint import load_checkpoint, save_checkpoint
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.rule_parameters import computed
from metaprobe.trainers.tasks.episodes import Examples

WAYS, FILTERS, SIZE, STEPS = 3, 4, 32, 3


def state(steps=STEPS, by_step=True, rates=True, prefix="classifier."):
    """Return what HowToTrainYourMAMLPytorch saves: max-pools, so that the head reads 2 × 2 positions."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape):
        return 0.3 * torch.randn(shape, generator=generator)

    found, norm = {}, (steps, FILTERS) if by_step else (FILTERS,)
    for i in range(4):
        found[f"conv{i}.conv.weight"] = drawn(FILTERS, 3 if i == 0 else FILTERS, 3, 3)
        found[f"conv{i}.conv.bias"] = drawn(FILTERS)
        found[f"conv{i}.norm_layer.weight"] = 1 + drawn(*norm)
        found[f"conv{i}.norm_layer.bias"] = drawn(*norm)
        found[f"conv{i}.norm_layer.running_mean"] = drawn(*norm)
    found |= {"linear.weights": drawn(WAYS, FILTERS * 4), "linear.bias": drawn(WAYS)}
    weights = {f"{prefix}layer_dict.{name}": value for name, value in found.items()}
    moving = [name for name in found if "norm" not in name]
    if rates:
        place = "inner_loop_optimizer.names_learning_rates_dict.layer_dict-{}"
        weights |= {place.format(name.replace(".", "-")): 0.2 + drawn(steps + 1) for name in moving}
    return weights


def reference(weights, support, query, rate=None):
    """Return the query logits after their inner loop, each batch normalised by itself, in float64."""
    own = {name.partition("layer_dict.")[2]: value.double() for name, value in weights.items() if "layer_dict." in name}
    moving = {name: value.requires_grad_() for name, value in own.items() if "norm" not in name}
    rates = {name.partition("layer_dict-")[2]: value.double() for name, value in weights.items() if "rates" in name}

    def logits(current, images, step):
        for i in range(4):
            images = F.conv2d(images, current[f"conv{i}.conv.weight"], current[f"conv{i}.conv.bias"], padding=1)
            scale, shift = (own[f"conv{i}.norm_layer.{what}"] for what in ("weight", "bias"))
            if scale.ndim == 2:
                scale, shift = scale[step], shift[step]
            images = F.batch_norm(images, None, None, scale, shift, training=True)
            images = F.max_pool2d(F.leaky_relu(images), 2)
        return F.linear(images.flatten(1), current["linear.weights"], current["linear.bias"])

    current = moving
    for step in range(STEPS):
        loss = F.cross_entropy(logits(current, support[0], step), support[1])
        gradients = torch.autograd.grad(loss, list(current.values()))
        current = {
            name: (value - (rate or rates[name.replace(".", "-")][step]) * gradient).detach().requires_grad_()
            for (name, value), gradient in zip(current.items(), gradients, strict=True)
        }
    return logits(current, query, STEPS - 1)


def task():
    generator = torch.Generator().manual_seed(1)
    support, query = (torch.rand(count, 3, SIZE, SIZE, generator=generator, dtype=torch.float64) for count in (6, 9))
    return (support, torch.tensor([0, 0, 1, 1, 2, 2])), query


def wanted(**options):
    return Wanted(WAYS, 3, SIZE, **{"inner_lr": 0.1, "inner_steps": STEPS, **options})


@pytest.mark.parametrize("by_step", [True, False], ids=["norms a step", "one norm"])
@pytest.mark.parametrize("rates", [True, False], ids=["rates", "one rate"])
@pytest.mark.parametrize("prefix", ["classifier.", ""])
def test_an_import_adapts_as_theirs_does(by_step, rates, prefix, tmp_path):
    weights = state(by_step=by_step, rates=rates, prefix=prefix)
    torch.save({"network": weights}, tmp_path / "w")
    found = import_weights(tmp_path / "w", wanted())
    told = dict(found.facts)
    assert "MAML++" in told["network"] and "leaky ReLU" in told["network"]
    save_checkpoint(tmp_path / "c.safetensors", found.checkpoint)
    checkpoint = load_checkpoint(tmp_path / "c.safetensors")
    assert checkpoint.adaptation == found.checkpoint.adaptation
    network = checkpoint.network().double()
    params = {name: value.double() for name, value in {**checkpoint.params, **checkpoint.rule}.items()}
    (images, labels), query = task()
    support = Examples(images[None], labels[None], torch.zeros(1, 6, dtype=torch.int64))
    queries = Examples(query[None], torch.zeros(1, 9, dtype=torch.int64), torch.zeros(1, 9, dtype=torch.int64))
    adapted = adapt_as(network, computed(params, checkpoint.adaptation), support, checkpoint.adaptation)
    ours = query_logits(network, adapted.params, support, queries)[0]
    theirs = reference(weights, (images, labels), query, None if rates else 0.1)
    assert (ours - theirs).abs().max() < 1e-10
    assert ("learned rates" in told["adapts"]) == rates
    assert ("each inner step" in told["norms"]) == by_step


@pytest.mark.parametrize(
    ("options", "steps", "what"),
    [
        ({"inner_steps": 5}, STEPS, r"its rates and norms are of 3 inner steps; give --inner-steps 3"),
        ({"adapts": "head"}, STEPS, r"all layers adapt; leave out --adapts head"),
    ],
)
def test_other_steps_or_layers_are_refused(options, steps, what, tmp_path):
    torch.save(state(steps), tmp_path / "w")
    with pytest.raises(MetaprobeError, match=what):
        import_weights(tmp_path / "w", wanted(**options))


def test_rates_and_norms_of_different_numbers_of_steps_are_refused(tmp_path):
    weights = state(STEPS)
    weights |= {name: value[:3] for name, value in state(STEPS).items() if "rates" in name}
    torch.save(weights, tmp_path / "w")
    with pytest.raises(MetaprobeError, match="rates and norms are of 2, 3 inner steps"):
        import_weights(tmp_path / "w", wanted())
