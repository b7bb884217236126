"""What the arnold2021 page shows: the answer first, then theory, linear layers, update rules, and what is reused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from metaprobe.analyses.readings import Estimate
from metaprobe.analyses.theory.plans import HELD, MOVING, ORIGIN, SOLUTIONS, Descent
from metaprobe.reports.blocks.declared import Cell, Curve, Curves, Custom, Dots, Figure, Grid, Line, Said, Series
from metaprobe.reports.claims import POINTS, Verdict, above
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.papers.arnold2021 import claims as of
from metaprobe.reports.papers.arnold2021.claims import COMPARED, HOWS, TOLD_BY, gain, key_of, label_of, measured, scalar
from metaprobe.reports.probing import blocks
from metaprobe.reports.probing.questions import of_layer, untaught
from metaprobe.reports.probing.reuse import reused
from metaprobe.reports.quantities import ANY, Quantity, q
from metaprobe.reports.study.study import Answer, Cite, Judgements, Section
from metaprobe.reports.wording import CHANCE_GREY, GROUP_MARKS, INK, listed, number, with_interval

# fmt: off
_SAID: dict[Verdict, str] = {"holds": "helps", "does not hold": "does not help", "undecided": "is undecided"}

def answer(evidence: Evidence, judged: Judgements) -> Answer:
    """Answer the study's question by the gains in the shallowest network."""
    least = of.shallowest(evidence)
    rules = (f"By the gains over plain MAML in CNN({least}), on the same tasks: one helps whose interval lies above 0, "
             "does not where it lies below; else it is undecided.")
    depth, rule = (_SAID.get(above(0).judge(gain("maml", least, how).read(evidence)), "was not measured")
                   for how in ("linnet", "meta_kfo"))
    headline = f"In a shallow network depth by linear layers {depth}; an external optimiser (Meta-KFO) {rule}"
    if told := untaught(evidence, [key_of("maml", least)]):
        headline = "Nothing is shown to have been learned that depth could improve"
    sentences = (*filter(None, [told]), *_sentences(evidence, least, judged))
    return Answer(headline, sentences, rules, _figure(least))

def _sentences(evidence: Evidence, least: int, judged: Judgements) -> Iterator[str]:
    made, plain = evidence.made, measured("maml", least).read(evidence)
    gained = {name: gain("maml", least, how).read(evidence) for how, name in HOWS.items() if how}
    if told := [f"{name} {with_interval(one, **POINTS)}" for name, one in gained.items() if one]:
        yield (f"On {made.task} tasks of {made.data_name}, MAML in CNN({least}) is right on "
               f"{with_interval(plain, 1, ' %')} of queries. Beside that: {listed(told)}.")
    deeper = of.depths(evidence, "")
    if len(deeper) > 1 and (found := (measured("maml", deeper[-1]) - measured("maml", least)).read(evidence)):
        yield f"For comparison, {deeper[-1] - least} more convolutions change it by {with_interval(found, **POINTS)}."
    index = {how: q("reuse_index", learner=key_of("maml", least, how), frozen=ANY).read(evidence) for how in COMPARED}
    if reused := [f"{HOWS[how]} {with_interval(one, 2)}" for how, one in index.items() if isinstance(one, Estimate)]:
        yield ("Reuse index of the convolutions (1: as they are they hold all that was learned, 0 or less: nothing of "
               f"it): {listed(reused)}.")
    shallow, deep = (scalar("excess_error", model).read(evidence) for model in ("shallow", "deep"))
    if shallow and deep:
        yield ("In one dimension, where all is known, one step leaves an error of "
               f"{with_interval(shallow, 3)} in the shallow model and of {with_interval(deep, 3)} in the deep one.")
    if against := [name for name, one in judged.items() if one.verdict == "does not hold"]:
        yield f"Of the paper's claims {listed(against)} {'does' if len(against) == 1 else 'do'} not hold here."

