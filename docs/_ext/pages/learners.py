"""A page an algorithm and a page an update rule, and one with all of each."""

from __future__ import annotations

import sys

from metaprobe.trainers.algorithms import ALGORITHMS, Algorithm
from metaprobe.trainers.config import NetworkConfig, TrainConfig
from metaprobe.trainers.networks import build_network
from metaprobe.trainers.rule_parameters import slots_of
from metaprobe.trainers.update_rules import UPDATE_RULES, UpdateRule
from pages.markdown import about, bullets, contents, fenced, plain, table

__all__ = ["pages"]

_STARTS = {"identity": "the identity", "ones": "ones", "zeros": "zeros", "rate": "the inner rate", "tensor": "a copy"}
_LAYERS = ("conv1", "conv2", "conv3", "conv4", "head")
_NETWORK = NetworkConfig(
    "conv4", n_way=5, channels=1, image_size=28, filters=64, downsample="stride", norm="transductive"
)


def pages() -> dict[str, str]:
    """Return the pages by their names."""
    made = {f"algorithms/{name}": _algorithm(entry) for name, entry in ALGORITHMS.items()}
    made |= {f"update_rules/{name}": _rule(entry) for name, entry in UPDATE_RULES.items()}
    introductions = {
        "algorithms": "# Algorithms\n\nWhat trains a learner: `metaprobe train ALGORITHM --data SET`. More on how they "
        "go together: [learners](../learners.md).",
        "update_rules": "# Update rules\n\nWhat makes an inner step of a gradient: φ ← φ − αU(g), `metaprobe train "
        "maml --data SET --update-rule RULE`. More: [learners](../learners.md).",
    }
    for kind, entries in (("algorithms", ALGORITHMS), ("update_rules", UPDATE_RULES)):
        listed = table((kind[:-1].replace("_", " "), ""), [(f"[{name}]({name}.md)", plain(entry.summary))
                                                          for name, entry in entries.items()])  # fmt: skip
        made[f"{kind}/index"] = "\n\n".join((introductions[kind], listed, contents(entries)))
    return made


def _algorithm(entry: Algorithm) -> str:
    config = TrainConfig(entry.name, "glyphs", base="CHECKPOINT" if entry.needs_base else None)
    base = "must be told" if entry.needs_base else "may be told" if entry.takes_base else "is not taken"
    facts = [
        ("adapts at test time", ", ".join(entry.adaptation(config, _LAYERS).layers) or "nothing"),
        ("validation reads its features by", f"its {entry.head} head" if entry.head == "own" else "the NIL head"),
        ("`--base CHECKPOINT`", base + (", its head is left behind" if entry.new_head else "")),
        ("tasks that ask for numbers (regression)", "yes" if entry.regression else "no"),
        ("options of its own", ", ".join(f"`--{name.replace('_', '-')}`" for name in sorted(entry.options)) or "none"),
    ]
    command = f"metaprobe train {entry.name} --data glyphs" + " --base CHECKPOINT" * entry.needs_base
    defaults = [f"`{name} = {value}`" for name, value in entry.defaults(config).items()]
    usual = ["## Where nothing else is told", f"Of {config.iterations:,} iterations:", bullets(defaults)]
    module = sys.modules[f"metaprobe.trainers.algorithms.{entry.name}"]
    return "\n\n".join([
        f"# {entry.name}\n\n{plain(entry.summary)}",
        about(module),
        fenced(command, "sh"),
        table(("in the conv4", ""), facts),
        *(usual if defaults else []),
        f"Source: {plain(entry.citation)}.",
        "[All options of a training](../commands/train.md)",
    ])  # fmt: skip


def _rule(entry: UpdateRule) -> str:
    facts = [
        ("the rate is in it", "yes: α is not multiplied to it" if entry.sets_rate else "no"),
        ("its parameters take inner steps, too", "yes" if entry.adapts else "no"),
        ("asks that every layer adapts", entry.every_layer or "no"),
    ]
    return "\n\n".join([
        f"# {entry.name}\n\n{plain(entry.summary)}",
        about(sys.modules[entry.transform.__module__]),
        f"U(g): {about(entry.transform).removeprefix('Return ')}",
        fenced(f"metaprobe train maml --data glyphs --update-rule {entry.name}", "sh"),
        table(("", ""), facts),
        "## What it learns",
        _learned(entry),
        f"Source: {plain(entry.citation)}.",
    ])  # fmt: skip


def _learned(entry: UpdateRule) -> str:
    """Return what of a rule belongs to one convolution and to the head, and how much it is in all."""
    config = TrainConfig("maml", "glyphs", update_rule=None if entry.name == "sgd" else entry.name)
    slots = slots_of(build_network(_NETWORK, 0), ALGORITHMS["maml"].adaptation(config, _LAYERS))
    if not slots:
        return "Nothing."
    rows = [
        (f"`{name.removeprefix('update_rule.')}`", " × ".join(map(str, slot.shape)), _STARTS[slot.start])
        for name, slot in slots.items()
        if ".conv2." in name or ".head." in name
    ]
    told = "Of the second convolution and the head of a conv4 of 64 filters, 5 ways, 5 inner steps:"
    return f"{told}\n\n{table(('parameter', 'shape', 'starts as'), rows)}"
