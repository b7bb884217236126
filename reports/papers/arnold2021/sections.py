"""The sections of the arnold2021 page: theory, linear layers, update rules, and what is reused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from analyses.theory.plans import HELD, MOVING, ORIGIN, SOLUTIONS, Descent
from reports.blocks.declared import Curve, Curves, Custom, Dots, Figure, Grid, Line, Said, Series
from reports.evidence import Evidence
from reports.names import in_order
from reports.page.parts import Cell
from reports.papers.arnold2021 import paper
from reports.papers.arnold2021.claims import logistic, scalar
from reports.papers.arnold2021.paper import COLOURS, HOWS, MARGIN, MARKS, RULES, key_of, label_of, measured
from reports.probing import blocks
from reports.probing.questions import cost, of_layer
from reports.quantities import q
from reports.study.study import Cite, Section
from reports.wording import block_name, number

# fmt: off
_VIEWS = {"drawn": "labels drawn from σ(θᵀx)", "sign": "labels by the sign of θᵀx"}
_MAPS = {"update_cosine": "cosine", "update_norm_ratio": "ratio of norms"}

def sections(evidence: Evidence, cite: Cite) -> tuple[Section, ...]:
    """Return the sections, in the order of the paper; the last two are not in it."""
    return (_scalar(evidence), _logistic(evidence), _depth(evidence), _optimisers(evidence), _reuse(evidence),
            _maps(evidence))

def _scalar(evidence: Evidence) -> Section:
    at, points = evidence.distinct("iteration", "excess_error"), (ORIGIN, *SOLUTIONS)
    curves = tuple(Curve(f"{model} model", colour, tuple((float(i), scalar("excess_error", model, at=i)) for i in at))
                   for model, colour in (("shallow", "#333333"), ("deep", "#d55e00")))
    def surface(evidence: Evidence) -> Any:
        from reports.papers.arnold2021.surface import draw  # matplotlib: not before there is something to draw

        return draw(evidence, Descent.alpha)
    return Section("theory", "Regression in one dimension",
        ("A task is y = θx plus noise; the shallow model says cx, the deep one abx: the same functions. Both are "
         "meta-trained by MAML with one inner step on the expected loss (claims A1 to A3); there are no images.",),
        (("excess error", "mean squared error on new tasks after the inner step, less that of the noise"),
         ("MAML loss", "the loss after the inner step, a mean over tasks, as a function of where it starts")),
        (Figure("descent", "Mean over trainings from random weights.",
                (Curves("Excess error", "Outer steps", curves, (0.0, None), ends=False),),
                ("The models in one dimension", "The table holds none of them.")),
         Custom("surface", "Light: one step from there solves most tasks. Lines: single trainings of the deep model.",
                surface, ("Loss surface", "The table holds no trainings of the deep model."))),
        (Grid("stationary", "The points that the paper names: norm of the gradient, and the largest difference from "
              "the printed Hessian, relative to its largest entry.",
              ("Point", "Gradient", "Hessian of L", "Hessian of 2L"),
              tuple(Line(one, tuple(Said(scalar(measure, view=one), 3) for measure in
                                    ("meta_gradient_norm", "hessian_of_l", "hessian_of_2l"))) for one in points),
              ("Stationary points", "")),
         Grid("one-step", "Largest distance |ab − θ| after one step from (1/√α, b).",
              ("What moves", "b = 0", "any b"),
              tuple(Line(view, tuple(Said(scalar("one_step_error", view=view, step=step), 3) for step in (0, 1)))
                    for view in (HELD, MOVING)), ("One step", ""))))

def _logistic(evidence: Evidence) -> Section:
    models = {0: "no linear layers", 2: "2 linear layers", 3: "3 linear layers"}
    at = evidence.distinct("iteration", "accuracy", "lr")
    def panel(view: str) -> Curves:
        bayes = q("bayes_accuracy", learner="", view=view)
        found = bayes.read(evidence)
        curves = [Curve(told, colour, tuple((float(i), logistic(n, view, i)) for i in at))
                  for (n, told), colour in zip(models.items(), COLOURS.values(), strict=False)]
        top = [Curve("whoever knows θ", "#8a8a8a", ((0.0, bayes), (float(at[-1]), bayes)), dashed=True)] if at else []
        return Curves(f"Accuracy (%), {_VIEWS[view]}", "Outer steps", (*curves, *(top if found else ())), (None, 101.0),
                      ends=False)
    return Section("logistic-section", "Logistic regression in two dimensions",
        ("A task is a direction θ; the model without layers is able to represent every one. Do linear layers make it "
         "adapt (claim A4)? Where labels are drawn, as in the paper, whoever knows θ is right on 100·ln 2 = 69.3 %.",),
        (), (Figure("logistic", "After one inner step, over meta-training. Dashed: whoever knows θ.",
                    tuple(map(panel, _VIEWS)), ("Logistic regression", "The table holds none.")),))

def _levels(evidence: Evidence, algorithm: str, hows: Sequence[str]) -> tuple[Dots, Dots]:
    at = [one for one in paper.TABLE_1 if any(key_of(algorithm, one, how) in evidence.learners for how in hows)]
    places = tuple(f"CNN({one})" for one in at)
    series = [Series(HOWS[how] or "plain", COLOURS[how], tuple(measured(algorithm, one, how) for one in at), MARKS[how])
              for how in hows]
    gains = [Series(HOWS[how], COLOURS[how],
                    tuple(measured(algorithm, one, how) - measured(algorithm, one) for one in at), MARKS[how])
             for how in hows if how]
    name = algorithm.upper()
    return (Dots(f"{name}: test accuracy (%)", places, tuple(series)),
            Dots(f"Gain over plain {name} (points, paired)", places, tuple(gains), line=(0.0, "")))

def _depth(evidence: Evidence) -> Section:
    softmax = {"softmax regression": measured("maml", 0), "with LinNet": measured("maml", 0, "linnet"),
               "LinNet, collapsed": measured("maml", 0, "linnet", view="collapsed")}
    return Section("depth-section", "Linear layers, and depth",
        ("Linear layers between features and output add no function that the network could not compute, only ways to "
         "get there (LinNet). Do they make MAML adapt better, in softmax regression (A5, A6) and in convolutional "
         "networks of several depths (A7, A8)?",),
        (("LinNet", "linear layers without activation before the last layer; they adapt, with ANIL too"),
         ("collapsed", "the linear layers multiplied into one before the task is met: the same function")),
        (Figure("depth", "By depth of the convolutional network.",
                _levels(evidence, "maml", ("", "linnet", "meta_kfo")),
                ("Depth", "The table holds no tests of networks of several depths.")),
         Figure("linear", "Softmax regression on pixels.",
                (Dots("Test accuracy (%)", tuple(softmax), (Series("", "#333333", tuple(softmax.values())),),
                      lying=True, line=(100 / evidence.n_way, "chance")),),
                ("Softmax regression", "The table holds no tests of it."))),
        (_accuracies(evidence),))

def _accuracies(evidence: Evidence) -> Grid:
    def line(key: str) -> Line:
        algorithm, network, *how = key.split("-")
        depth = 0 if network == paper.SOFTMAX else int(network.removeprefix("cnn"))
        plain = measured(algorithm, depth)
        return Line(label_of(key), (Said(q("accuracy", learner=key)),
                                    Said(q("accuracy", learner=key) - plain, signed=True) if how else Cell(""),
                                    Cell(_printed(algorithm, depth, *how))))
    return Grid("accuracy", f"Test accuracy in percent after {evidence.test_steps} inner steps.",
                ("Learner", "Accuracy", "Gain over plain (points)", "Paper: Omniglot, CIFAR-FS, mini-ImageNet"),
                tuple(map(line, paper.trained(evidence))), ("Accuracies", "The table holds no test accuracies."))

def _printed(algorithm: str, depth: int, how: str = "") -> str:
    tables: dict[tuple[str, int, str], tuple[float, ...]] = {}
    for least, (plain, deep) in paper.TABLE_1.items():
        tables |= {("maml", least, ""): plain, ("maml", least, "linnet"): deep}
    tables |= {("maml", 2, one): figures for one, figures in paper.TABLE_3.items() if one}
    tables |= {("anil", 2, one): figures for one, figures in paper.TABLE_B4.items()}
    tables["anil", 2, "linnet"] = paper.TABLE_2[1]
    return ", ".join(number(one) for one in tables.get((algorithm, depth, how), ()))

def _optimisers(evidence: Evidence) -> Section:
    least = paper.shallowest(evidence)
    def gains(algorithm: str) -> Dots:
        figures = paper.TABLE_3 if algorithm == "maml" else paper.TABLE_B4
        known = [how for how in RULES if key_of(algorithm, least, how) in evidence.learners]
        series = Series("", "#333333", tuple(measured(algorithm, least, how) - measured(algorithm, least)
                                             for how in known))
        printed = [(at, one) for at, how in enumerate(known) if how in figures for one in paper.gains(figures, how)]
        return Dots(f"{algorithm.upper()}, CNN({least}): gain (points)", tuple(RULES[how] for how in known), (series,),
                    lying=True, line=(0.0, ""), printed=tuple(printed))
    return Section("rules-section", "Learned update rules",
        ("A rule that maps gradients to steps leaves the network's functions as they are. Does it do what depth does "
         "(A9, A10), and less so where there is depth already (A11)? Rules are trained with the network.",),
        (("Meta-SGD", "a rate of its own for each weight"),
         ("Meta-Curvature", "a matrix along each axis of a tensor, which its gradient is multiplied by"),
         ("T-Nets", "a linear map behind each layer, which does not adapt"),
         ("Meta-KFO", "a Kronecker-factored map of each tensor's gradient, whose factors adapt with the task")),
        (Figure("rules", "Gains over plain steps, paired. Diamonds: the paper's, of its three data sets.",
                (gains("maml"), gains("anil")), ("Learned update rules", "The table holds no tests of any.")),))

def _reuse(evidence: Evidence) -> Section:
    keys = tuple(paper.trained(evidence))
    names = {key: label_of(key) for key in keys}
    def lines() -> Iterator[Line]:
        for key in keys:
            body = next(iter(evidence.distinct("frozen", "reuse_index", key)), "")
            yield Line(names[key], (Said(cost(key, body), signed=True) if body else Cell(""),
                                    Said(q("reuse_index", learner=key, frozen=body), 2)),
                       (f"frozen: {block_name(body)}",) if body else ())
    return Section("reuse", "What is reused (not in the paper)",
        ("Does a learner that adapts better reuse its convolutions, or relearn them? They are frozen in the inner "
         "loop, and the rest adapts alone: the head, with LinNet the linear layers too. The reuse index is the share "
         "of what was learned that is left.",), (),
        (_similar(evidence), Grid("reuse-index", "What freezing the convolutions changes, points, and the reuse index.",
              ("Learner", "Frozen", "Reuse index"), tuple(lines()), ("Reuse", "The table has no tests of it.")),),
        (blocks.learned(evidence, names, MARGIN),))

def _similar(evidence: Evidence) -> Figure:
    keys = [key for key in paper.trained(evidence) if evidence.distinct("layer", "debiased_cka", key)]
    layers = in_order({layer for key in keys for layer in evidence.distinct("layer", "debiased_cka", key)})
    def one(key: str) -> Series:
        how = key.split("-")[2:]
        values, nulls = (tuple(of_layer(m, k, key) for k in layers) for m in ("debiased_cka", "debiased_cka_null"))
        return Series(label_of(key), COLOURS[how[0] if how else ""], values, MARKS[how[0] if how else ""], nulls=nulls)
    return Figure("similarity", "Each layer before against after adaptation, mean over tasks.",
                  (Dots("Debiased CKA", layers, tuple(map(one, keys)), limits=(-0.05, 1.04)),),
                  ("Similarity by layer", "The table holds no similarities."))

def _maps(evidence: Evidence) -> Section:
    keys = [key for key in paper.trained(evidence) if evidence.distinct("layer", "update_cosine", key)]
    layers = [(key, layer) for key in keys for layer in evidence.distinct("layer", "update_cosine", key)]
    return Section("maps", "What a learned rule makes of a gradient (not in the paper)",
        ("At the initialisation, on each task's support set: the angle between the gradient g of a layer and the step "
         "U(g) that the rule makes of it, and how much longer the step is than a plain one. A cosine of 1 and equal "
         "ratios in all layers: the rule has learned a rate and nothing else.",), (),
        (Grid("update-maps", "Means over tasks, by layer; effective rank of its matrices: as a share of full rank.",
              ("Learner, layer", *_MAPS.values(), "effective rank"),
              tuple(Line(f"{label_of(key)}, {layer}", (*(Said(of_layer(m, layer, key), 3) for m in _MAPS),
                                                       Said(of_layer("update_effective_rank", layer, key), 3)))
                    for key, layer in layers),
              ("Update rules", "The table holds no learned rules.")),))