def _figure(least: int) -> Figure:
    return Figure("answer-figure", "Test accuracy by depth, and what each adds to MAML in the shallowest network.",
                  (_by_depth("Test accuracy (%)", HOWS, measured),
                   _gains(least, f"Gain in CNN({least}) (points, paired)", "maml", ("linnet", *of.RULES))),
                  ("Depth and update rules", "The table holds no tests of either."))

_LOOKS = dict(zip(HOWS, GROUP_MARKS, strict=False))

def _by_depth(title: str, names: Mapping[str, str], ask: Callable[[str, int, str], Quantity],
              line: tuple[float, str] | None = None) -> Dots:
    """Return the panel of what is asked of MAML's networks by depth; `names`: of what they have, in the legend."""
    shown = (Series(name, _LOOKS[how][0], tuple(ask("maml", one, how) for one in of.DEPTHS), _LOOKS[how][1])
             for how, name in names.items())
    return Dots(title, tuple(f"CNN({one})" for one in of.DEPTHS), tuple(shown), line=line)

def _gains(least: int, title: str, algorithm: str, hows: Iterable[str], *, beside: bool = False) -> Dots:
    """Return the panel of gains in the shallowest network; the paper's `beside` them if asked for."""
    ours = {how: gain(algorithm, least, how) for how in hows}
    theirs = ((at, one) for at, how in enumerate(ours) if beside for one in of.printed_gain(algorithm, least, how))
    return Dots(title, tuple(HOWS[how] for how in ours), (Series("", INK, tuple(ours.values())),), lying=True,
                line=(0.0, ""), printed=tuple(theirs))

_MAPS = {"update_cosine": "cosine", "update_norm_ratio": "ratio of norms", "update_effective_rank": "effective rank"}

def sections(evidence: Evidence, cite: Cite) -> tuple[Section, ...]:
    """Return the sections, in the order of the paper; the last two are not in it."""
    # what was trained on images: the theory's models are not among them
    names, least = {key: label_of(key) for key in evidence.learners if key in TOLD_BY}, of.shallowest(evidence)
    gains = (_gains(least, f"{one.upper()}, CNN({least}): gain (points)", one, filter(None, hows), beside=True)
             for one, hows in of.RULED.items())
    return (
        _scalar(evidence), _logistic(evidence), _depth(evidence, names),
        Section("rules-section", "Learned update rules",
            ("A rule that maps gradients to steps leaves the network's functions as they are. Does it do what depth "
             "does (A9, A10), and less so where there is depth already (A11)? Rules are trained with the network.",),
            (("Meta-SGD", "a rate of its own for each weight"),
             ("Meta-Curvature", "a matrix along each axis of a tensor, which its gradient is multiplied by"),
             ("T-Nets", "a linear map behind each layer, which does not adapt"),
             ("Meta-KFO", "a Kronecker-factored map of each tensor's gradient, whose factors adapt with the task")),
            (Figure("rules", "Gains over plain steps, paired. Diamonds: the paper's, of its three data sets.",
                    tuple(gains), ("Learned update rules", "The table holds no tests of any.")),)),
        reused(evidence, names, lambda key: (names[key], *_LOOKS[TOLD_BY[key][-1]]),
            "Does a learner that adapts better reuse its convolutions, or relearn them? They are frozen in the inner "
            "loop, and the rest adapts alone: the head, with LinNet the linear layers too.",
            details=(blocks.learned(evidence, names),)),
        Section("maps", "What a learned rule makes of a gradient (not in the paper)",
            ("At the initialisation, on each task's support set: the angle between the gradient g of a layer and the "
             "step U(g) that the rule makes of it, and how much longer the step is than a plain one. A cosine of 1 and "
             "equal ratios in all layers: the rule has learned a rate and nothing else.",), (),
            (Grid("update-maps", "Means over tasks, by layer; effective rank of its matrices: as a share of full rank.",
                  ("Learner, layer", *_MAPS.values()),
                  tuple(Line(f"{name}, {layer}", tuple(Said(of_layer(m, layer, key, steps=1), 3) for m in _MAPS))
                        for key, name in names.items() for layer in evidence.distinct("layer", "update_cosine", key)),
                  ("Update rules", "The table holds no learned rules.")),)))

