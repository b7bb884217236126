"""What the tests of studies share: a tiny request, pictures, and ways to look at what a study left."""

import contextlib
import shlex

import pytest
from PIL import Image

from analyses.table import Table
from probe.cli import main
from reports.studies import STUDIES, StudyRequest
from reports.studies.raghu2020.measurements import Plan, learning_curves
from reports.studies.raghu2020.work import measuring
from reports.studies.runs import LEARNERS
from reports.studies.steps import in_waves
from reports.studies.works import Measurement
from tests.conftest import make_imageset

REQUEST = StudyRequest(
    data="class_folder:pictures",
    iterations=3,
    seeds=1,
    tasks=4,
    capture_tasks=3,
    val_tasks=2,
    more_iterations=2,
    n_way=3,
    n_query=2,
    inner_steps=1,
    meta_batch=2,
    head_steps="2",
    filters=8,
    replicates=39,
    permutations=2,
    rounds=2,
)
STUDY = STUDIES["raghu2020"]
IMAGESET = make_imageset(n_classes=12, per_class=18, size=8)
PLAN = Plan(tasks=3, capture_tasks=2, head_steps=(2,), rounds=2, replicates=39, permutations=2)
MEASUREMENTS = {"accuracy_of", "compare_heads", "freeze", "similarity_over_seeds", "time_learners", "weight_distance"}


def write_pictures(base):
    """Write the images as class folders with splits into base/pictures."""
    for class_id, name in enumerate(IMAGESET.class_names):
        folder = base / "pictures" / name
        folder.mkdir(parents=True)
        with open(base / "pictures" / f"{IMAGESET.splits[class_id]}.txt", "a", encoding="utf-8") as names:
            names.write(name + "\n")
        for number, image in enumerate(IMAGESET.images_of(class_id)):
            Image.fromarray(IMAGESET.images[image, 0]).save(folder / f"{number}.png")


@contextlib.contextmanager
def working_in(base):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(base)
        patch.setenv("METAPROBE_CACHE", str(base / "cache"))
        patch.setattr("analyses.testing.timing._seconds", steady)  # times differ between two runs, the rest must not
        yield


def steady(run, device):
    run()
    return 0.25


def study(*more):
    return main([*shlex.split(REQUEST.command("raghu2020"))[1:], *more])


def report(runs, out, tasks=None, capture_tasks=None):
    assert STUDY.report is not None
    page, results = STUDY.report(runs, out, None, tasks, capture_tasks, 1)
    assert not results.missing()
    return page


def measure_run(folder, imageset, plan):
    """Measure one run as a study does; an error ends it, and what is kept is read."""
    config = folder.read_config()
    table = learning_curves(folder) if config.algorithm in LEARNERS else Table()
    for wave in in_waves(measuring({folder.path: config}, plan, trained=True)):
        for step in wave:
            if not step.work.is_done(imageset):
                step.work.do(imageset)
            if isinstance(step.work, Measurement):
                table += step.work.table(imageset)
    return table


def run_config(algorithm, **other):
    request = REQUEST.of(STUDY)
    return request.run_config(request.amount(STUDY), algorithm, 0, **other)


def files_of(folder):
    return {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}


def page_of(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


def refuse(*_, **__):
    raise AssertionError("measured again")


def trained(command):
    """What the command line makes of a train command."""
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("probe.cli.training.load_data", lambda *_: None)
        patch.setattr("trainers.outer_loop.train", lambda config, _, folder: asked.append((config, str(folder))))
        with pytest.raises(AttributeError):  # no checkpoint comes back
            main(shlex.split(command)[1:])
    return asked[0]
