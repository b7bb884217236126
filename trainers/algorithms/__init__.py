"""The algorithms, one file each, and the registry that the command line reads."""

from metaprobe.trainers.algorithms.anil import ANIL
from metaprobe.trainers.algorithms.base import Algorithm, MetaGradient, TestHead, episodes, meta_gradient
from metaprobe.trainers.algorithms.fomaml import FOMAML
from metaprobe.trainers.algorithms.hsml import HSML
from metaprobe.trainers.algorithms.imaml import IMAML
from metaprobe.trainers.algorithms.maml import MAML
from metaprobe.trainers.algorithms.maml_head import MAML_HEAD
from metaprobe.trainers.algorithms.maml_pp import MAML_PP
from metaprobe.trainers.algorithms.matching import MATCHING
from metaprobe.trainers.algorithms.meta_lstm import META_LSTM
from metaprobe.trainers.algorithms.mmaml import MMAML
from metaprobe.trainers.algorithms.multiclass import MULTICLASS
from metaprobe.trainers.algorithms.multitask import MULTITASK
from metaprobe.trainers.algorithms.nil import NIL
from metaprobe.trainers.algorithms.random import RANDOM
from metaprobe.trainers.algorithms.reptile import REPTILE
from metaprobe.trainers.algorithms.tsa_maml import TSA_MAML
from metaprobe.trainers.clustering.settings import Clustering
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.errors import MetaprobeError, entry_named, flag_of
from metaprobe.trainers.plugins import Registry
from metaprobe.trainers.update_rules.asked import check_rule

__all__ = ["ALGORITHMS", "Algorithm", "MetaGradient", "TestHead", "algorithm_named", "check_options", "meta_gradient"]

_ALL = (MAML, MAML_PP, FOMAML, ANIL, NIL, MATCHING, MULTICLASS, MULTITASK, RANDOM, MAML_HEAD, REPTILE, IMAML)
_ALL += (MMAML, HSML, META_LSTM, TSA_MAML)

ALGORITHMS = Registry("algorithms", Algorithm, _ALL)


def algorithm_named(name: str) -> Algorithm:
    """Return an algorithm of the registry.

    Raises:
        MetaprobeError: there is none of that name; the message lists them.
    """
    return entry_named("algorithm", name, ALGORITHMS)


def check_options(algorithm: Algorithm, config: TrainConfig, ranks: int = 1) -> None:
    """Refuse a run whose options its algorithm does not have, or lacks.

    Raises:
        MetaprobeError: an option belongs to another algorithm, --base is missing, or what was asked for cannot be done.
    """
    for other in ALGORITHMS.values():
        for name in sorted(other.options - algorithm.options):
            if getattr(config, name) not in (None, False):
                raise MetaprobeError(f"{flag_of(name)} is an option of {other.name}; {algorithm.name} has none")
    if config.loss == "mse" and not algorithm.regression:
        able = ", ".join(name for name, other in ALGORITHMS.items() if other.regression)
        raise MetaprobeError(f"{algorithm.name} needs classes, and {config.data} asks for numbers; choose {able}")
    if algorithm.needs_base and config.base is None:
        raise MetaprobeError(f"{algorithm.name} starts from a checkpoint; name one with --base CHECKPOINT")
    if not algorithm.takes_base and config.base is not None:
        raise MetaprobeError(f"{algorithm.name} starts from drawn weights; leave out --base {config.base}")
    parts = ("body", *("linear layer" for _ in config.linnet), "head")  # of any network
    check_rule(config, algorithm.adaptation(config, parts), parts)
    if algorithm.cluster is not None:
        Clustering.of(config)
    if config.rotate_classes and algorithm.batches is not episodes:
        told = f"--rotate-classes turns the classes of tasks, and {algorithm.name} is trained on none"
        raise MetaprobeError(f"{told}; leave it out")
    if config.compile and config.multi_step_loss:
        told = "--compile makes one program, and under --multi-step-loss each iteration would need one"
        raise MetaprobeError(f"{told}; leave --compile out, or say --multi-step-loss 0")
    if config.compile and config.step_statistics:
        told = "--compile makes a program of gradients alone, which collects no --step-statistics running"
        raise MetaprobeError(f"{told}; leave one out")
    if config.compile and algorithm.adaptation(config, parts).modulation:
        told = f"--compile is not for {algorithm.name}, whose embedding of tasks is not compiled"
        raise MetaprobeError(f"{told}; leave it out")
    if algorithm.cluster is not None and ranks > 1:
        raise MetaprobeError(f"{algorithm.name} runs in one process, which uses all cores; got --workers {ranks}")
