"""The study's figures of accuracies: each reads the study and returns a drawing, or None where nothing was measured."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from reports.figures import ALGORITHM_COLOURS, PAPER, Drawing, canvas, drawing, label_ends, style
from reports.studies.marks import LEARNERS, curve, points, settle
from reports.studies.raghu2020.claims import ACCURACY_MARGIN, PAPER_FREEZING
from reports.studies.raghu2020.study_table import BLOCKS, FULL, StudyTable
from reports.wording import ALGORITHM_NAMES, block_name, capital

__all__ = ["freezing", "head_steps", "learning_curves"]

_PAPER_ROW = "mini-ImageNet 5-way 1-shot"


def learning_curves(study: StudyTable) -> Drawing | None:
    """Draw accuracy and loss over training: validation in full, training faint, every seed and the mean of several."""
    panels = [
        (kind, title)
        for kind, title in (("accuracy", "Accuracy (%)"), ("loss", "Loss"))
        if any(study.every(f"{split}_{kind}", algorithm) for split in ("val", "train") for algorithm in LEARNERS)
    ]
    if not panels:
        return None
    with style():
        figure, axes = canvas(len(panels), 2.8)
        for panel, (kind, title) in zip(axes, panels, strict=True):
            ends = []
            for algorithm in LEARNERS:
                colour = ALGORITHM_COLOURS[algorithm]
                curve(panel, study.every(f"train_{kind}", algorithm), colour, faint=True)
                end = curve(panel, study.every(f"val_{kind}", algorithm), colour, faint=False)
                if end is not None:
                    ends.append((*end, ALGORITHM_NAMES[algorithm], colour))
            panel.set_title(title)
            panel.set_xlabel("Training iteration")
            panel.set_xlim(left=0)
            panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
            if kind == "loss":
                panel.set_ylim(bottom=0)
            settle(panel)
            label_ends(panel, ends)
        return drawing(
            "learning-curves",
            figure,
            "Learning curves",
            "Validation and training accuracy and loss of each learner over the iterations of its training.",
        )


def freezing(study: StudyTable) -> Drawing | None:
    """Draw accuracy by frozen block, and its paired cost beside the paper's."""
    learners = [a for a in (*LEARNERS, "random") if any(study.test(a, b) is not None for b in BLOCKS)]
    if not learners:
        return None
    with style():
        figure, (left, right) = canvas(2, 3.1)
        for panel, measure in ((left, "accuracy"), (right, "accuracy_difference")):
            blocks = ("", *BLOCKS) if panel is left else BLOCKS
            ends = []
            for shift, algorithm in enumerate(learners):
                readings = [study.test(algorithm, block, measure=measure) for block in blocks]
                offset = 0.09 * (shift - (len(learners) - 1) / 2)
                end = points(panel, readings, offset, ALGORITHM_COLOURS[algorithm])
                if end is not None:
                    ends.append(
                        (*end, ALGORITHM_NAMES[algorithm].removesuffix(" network"), ALGORITHM_COLOURS[algorithm])
                    )
            panel.set_xticks(range(len(blocks)), [block_name(b).replace("nothing", "none") for b in blocks])
            panel.set_xlabel("Layers frozen in the inner loop")
            panel.set_xlim(-0.3, len(blocks) - 0.7)
            if panel is right:
                ends.append(_paper_costs(panel))
            else:
                panel.set_ylim(bottom=min(panel.get_ylim()[0], 100 / study.n_way - 3))
            settle(panel)
            label_ends(panel, ends)
        left.axhline(100 / study.n_way, color="#999999", linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
        left.annotate(
            "chance", (0, 100 / study.n_way), (0, 3), textcoords="offset points", color="#6b6b6b", fontsize=7.5
        )
        left.set_title("Test accuracy (%)")
        right.set_title("Change against nothing frozen (points)")
        right.axhspan(-ACCURACY_MARGIN, 0, color="#eeeeee", linewidth=0, zorder=0)
        return drawing(
            "freezing",
            figure,
            "Accuracy with frozen layers",
            "Left: test accuracy of each learner with growing blocks of convolution layers frozen. Right: the paired "
            "difference to nothing frozen, with the paper's figures on mini-ImageNet.",
        )


def head_steps(study: StudyTable) -> Drawing | None:
    """Draw accuracy against the number of inner steps at test, with nothing and with the whole body frozen."""
    learners = [a for a in ("maml", "random") if study.test(a) is not None]
    rows = [row for a in learners for row in study.rows("accuracy", a) if study.own_head(row)]
    steps = sorted({study.steps_of(row) for row in rows if not row.frozen or row.frozen == FULL} - {0})
    if len(steps) < 2 or not learners:
        return None
    labels = [f"{s}\n(as trained)" if s == study.trained_steps else str(s) for s in steps]
    with style():
        figure, axes = canvas(len(learners), 2.9, share_y=True)
        every = []
        for panel, algorithm in zip(axes, learners, strict=True):
            colour, ends = ALGORITHM_COLOURS[algorithm], []
            for frozen, line, label in (("", "-", "nothing frozen"), (FULL, (0, (3, 2)), "conv1\N{EN DASH}4 frozen")):
                end = points(panel, [study.test(algorithm, frozen, steps=s) for s in steps], 0, colour, line=line)
                if end is not None:
                    ends.append((*end, label, colour))
            panel.set_xticks(range(len(steps)), labels)
            panel.set_xlabel("Inner-loop steps at test")
            panel.set_title(f"{capital(ALGORITHM_NAMES[algorithm])}, test accuracy (%)")
            every.append((panel, ends))
        for panel, ends in every:  # labels once the shared limits are final
            settle(panel)
            label_ends(panel, ends)
        return drawing(
            "head-steps",
            figure,
            "Accuracy against inner steps at test",
            "Test accuracy with nothing and with the whole body frozen, for each number of inner steps at test.",
        )


def _paper_costs(axes: Axes) -> tuple[float, float, str, str]:
    first, *rest = PAPER_FREEZING[_PAPER_ROW]
    costs = [figure.value - first.value for figure in rest]
    axes.plot(range(len(costs)), costs, "D", color=PAPER, markerfacecolor="white", markersize=4.5, zorder=5)
    return float(len(costs) - 1), costs[-1], "paper (mIN)", PAPER
