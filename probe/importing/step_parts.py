"""What MAML++'s code (HowToTrainYourMAMLPytorch) keeps for each inner step: rates, and the norms' scale and shift."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.formats.tensor_names import UPDATE_RULE

__all__ = ["StepParts", "without_steps"]

_CLASSIFIER = "classifier."
_RATE = r"inner_loop_optimizer\.names_learning_rates_dict\.(?P<place>layer_dict-[\w-]+)"
_NORM = r"layer_dict\.conv(?P<block>\d+)\.norm_layer\.(?P<what>weight|bias)"
_HEAD = {"layer_dict-linear-weights": "head.weight", "layer_dict-linear-bias": "head.bias"}


@dataclass(frozen=True)
class StepParts:
    """What a learner has for each of its inner steps.

    Attributes:
        rule: rates of tensors, and the norms' sets beside the first, by our full names.
        steps: how many inner steps they are for; 0 where there are none.
        rates: whether there are rates.
        norms: whether norms have sets of their own.
    """

    rule: Mapping[str, Tensor]
    steps: int
    rates: bool
    norms: bool

    @property
    def norms_told(self) -> str:
        """What its norms do, in words."""
        own = "a scale and shift for each inner step" if self.norms else "one scale and shift"
        return f"{own}, which do not adapt, as in its code; each batch's own statistics"

    def check(self, inner_steps: int, adapts: str | None) -> None:
        """Refuse parts of steps under another number of them, or where not all layers are to adapt.

        Raises:
            MetaprobeError: they do not fit what was asked for.
        """
        told = ""
        if self.steps and self.steps != inner_steps:
            told = f"its rates and norms are of {self.steps} inner steps; give --inner-steps {self.steps}"
        elif self.steps and adapts not in (None, "all"):
            told = f"with its rates and norms of each step all layers adapt; leave out --adapts {adapts}"
        if told:
            raise MetaprobeError(f"these are weights of MAML++: {told}")


def without_steps(given: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], StepParts]:
    """Return MAML++'s tensors as those of a network without steps, norms as the first step has them, and the others.

    Of S + 1 rates its code never uses the last (LSLR); of S sets of norms step i takes the i-th (BNWB). Rates of biases
    that the norm after them subtracts change nothing and are left out.

    Raises:
        MetaprobeError: the parts are not of one number of steps.
    """
    own = {name.removeprefix(_CLASSIFIER): value for name, value in given.items()}
    rates = {
        _ours(found["place"]): own.pop(name).detach()[:-1]
        for name in given
        if (found := re.fullmatch(_RATE, name)) and given[name].ndim == 1
    }
    norms = {}
    for name, value in own.items():
        if (found := re.fullmatch(_NORM, name)) and value.ndim == 2:
            norms[f"conv{int(found['block']) + 1}.norm.{found['what']}"] = value
            own[name] = value[0]
    counts = {len(value) for value in (*rates.values(), *norms.values())}
    if len(counts) > 1:
        told = ", ".join(map(str, sorted(counts)))
        raise MetaprobeError(
            f"these are weights of MAML++ whose rates and norms are of {told} inner steps; one expected"
        )
    rule = {f"{UPDATE_RULE}{name}.rates": value for name, value in rates.items() if name}
    rule |= {f"{UPDATE_RULE}{name}.steps": value[1:] for name, value in norms.items() if len(value) > 1}
    return own, StepParts(rule, max(counts, default=0), bool(rates), bool(norms))


def _ours(place: str) -> str:
    """Return our name of the tensor that a rate is of, "" where we have none."""
    found = re.fullmatch(r"layer_dict-conv(\d+)-conv-weight", place)
    return f"conv{int(found[1]) + 1}.conv.weight" if found else _HEAD.get(place, "")
