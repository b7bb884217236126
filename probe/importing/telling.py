"""What an import has found and done, in words."""

from __future__ import annotations

from metaprobe.probe.importing.matching import Fit
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.network_config import ModuleNorm
from metaprobe.trainers.networks import ModuleNetwork

__all__ = ["fit_facts", "module_facts"]


def fit_facts(fit: Fit) -> list[tuple[str, str]]:
    """Return how the tensors of a file fit a network, as (what, value)."""
    facts = [("fits", f"{len(fit.tensors) - len(fit.drawn)} tensors")]
    if fit.prefix or fit.added:
        what = f"{visible(fit.prefix, 60)} taken off" if fit.prefix else f"{visible(fit.added, 60)} put before"
        facts.append(("names of the file", what))
    if fit.drawn:
        facts.append(("drawn freshly", ", ".join(fit.drawn)))
    if fit.left:
        more = f" and {len(fit.left) - 8} more" if len(fit.left) > 8 else ""
        facts.append(("left out, no place for", ", ".join(visible(name, 80) for name in fit.left[:8]) + more))
    return facts


_NORMS: dict[ModuleNorm, str] = {
    "transductive": "normalise with each batch's own statistics; running statistics are kept and not read",
    "non-transductive": "normalise with the support set's statistics; running statistics are kept and not read",
    "running": "normalise with the running statistics of the file, which nothing changes",
}


def module_facts(network: ModuleNetwork) -> list[tuple[str, str]]:
    """Return what a pass of a module has shown, and what is done about its norms, as (what, value)."""
    seen = network.seen
    facts = [("layers", ", ".join(seen.layers)), ("mode", "as in evaluation: no dropout")]
    if network.norms:
        facts.append((f"{network.norms} batch norms", _NORMS[network.norm]))
    if seen.unused:
        facts.append(("weights that reach no output, never adapted", ", ".join(seen.unused[:8])))
    if seen.kind:
        facts.append(("output", f"a {seen.kind}, whose logits or first tensor are taken"))
    return facts
