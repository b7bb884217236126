"""The card of a checkpoint, as the Hub shows it: what it is, how it was trained, how good it is, how to open it."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterable, Iterator

from metaprobe.probe.importing.runs import import_command, is_imported
from metaprobe.trainers.algorithms import ALGORITHMS
from metaprobe.trainers.checkpoint import Checkpoint
from metaprobe.trainers.command import train_command
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.formats.text import count, visible
from metaprobe.trainers.task_kinds import KINDS
from metaprobe.trainers.tasks import DATASETS
from metaprobe.trainers.user_code import is_code

__all__ = ["LIBRARY", "card"]

LIBRARY = "metaprobe"


def card(checkpoint: Checkpoint, repo: str, licence: str | None = None) -> str:
    """Return the card as Markdown with the Hub's YAML in front.

    Paths of the machine that trained it are not in it: data and base are named by what they are.

    Args:
        checkpoint: what the card is of.
        repo: where it will be found.
        licence: as the Hub spells it; None for none told.
    """
    return "\n".join((*_front(checkpoint, licence), *_body(checkpoint, repo))) + "\n"


def _front(checkpoint: Checkpoint, licence: str | None) -> Iterator[str]:
    tags = ("meta-learning", "few-shot-learning", checkpoint.config.algorithm, _data(checkpoint.config))
    yield from ("---", f"library_name: {LIBRARY}")
    if licence is not None:
        yield f"license: {json.dumps(licence)}"
    yield f"tags: {json.dumps([visible(tag) for tag in tags])}"  # JSON is YAML, and quotes what is given
    yield from ("---", "")


def _body(checkpoint: Checkpoint, repo: str) -> Iterator[str]:
    config, how = checkpoint.config, checkpoint.adaptation
    entry = ALGORITHMS.get(config.algorithm)
    data, weights = _data(config), sum(value.numel() for value in checkpoint.params.values())
    imported, network = is_imported(checkpoint), checkpoint.network_config.name
    steps = count(how.steps, "step")
    taken = "taken for " if imported and entry else ""
    yield f"# {config.algorithm} on {data}, {config.n_way}-way {config.n_shot}-shot\n"
    as_what = "as was said when they were imported" if imported else "as in training"
    yield f"A few-shot learner: weights, and all that is needed to adapt them to a task {as_what}.\n"
    yield from _table((
        ("algorithm", f"{taken}{config.algorithm}: {entry.summary}" if entry else config.algorithm),
        ("network", f"{network}, {weights:,} weights"),
        ("trained on", _about_data(config)),
        ("iterations", "not known" if imported else _about_iterations(checkpoint)),
        ("adapts", f"{', '.join(how.layers) or 'nothing'}: {steps} of {how.rule}, rate {how.inner_lr:g}"),
        ("checkpoint", checkpoint.fingerprint[:12]),
        *((name, str(checkpoint.provenance[name])) for name in ("metaprobe", "torch") if name in checkpoint.provenance),
    ))  # fmt: skip
    yield "\n## How good it is\n"
    yield from _metrics(checkpoint)
    yield "\n## How it was trained\n"
    yield from _training(checkpoint)
    yield "\n## Open it\n"
    code = f" --network {visible(shlex.quote(network))}" if is_code(network) else ""
    yield f"```sh\npip install {LIBRARY}\nmetaprobe pull {repo} --out mine.safetensors\n"
    yield f"metaprobe inspect mine.safetensors --stats\nmetaprobe evaluate mine.safetensors --data SET{code}"
    yield f"metaprobe freeze mine.safetensors --data SET{code}\n```\n"
    if code:
        yield f"The network is code, `{visible(network)}`, that is not in the file: Python must find it.\n"
    yield "`SET` is a data set of metaprobe's, or images of yours: `metaprobe list datasets`. The file is safetensors;"
    yield "nothing in it is executed."
    yield "\n## Citation\n"
    if entry:
        yield f"- The algorithm: {entry.citation}."
    yield "- metaprobe: what a meta-learner reuses and what it relearns. The metaprobe developers; its `CITATION.cff`."


def _training(checkpoint: Checkpoint) -> Iterator[str]:
    config = _shareable(checkpoint.config)
    if is_imported(checkpoint):
        name = visible(str(checkpoint.provenance["imported"]))
        yield f"Elsewhere: its weights were imported from {name}, and how they were trained is not known. The import,"
        yield "as far as the file tells it:\n"
        command = import_command(dataclasses.replace(checkpoint, config=config), "mine")
    else:
        command = train_command(config, "runs/mine")
    yield f"```sh\n{visible(command)}\n```"


def _metrics(checkpoint: Checkpoint) -> Iterator[str]:
    kind, found = KINDS[checkpoint.config.loss], checkpoint.metrics
    value, half = (found.get(f"val_{kind.metric}{end}") for end in ("", "_half_width"))
    if value is None:
        yield "Its file tells no validation; `metaprobe evaluate` does a test."
        return
    digits = 1 if kind.unit else 3
    width = "" if half is None else f" ± {half:.{digits}f}"
    where = f"{checkpoint.config.val_tasks} validation tasks"
    name = kind.metric.replace("_", " ")
    yield f"Validation {name} {value:.{digits}f}{width}{kind.unit} (95 % interval over {where}, whose classes training"
    yield "did not see). It chose nothing but when to keep `best`; a test is `metaprobe evaluate`."


def _about_iterations(checkpoint: Checkpoint) -> str:
    config = checkpoint.config
    return f"{checkpoint.iteration:,} of {config.iterations:,}, {config.meta_batch} tasks each"


def _about_data(config: TrainConfig) -> str:
    entry = DATASETS.get(_data(config))
    return f"{_data(config)}: {entry.summary}" if entry else _data(config)


def _data(config: TrainConfig) -> str:
    """Return the name of the data, without a path of the machine that they are on."""
    name, _, parts = config.data.partition(":")
    return f"{name} of {parts}" if name == "mixture" and "/" not in parts else name or "unknown data"


def _shareable(config: TrainConfig) -> TrainConfig:
    name, colon, parts = config.data.partition(":")
    entry = DATASETS.get(name)
    hidden = colon and ("/" in parts or name != "mixture")
    data = f"{name}:{entry.argument if entry else '…'}" if hidden else config.data
    return dataclasses.replace(config, data=data or "SET", base=config.base and "BASE.safetensors")


def _table(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield from ("| | |", "|---|---|")
    for name, value in rows:
        yield f"| {name} | {visible(value).replace('|', chr(92) + '|')} |"