def _scalar(evidence: Evidence) -> Section:
    at, points = evidence.distinct("iteration", "excess_error"), (ORIGIN, *SOLUTIONS)
    curves = tuple(Curve(f"{model} model", colour, tuple((float(i), scalar("excess_error", model, at=i)) for i in at))
                   for model, colour in (("shallow", INK), ("deep", "#d55e00")))
    return Section("theory", "Regression in one dimension",
        ("A task is y = θx plus noise; the shallow model says cx, the deep one abx: the same functions. Both are "
         "meta-trained by MAML with one inner step on the expected loss (claims A1 to A3); there are no images.",),
        (("excess error", "mean squared error on new tasks after the inner step, less that of the noise"),
         ("MAML loss", "the loss after the inner step, a mean over tasks, as a function of where it starts")),
        (Figure("descent", "Mean over trainings from random weights.",
                (Curves("Excess error", "Outer steps", curves, (0.0, None), ends=False),),
                ("The models in one dimension", "The table holds none of them.")),
         Custom("surface", "Light: one step from there solves most tasks. Lines: single trainings of the deep model.",
                _surface, ("Loss surface", "The table holds no trainings of the deep model."))),
        (Grid("stationary", "The points that the paper names: norm of the gradient, and the largest difference from "
              "the printed Hessian, relative to its largest entry.",
              ("Point", "Gradient", "Hessian of L", "Hessian of 2L"),
              tuple(Line(one, tuple(Said(scalar(measure, view=one), 3) for measure in
                                    ("meta_gradient_norm", "hessian_of_l", "hessian_of_2l"))) for one in points)),
         Grid("one-step", "Largest distance |ab − θ| after one step from (1/√α, b).",
              ("What moves", "b = 0", "any b"),
              tuple(Line(view, tuple(Said(scalar("one_step_error", view=view, step=step), 3) for step in (0, 1)))
                    for view in (HELD, MOVING)))))

def _surface(evidence: Evidence) -> list[Any] | None:
    """Draw the error that one inner step of the deep model leaves, by where it starts, and paths of trainings."""
    def path(training: str) -> list[tuple[float, float]]:
        first, second = ({row.iteration: row.value for row in evidence.where(f"weight_{name}", "deep", view=training)}
                         for name in "ab")
        return [(a, b) for at, a in first.items() if a is not None and (b := second.get(at)) is not None]
    paths = {one: found for one in evidence.distinct("view", "weight_a", "deep") if (found := path(one))}
    if not paths:
        return None
    import numpy as np  # matplotlib: not before there is something to draw
    from matplotlib.colors import LogNorm

    from metaprobe.analyses.theory.scalar import deep_loss, stationary_points
    from metaprobe.reports.blocks.canvas import Key, Sketch, tell

    alpha, levels, path_colour, point_colour = Descent.alpha, np.logspace(-3, 2, 11), "#d55e00", "#0072b2"
    edge = 1.35 * alpha**-0.5
    a, b = np.meshgrid(line := np.linspace(-edge, edge, 121), line)
    excess = np.clip(2 * deep_loss(a, b, alpha) - 1, levels[0], levels[-1])
    def paint(axes: Any) -> None:
        shades = axes.contourf(a, b, excess, levels, norm=LogNorm(), cmap="Greys")
        axes.figure.colorbar(shades, ax=axes, label="Error after one step, less the noise", format="%g")
        for name, path in paths.items():
            (drawn,) = axes.plot(*zip(*path, strict=True), color=path_colour, linewidth=0.9)
            axes.plot(*path[0], "o", color=path_colour, markersize=2.5)
            ends = " to ".join(f"a = {a:.2f}, b = {b:.2f}" for a, b in (path[0], path[-1]))
            tell(drawn, f"{name}: from {ends}")
        for point in stationary_points(alpha):
            (mark,) = axes.plot(point.a, point.b, "x" if point.a == point.b else "*", color=point_colour, markersize=6)
            tell(mark, f"{point.name}: the Hessian of 2L is diag({point.printed[0]:g}, {point.printed[1]:g})")
        axes.set(xlabel="a", ylabel="b", xlim=(-edge, edge), ylim=(-edge, edge), aspect="equal")
        axes.grid(visible=False)
    keys = (Key("training, from its circle", path_colour, "o", "-"), Key("minimum", point_colour, "*"),
            Key("maximum at the origin", point_colour, "x"))
    return [Sketch(f"The deep model ŷ = abx, α = {alpha:g}", paint, keys, lambda width: 0.85 * width)]

