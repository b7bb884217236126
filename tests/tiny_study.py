"""A third study, declared on made-up data, and what tests of studies share: tiny options, pictures, what is left."""

import contextlib
import dataclasses
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from metaprobe.analyses.measures.measure import MEASURES
from metaprobe.analyses.works import MAML
from metaprobe.probe.cli import main
from metaprobe.reports.blocks.canvas import Drawing
from metaprobe.reports.blocks.declared import Dots, Figure, Grid, Line, Said, Series
from metaprobe.reports.claims import Claim, Part, above, below, within
from metaprobe.reports.quantities import q
from metaprobe.reports.registry import STUDIES
from metaprobe.reports.study.study import Answer, Learner, Measurement, Numbers, Options, Section, Study
from tests.conftest import make_imageset, shared_folder


@dataclass(frozen=True, kw_only=True)
class ThirdOptions(Options):
    """What the third study may be asked for."""

    capture_tasks: int
    """Tasks behind similarities."""
    head_steps: Numbers = (2,)
    """Other numbers of steps."""


def _measurements(options):
    drawn = {"replicates": 39, "permutations": 2}
    return (
        Measurement("accuracy", ("maml", "fomaml"), amount=options.tasks, options={"heads": ("own", "nil")}),
        Measurement("accuracy", ("head",), amount=options.tasks),
        Measurement("freezing", ("maml",), ("third", "last"), options.tasks, {"steps": options.head_steps}),
        Measurement("capture", ("maml",), amount=options.capture_tasks, options={"steps": "all"}),
        Measurement("similarity", ("maml",), options=drawn),
    )


GAIN = q("accuracy", learner="nil", head="maml") - q("accuracy", learner="maml")
COST = q("accuracy", learner="maml", frozen="conv1") - q("accuracy", learner="maml")


def _claim(name, quantity, rule):
    part = Part("all", quantity, rule)
    return Claim(name, f"Claim {name}", "accuracy", "1", "Table 1", "made up", "its interval", (part,), "Nothing.")


def _sections(evidence, cite):
    cells = {name: tuple(Said(q(name, learner="maml", layer=layer)) for layer in evidence.layers) for name in MEASURES}
    lines = tuple(Line(name, said) for name, said in cells.items())
    grid = Grid("layers", "Similarity.", ("", *evidence.layers), lines, ("Similarity", "no store"))
    dots = Dots("accuracy", ("frozen",), (Series("MAML", "#0072b2", (COST,)),))
    figure = Figure("cost", "What freezing costs.", (dots,), ("Freezing", "not measured"))
    return (Section("one", "One", (f"Text {cite('linear_cka')}.",), blocks=(grid, figure)),)


THIRD = Study(
    name="third",
    summary="A study of nothing.",
    works=(MAML,),
    title="Nothing",
    question="Is there anything?",
    reading="As it stands.",
    presets={
        "quick": ThirdOptions(
            data="class_folder:pictures", iterations=3, seeds=1, tasks=4, capture_tasks=3, val_tasks=2, n_way=3,
            n_query=2, inner_steps=1, meta_batch=2, filters=8,
        ),
        "full": ThirdOptions(data="glyphs", iterations=30, seeds=2, tasks=6, capture_tasks=5, val_tasks=2),
    },
    learners=lambda options: (
        Learner("maml", "MAML", "maml"),
        Learner("fomaml", "FOMAML", "fomaml", extra=True),
        Learner("nil", "NIL", "nil"),
        Learner("head", "head", "maml_head", "nil", "nil", {"iterations": 2}, "maml_head-nil"),
    ),
    measurements=_measurements,
    claims=lambda evidence: (
        _claim("T1", COST, above(-100)), _claim("T2", GAIN, below(100)), _claim("T3", -GAIN, within(200, 300)),
    ),
    sections=_sections,
    answer=lambda evidence, judgements: Answer("Nothing", (f"T1 {judgements['T1'].verdict}.",), "none"),
)  # fmt: skip

