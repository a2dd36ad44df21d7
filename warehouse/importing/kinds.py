"""Which comparison an imported pair belongs to, by the names of its two sides and the list of steps.

Arithmetic on names; the ledger is not known here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from warehouse.importing.manifest import Checkpoint


def steps_by_model(
    checkpoints: Iterable[Checkpoint],
    listed: Sequence[int] = (),
    known: Mapping[tuple[str, str], Collection[int]] | None = None,
) -> dict[tuple[str, str], tuple[int, ...]]:
    """The steps that follow one another, by family and model: those listed, or all that occur or were known before."""
    found: dict[tuple[str, str], set[int]] = {}
    for checkpoint in checkpoints:
        found.setdefault(checkpoint[:2], set()).add(checkpoint.step)
    before = known or {}
    return {model: tuple(sorted(listed or steps | set(before.get(model, ())))) for model, steps in found.items()}


def kinds(p: Checkpoint, q: Checkpoint, steps: Sequence[int]) -> list[str]:
    """The kinds of comparison that KL(p || q) answers (docs/methods.md §2); steps: the list of p's model, ascending.

    One model's pair at one step is of kind seed; one run's pair of neighbouring steps of kind step or step_reverse, and
    with the last step of kind final or final_reverse. Every other one is of kind custom.
    """
    if p[:2] != q[:2]:
        return ["custom"]
    if p.step == q.step:
        return ["seed"]
    place = {step: number for number, step in enumerate(steps)}
    if p.seed != q.seed or p.step not in place or q.step not in place:
        return ["custom"]
    gap, last = place[q.step] - place[p.step], len(steps) - 1
    found = [kind for kind, wanted in (("step", 1), ("step_reverse", -1)) if gap == wanted]
    found += ["final"] if place[q.step] == last else []
    found += ["final_reverse"] if place[p.step] == last else []
    return found or ["custom"]
