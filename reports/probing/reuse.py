"""What learners reuse, each with a network and a number of steps of its own: a sentence, a section."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from metaprobe.analyses.readings import Estimate
from metaprobe.reports.blocks.declared import Block, Figure, Grid, Line, Said
from metaprobe.reports.claims import POINTS
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.probing.blocks import similarities
from metaprobe.reports.probing.questions import cost
from metaprobe.reports.quantities import ANY, q
from metaprobe.reports.study.study import Section
from metaprobe.reports.wording import Look, block_name, listed, with_interval

VIEW = "reuse"  # what `view` says of tests with a frozen body where a study tests the same learner otherwise too
_SEVERAL = 3  # so many learners a sentence names; of more the two ends


# fmt: off
def _bodies(evidence: Evidence, learners: Iterable[str]) -> dict[str, str]:
    """Return the body that was frozen of each learner of which that was tested."""
    return {who: body for who in learners for body in evidence.distinct("frozen", "reuse_index", who)[:1]}

def freezing_told(evidence: Evidence, learners: Iterable[str], looks: Callable[[str], Look], view: str = "") -> str:
    """Say what freezing the body changes, of the two ends where there are many learners; "" if it was not tested."""
    bodies = _bodies(evidence, learners)
    found = {who: one for who, body in bodies.items()
             if isinstance(one := cost(who, body, steps=ANY, view=view).read(evidence), Estimate)}
    if not found:
        return ""
    told = {who: f"{looks(who)[0]} {with_interval(one, **POINTS)}" for who, one in found.items()}
    least, most = (told[by(found, key=lambda who: found[who].value)] for by in (min, max))
    said = f"of {len(told)} learners, {least} to {most}" if len(told) > _SEVERAL else listed([*told.values()])
    frozen = " and ".join(dict.fromkeys(map(block_name, bodies.values())))
    return f"Freezing {frozen} in the inner loop changes accuracy: {said}."

def reused(evidence: Evidence, learners: Iterable[str], looks: Callable[[str], Look], text: str, *,
           before: tuple[Block, ...] = (), details: tuple[Block, ...] = (), view: str = "") -> Section:
    """Return the section on what adaptation leaves of layers, and what freezing the body changes."""
    bodies, own = _bodies(evidence, learners := tuple(learners)), {"steps": ANY, "view": view}
    columns = {"Body frozen": lambda who: Said(cost(who, bodies[who], **own), signed=True),
               "Reuse index": lambda who: Said(q("reuse_index", learner=who, frozen=bodies[who], **own), 2)}
    if "nil" in evidence.distinct("head", "reuse_index"):  # on the body as it is, whose own head may need more steps
        columns["Reuse index, NIL head"] = lambda who: Said(q("reuse_index", learner=who, head="nil", **own), 2)
    lines = (Line(looks(who)[0], tuple(say(who) for say in columns.values()), (f"frozen: {block_name(body)}",))
             for who, body in bodies.items())
    alike = Figure("similarity", "Each layer before against after adaptation, mean over tasks.",
                   (similarities(evidence, "debiased_cka", learners, looks=looks, steps=ANY),),
                   ("Similarity by layer", "The table holds no similarities."))
    frozen = Grid("reuse-index", "What freezing the body changes, points, and the reuse index.", ("Learner", *columns),
                  tuple(lines), ("Reuse", "The table has no tests of it."))
    return Section("reuse", "What is reused (not in the paper)", (text,),
                   (("reuse index", "the share of what was learned that is left when the body is frozen"),),
                   (*before, alike, frozen), details)
