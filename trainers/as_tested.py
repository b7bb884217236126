"""A checkpoint made ready for a test that is otherwise than its training was."""

from __future__ import annotations

import dataclasses

from metaprobe.trainers.checkpoint import Checkpoint
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.modulations import modulation_named
from metaprobe.trainers.networks import build_network, layer_of
from metaprobe.trainers.otherwise import Otherwise
from metaprobe.trainers.rule_parameters import begin_rule
from metaprobe.trainers.update_rules import owned, rule_named

__all__ = ["as_tested"]


def as_tested(checkpoint: Checkpoint, otherwise: Otherwise) -> Checkpoint:
    """Return a checkpoint with the head, tasks and rate of a test; equal to itself where nothing is otherwise.

    A head for another number of classes is drawn as the network draws heads, with the seed of the run, so that the
    untrained network of that seed has the same one; the body is left as it is. What an update rule has of that head
    starts anew, too.

    Args:
        checkpoint: the learner.
        otherwise: what is changed.

    Raises:
        MetaprobeError: it has several initialisations, whose heads are for the trained number of classes, or embeds
            tasks by so many; or it has an update rule with rates of its own, and another rate is asked for.
    """
    config, adaptation, shape = checkpoint.config, checkpoint.adaptation, checkpoint.network_config
    if otherwise.n_shot is not None:
        config = dataclasses.replace(config, n_shot=otherwise.n_shot)
    if otherwise.inner_lr not in (None, adaptation.inner_lr):
        if rule_named(adaptation.rule).sets_rate:
            told = f"this learner's rates are those that its update rule {adaptation.rule} has learned"
            raise MetaprobeError(f"--inner-lr {otherwise.inner_lr:g} would change nothing: {told}; leave it out")
        adaptation = dataclasses.replace(adaptation, inner_lr=otherwise.inner_lr)
    changed = dataclasses.replace(checkpoint, config=config, adaptation=adaptation)
    if otherwise.n_way is None or otherwise.n_way == shape.n_way:
        return changed
    if checkpoint.clusters is not None:
        raise MetaprobeError(
            f"--n-way {otherwise.n_way} needs a new head, and this learner of {config.algorithm} has "
            f"{checkpoint.clusters.count} initialisations whose heads are part of what tells them apart; test it at "
            f"{shape.n_way} ways"
        )
    if adaptation.modulation and modulation_named(adaptation.modulation).of_classes:
        told = f"{config.algorithm} embeds a task by its images and the labels of {shape.n_way} classes"
        raise MetaprobeError(f"--n-way {otherwise.n_way} does not fit: {told}; test it at {shape.n_way} ways")
    shape = dataclasses.replace(shape, n_way=otherwise.n_way)
    drawn = build_network(shape, config.seed)
    head = drawn.layer_names[-1]
    fresh = {name: value.detach() for name, value in drawn.named_parameters() if layer_of(name) == head}
    begun = begin_rule(drawn, adaptation, config)
    names = [name for name in drawn.state_dict() if layer_of(name) == head]
    rule = {**checkpoint.rule, **{full: begun[full] for name in names for full in owned(begun, name).values()}}
    return dataclasses.replace(
        changed,
        rule=rule,
        params={name: fresh.get(name, value) for name, value in checkpoint.params.items()},
        config=dataclasses.replace(config, n_way=shape.n_way),
        network_config=shape,
    )
