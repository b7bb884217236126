"""What made a study: kept beside its tables, so that a page can be made from those alone."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NamedTuple

from metaprobe.reports.wording import listed
from metaprobe.trainers.config import from_mapping
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.formats.strict_json import parse_json

__all__ = ["Differs", "Made", "Trained"]


class Trained(NamedTuple):
    """A learner of a study, as its page tells of it."""

    key: str
    label: str
    parameters: int  # of its network
    steps: int  # outer steps of its training; 0 of a network that is never trained
    tasks: int  # in an outer step
    head_of: str = ""  # key of the learner whose finished body it is a head for


class Differs(NamedTuple):
    """A condition under which a study was made that is not its paper's."""

    what: str
    paper: str
    here: str


@dataclass(frozen=True)
class Made:
    """What made a study; nothing in it may differ between two runs of the same command."""

    study: str  # its name in the registry
    data: str  # name of the data set
    data_facts: tuple[tuple[str, str], ...]  # (name, value) pairs about it
    n_way: int  # classes of a task
    n_shot: int  # support images of a class
    n_query: int  # query images of a class in training
    test_queries: int  # query images of a class in tests
    trained_steps: int  # inner-loop steps in training
    inner_lr: float  # step size of the inner loop, on the mean loss
    layers: tuple[str, ...] = ()  # of the network, the head last; empty where that is not known
    learners: tuple[Trained, ...] = ()  # in the study's order
    commands: tuple[str, ...] = ()  # the commands that make the report again
    configs: tuple[tuple[str, str, str], ...] = ()  # (label of the run, key, value)
    checkpoints: tuple[tuple[str, str], ...] = ()  # (label, fingerprint in hexadecimal digits)
    versions: tuple[tuple[str, str], ...] = ()  # (package, version)
    notes: tuple[str, ...] = ()  # remarks on this study
    stores: tuple[tuple[str, str, str], ...] = ()  # (label, SHA-256, id of the checkpoint) of each activation store
    missing: tuple[tuple[str, str, str], ...] = ()  # (step, how it ended, why) of each step that was not done
    test_steps: int = 0  # inner-loop steps of the tests that verdicts rest on; 0: as many as in training
    differs: tuple[Differs, ...] = ()  # where the conditions are not those of the paper

    def __post_init__(self) -> None:
        for name in ("n_way", "n_shot", "n_query", "test_queries", "trained_steps"):
            if not 0 < getattr(self, name) < 2**31:  # as a damaged file may say; chance is 1 / n_way
                raise MetaprobeError(f"{name} must be at least 1 and below 2³¹; got {getattr(self, name)}")

    @property
    def task(self) -> str:
        """The kind of task, as in "5-way 1-shot"."""
        return f"{self.n_way}-way {self.n_shot}-shot"

    @property
    def data_name(self) -> str:
        """What sentences call the data: "signs, objects and omniglot"; a folder of classes by its own name."""
        told = next((v for _, key, v in self.configs if key == "data"), "") if self.data == "class_folder" else ""
        parts = re.split(r"[,+]", (told or self.data).removeprefix("mixture:"))
        return listed([PurePath(part.removeprefix("class_folder:")).stem for part in parts])

    def to_json(self) -> str:
        """Return it as the text of tables/made.json; half surrogate pairs, of names that are no UTF-8, as escapes."""
        text = json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False) + "\n"
        return re.sub("[\ud800-\udfff]", lambda half: rf"\\u{ord(half[0]):04x}", text)

    @classmethod
    def read(cls, path: Path) -> Made:
        """Read what `to_json` wrote; a file that is missing or says something else is `UnreadableInput`."""
        try:
            told = parse_json(path.read_bytes().decode("utf-8"))
        except (OSError, ValueError) as error:
            raise UnreadableInput(f"{path}: cannot be read: {error}") from error
        fields = {field.name for field in dataclasses.fields(cls)}
        if isinstance(told, dict):  # of tables that were written before there were these
            told = {"test_steps": 0, "differs": []} | told
        if not isinstance(told, dict) or set(told) != fields:
            raise UnreadableInput(f"{path}: expected an object with {', '.join(sorted(fields))}")
        return from_mapping(cls, told, str(path))
