"""The algorithms, one file each, and the registry that the command line reads."""

from trainers.algorithms.anil import ANIL
from trainers.algorithms.base import Algorithm, MetaGradient, meta_gradient
from trainers.algorithms.fomaml import FOMAML
from trainers.algorithms.maml import MAML
from trainers.errors import unknown_name

__all__ = ["ALGORITHMS", "Algorithm", "MetaGradient", "algorithm_named", "meta_gradient"]

ALGORITHMS: dict[str, Algorithm] = {algorithm.name: algorithm for algorithm in (MAML, FOMAML, ANIL)}


def algorithm_named(name: str) -> Algorithm:
    """Return an algorithm of the registry.

    Raises:
        MetaprobeError: there is none of that name; the message lists them.
    """
    if name not in ALGORITHMS:
        raise unknown_name("algorithm", name, ALGORITHMS)
    return ALGORITHMS[name]