def _logistic(evidence: Evidence) -> Section:
    views = {"drawn": "labels drawn from σ(θᵀx)", "sign": "labels by the sign of θᵀx"}
    models = {0: "no linear layers", 2: "2 linear layers", 3: "3 linear layers"}
    at = evidence.distinct("iteration", "accuracy", "lr")
    def panel(view: str) -> Curves:
        bayes = q("bayes_accuracy", learner="", view=view)
        curves = [Curve(told, colour, tuple((float(i), of.logistic(n, view, i)) for i in at))
                  for (n, told), (colour, _) in zip(models.items(), GROUP_MARKS, strict=False)]
        top = [Curve("whoever knows θ", CHANCE_GREY, ((0.0, bayes), (float(at[-1]), bayes)), dashed=True)] if at else []
        return Curves(f"Accuracy (%), {views[view]}", "Outer steps", (*curves, *(top if bayes.read(evidence) else ())),
                      (None, 101.0), ends=False)
    return Section("logistic-section", "Logistic regression in two dimensions",
        ("A task is a direction θ; the model without layers is able to represent every one. Do linear layers make it "
         "adapt (claim A4)? Where labels are drawn, as in the paper, whoever knows θ is right on 100·ln 2 = 69.3 %.",),
        (), (Figure("logistic", "After one inner step, over meta-training. Dashed: whoever knows θ.",
                    tuple(map(panel, views)), ("Logistic regression", "The table holds none.")),))

def _depth(evidence: Evidence, learners: Mapping[str, str]) -> Section:
    softmax = {"softmax regression": measured("maml", 0), "with LinNet": measured("maml", 0, "linnet"),
               "LinNet, collapsed": measured("maml", 0, "linnet", view="collapsed")}
    names = {how: HOWS[how] for how in COMPARED if how}
    def line(learner: tuple[str, str]) -> Line:
        *_, how = name = TOLD_BY[learner[0]]
        return Line(learner[1], (Said(measured(*name)), Said(gain(*name), signed=True) if how else Cell(""),
                                 Cell(", ".join(map(number, of.printed(*name)[0])))))
    return Section("depth-section", "Linear layers, and depth",
        ("Linear layers between features and output add no function that the network could not compute, only ways to "
         "get there (LinNet). Do they make MAML adapt better, in softmax regression (A5, A6) and in convolutional "
         "networks of several depths (A7, A8)?",),
        (("LinNet", "linear layers without activation before the last layer; they adapt, with ANIL too"),
         ("collapsed", "the linear layers multiplied into one before the task is met: the same function")),
        (Figure("depth", "By depth of the convolutional network.",
                (_by_depth("MAML: test accuracy (%)", {"": "plain", **names}, measured),
                 _by_depth("Gain over plain MAML (points, paired)", names, gain, (0.0, ""))),
                ("Depth", "The table holds no tests of networks of several depths.")),
         Figure("linear", "Softmax regression on pixels.",
                (Dots("Test accuracy (%)", tuple(softmax), (Series("", INK, tuple(softmax.values())),),
                      lying=True, line=(100 / evidence.n_way, "chance")),),
                ("Softmax regression", "The table holds no tests of it."))),
        (Grid("accuracy", f"Test accuracy in percent after {evidence.test_steps} inner steps.",
              ("Learner", "Accuracy", "Gain over plain (points)", "Paper: Omniglot, CIFAR-FS, mini-ImageNet"),
              tuple(map(line, learners.items())), ("Accuracies", "The table holds no test accuracies.")),))
