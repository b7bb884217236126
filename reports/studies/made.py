"""What made a study, and the section of its page that says so."""

from __future__ import annotations

from dataclasses import dataclass

from reports.page import Block, Cell, PageTable, Section, Statement

__all__ = ["HowMade", "made_section"]


@dataclass(frozen=True)
class HowMade:
    """What made a study, for its page: nothing in it may differ between two runs of the same command.

    Attributes:
        data: name of the data set.
        data_facts: (name, value) pairs about it.
        n_way: classes of a task.
        n_shot: support images of a class.
        n_query: query images of a class in training.
        test_queries: query images of a class in tests.
        trained_steps: inner-loop steps in training.
        commands: the commands that make the report again.
        configs: (label of the run, key, value).
        checkpoints: (label, fingerprint in hexadecimal digits).
        versions: (package, version).
        notes: remarks on this study.
        stores: (label, SHA-256, id of the checkpoint) of each activation store.
        missing: (step, how it ended, why) of each step that was not done.
    """

    data: str
    data_facts: tuple[tuple[str, str], ...]
    n_way: int
    n_shot: int
    n_query: int
    test_queries: int
    trained_steps: int
    commands: tuple[str, ...]
    configs: tuple[tuple[str, str, str], ...] = ()
    checkpoints: tuple[tuple[str, str], ...] = ()
    versions: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    stores: tuple[tuple[str, str, str], ...] = ()
    missing: tuple[tuple[str, str, str], ...] = ()


def made_section(made: HowMade) -> Section:
    """Return the section with the commands, configurations, checkpoints and versions."""
    labels = tuple(dict.fromkeys(label for label, _, _ in made.configs))
    values = {(label, key): value for label, key, value in made.configs}
    keys = tuple(dict.fromkeys(key for _, key, _ in made.configs))
    blocks: list[Block] = [Statement(made.commands, code=True)]
    if made.missing:
        rows = tuple((Cell(name), Cell(ending, mark="bad"), Cell(why)) for name, ending, why in made.missing)
        caption = (
            "Steps that were not done: what rests on them is missing from this page. The same command tries again."
        )
        blocks.append(PageTable("missing-steps", caption, ("Step", "Ended", "Why"), rows))
    if made.notes:
        blocks.append(Statement(made.notes))
    settings = {key: tuple(values.get((label, key), "\N{EM DASH}") for label in labels) for key in keys}
    shared = tuple((Cell(key), Cell(told[0])) for key, told in settings.items() if len(set(told)) == 1)
    own = {key: told for key, told in settings.items() if len(set(told)) > 1}
    if own:  # a line each training: there may be many, and they differ in little
        lines = tuple((Cell(label), *map(Cell, told)) for label, *told in zip(labels, *own.values(), strict=True))
        blocks.append(PageTable("settings", "Settings in which the trainings differ.", ("Training", *own), lines))
    if shared:
        caption = "Settings that all trainings share."
        blocks.append(PageTable("shared-settings", caption, ("Setting", "Value"), shared))
    if made.checkpoints:
        rows = tuple((Cell(label), Cell(fingerprint)) for label, fingerprint in made.checkpoints)
        caption = (
            "Checkpoints and the SHA-256 of their weights; its first 12 digits stand in the column “checkpoint” of the "
            "CSV files."
        )
        blocks.append(PageTable("checkpoints", caption, ("Checkpoint", "Fingerprint"), rows))
    if made.stores:
        rows = tuple((Cell(label), Cell(checkpoint), Cell(sha)) for label, sha, checkpoint in made.stores)
        caption = (
            "Activation stores and the SHA-256 of their files; its first 12 digits stand in the column “source” of the "
            "CSV files. It names the versions and the number of threads too, so that another machine has others."
        )
        blocks.append(PageTable("stores", caption, ("Store", "Checkpoint", "SHA-256"), rows))
    if made.versions:
        rows = tuple((Cell(package), Cell(version)) for package, version in made.versions)
        blocks.append(PageTable("versions", "Software.", ("Package", "Version"), rows))
    return Section("made", "How it was made", ("These commands make this report again.",), (), tuple(blocks))