TINY = {
    "third": "",
    "raghu2020": "--data class_folder:pictures --iterations 3 --tasks 4 --capture-tasks 3 --val-tasks 2 --n-way 3 "
    "--n-query 2 --inner-steps 1 --meta-batch 2 --filters 8 --head-steps 2 --more-iterations 2 --replicates 39 "
    "--permutations 2 --rounds 2",
    "arnold2021": "--data class_folder:pictures --iterations 2 --tasks 4 --capture-tasks 3 --val-tasks 2 --n-way 3 "
    "--n-shot 1 --n-query 2 --inner-steps 2 --meta-batch 2 --filters 4 --depths 2 --rules False --anil False "
    "--replicates 39 --permutations 2 --trainings 3 --logistic-iterations 1",
    "antoniou2019": "--data class_folder:pictures --iterations 2 --tasks 4 --capture-tasks 3 --val-tasks 2 --n-way 3 "
    "--n-query 2 --inner-steps 2 --meta-batch 2 --filters 4 --image-size 16 --steps 1 --replicates 39 --permutations 2 "
    "--rounds 1",
    "zhou2021": "--data mixture:pictures,photos --iterations 2 --tasks 3 --capture-tasks 16 --val-tasks 2 --n-way 2 "
    "--n-shot 1 --n-query 2 --inner-steps 1 --meta-batch 2 --filters 4 --more-iterations 2 --group-tasks 4 "
    "--cluster-tasks 12 --sweep 2,1 --data-root .",
}
"""How each study is asked for, to be over in seconds."""


def write_pictures(base):
    """Write two sets of images as class folders with splits, into base/pictures and base/photos."""
    for seed, place in enumerate(("pictures", "photos")):
        images = make_imageset(n_classes=12, per_class=18, size=8, seed=seed)
        for class_id, name in enumerate(images.class_names):
            folder = base / place / name
            folder.mkdir(parents=True)
            with open(base / place / f"{images.splits[class_id]}.txt", "a", encoding="utf-8") as names:
                names.write(name + "\n")
            for number, image in enumerate(images.images_of(class_id)):
                Image.fromarray(images.images[image, 0]).save(folder / f"{number}.png")


@contextlib.contextmanager
def working_in(base):
    """Work in a folder, with the third study in the registry; times differ between two runs, the rest must not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(base)
        patch.setenv("METAPROBE_CACHE", str(base / "cache"))
        patch.setattr("metaprobe.analyses.testing.timing.seconds_of", lambda run, device: (run(), 0.25)[1])
        patch.setitem(STUDIES, "third", THIRD)
        yield patch


def ask(name, *more):
    """Run `metaprobe study NAME` on tiny options."""
    return main(["study", name, *TINY[name].split(), *more])


def files_of(folder):
    """Return all files below a folder by their relative names."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def planned_third(out, **changes):
    """Return the third study made ready, in the working folder."""
    from metaprobe.reports.study.run import plan_study

    return plan_study(THIRD, dataclasses.replace(THIRD.preset("quick"), **changes), out)


def made_once(tmp_path_factory, name, make):
    """Return a folder that `make` fills once in a run of the suite, also where its tests run in several processes.

    Whoever wants to write there takes a copy.
    """
    folder = shared_folder(tmp_path_factory) / f"once-{name}"
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            making = Path(f"{folder}.{os.getpid()}")
            making.mkdir()
            write_pictures(making)
            make(making)
            making.rename(folder)
    return folder


def make_third(base):
    """Make the third study in base/made, with PDF files of nothing: all of its steps are done."""
    from metaprobe.reports.study.run import run_study

    with working_in(base) as patch:
        without_pdf(patch)
        results = run_study(planned_third(Path("made"))).results
    assert {outcome.ending for outcome in results.outcomes.values()} == {"done"}


def without_pdf(patch):
    """Write PDF files of nothing, as they take a third of a page's time; `metaprobe study third` writes real ones."""
    patch.setattr(Drawing, "pdf", lambda self: b"%PDF-")
