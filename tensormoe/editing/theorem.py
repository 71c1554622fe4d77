"""A certificate's text."""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from ..gates.steering import Steering
from ..layers.spec import Spec
from ..networks.notation import expert_modes
from ..typing import NumPyArray
from .reading import Place

_INDENT = "    "
# More experts or outputs than this are not listed.
_LISTED = 6


class Extent(NamedTuple):
    """The numbers of the inputs, the bias's I among them, and of the outputs whose weights differ."""

    inputs: NumPyArray
    outputs: NumPyArray


class Statement(NamedTuple):
    """What is certified.

    Args:
        before, after: the specifications.
        experts: for each layer, those whose weights may have changed.
        extents: for each layer, where its weights have changed.
        steps: of steering that came after the gate's own.
        bits: of each random integer.
    """

    before: Spec
    after: Spec
    experts: Mapping[str, Sequence[Place]]
    extents: Mapping[str, Extent]
    steps: Sequence[Steering]
    bits: int


def state(it: Statement) -> str:
    """The theorem that only these experts' shares of the outputs change, with its proof."""
    extended = "z = (x, 1)" if any(layer.network.has_bias for layer in it.after.layers.values()) else "z = x"
    same = "Both gates are the same function of x, with equal parameters: their coefficients are equal"
    gates = [f"   1  {same}."]
    if it.steps:
        gates = [f"   1  {same}", "      until those after are steered as the theorem says."]
    lines = [
        f"Theorem. For every input x, with the coefficients a[n] and {extended}, the edit changes the",
        *(_on_block(it) if len(it.experts) > 1 else _on_layer(it)),
        *_levels(it.before),
        *_steered(it),
        "",
        *_consequence(it),
        "",
        "Proof, in real numbers.",
        "",
        *gates,
        "   2  For all values, the programs compute y[o] = Σ W[n, i, o] a[n] z[i], before and after, as the",
        "      prover of tm.prove derives from",
    ]
    for word, spec in (("before", it.before), ("after", it.after)):
        lines.append(f"      {word + ':':<8}{next(iter(spec.layers.values())).network}")
    lines += [*_compared(it)]
    lines += ["   4  Subtract both sums of 2: by 3, only the terms of the theorem are left. ∎"]
    return "\n".join(lines)


def _on_layer(it: Statement) -> Iterator[str]:
    yield "output y (O) to"
    yield ""
    yield f"{_INDENT}y′ = y{_change(it, next(iter(it.experts.values())))}"


def _on_block(it: Statement) -> Iterator[str]:
    yield "result u of each layer, for the input x of this layer, to"
    yield ""
    edited = {name: places for name, places in it.experts.items() if places or it.steps}
    for name, places in edited.items():
        yield f"{_INDENT}u′ = u{_change(it, places)}    in {name}"
    if len(edited) < len(it.experts):
        yield f"{_INDENT}u′ = u    in {'every other' if edited else 'every'} layer"


def _change(it: Statement, places: Sequence[Place]) -> str:
    """The change of an output: a sum over the edited experts."""
    if it.steps and not _is_simple(it):
        return " + Σ (a′[n] W′[n] − a[n] W[n])ᵀ z"
    steered = "".join(
        f" + δ[{number}] W{'′' * ((number,) in places)}[{number}]ᵀ z" for number in _offsets(it.steps)
    )
    if not places:
        return steered
    if len(places) == 1:
        number = _name(places[0])
        return f" + a[{number}] (W′[{number}] − W[{number}])ᵀ z{steered}"
    listed = ", ".join(f"({_name(each)})" if len(each) > 1 else _name(each) for each in places[:_LISTED])
    more = f", … ({len(places)} experts)" if len(places) > _LISTED else ""
    return f"{steered} + Σ a[n] (W′[n] − W[n])ᵀ z,  n = {listed}{more}"


def _is_simple(it: Statement) -> bool:
    """Whether every steered coefficient changes by a number that its own old value tells."""
    renormalized = any(step.renormalize for step in it.steps)
    once = len(_offsets(it.steps)) == len(it.steps) <= _LISTED
    return it.before.levels == 1 and not renormalized and once


def _offsets(steps: Sequence[Steering]) -> dict[int, str]:
    """For each expert that is steered once, δ as text: c, or c − a[n] if its coefficient is set."""
    return {
        step.expert: repr(step.value) if step.adds else f"{step.value!r} − a[{step.expert}]" for step in steps
    }


def _steered(it: Statement) -> Iterator[str]:
    """How coefficients are steered."""
    if not it.steps:
        return
    yield ""
    if _is_simple(it):
        yield (
            "where " + ", ".join(f"δ[{number}] = {text}" for number, text in _offsets(it.steps).items()) + "."
        )
        return
    yield "where n runs over all experts, and a′ are the coefficients a after these steps, in order:"
    for step in it.steps[:_LISTED]:
        mode = f"a{step.level + 1}[{step.expert}]"
        change = f"{mode} + {step.value!r}" if step.adds else repr(step.value)
        total = f", then a{step.level + 1} divided by its sum" * step.renormalize
        yield f"{_INDENT}{mode} becomes {change}{total}"
    if len(it.steps) > _LISTED:
        yield f"{_INDENT}… ({len(it.steps)} steps)"


def _levels(spec: Spec) -> Iterator[str]:
    if spec.levels > 1:
        modes = expert_modes(spec.levels)
        factors = " ".join(f"a{level}[{mode}]" for level, mode in enumerate(modes, start=1))
        yield ""
        yield f"where a[{', '.join(modes)}] = {factors}, and n stands for all levels' numbers."


def _consequence(it: Statement) -> Iterator[str]:
    block = len(it.experts) > 1
    whole = "the output of the block" if block else "the output"
    if it.steps:
        if _is_simple(it):
            yield "What every other expert adds is unchanged."
        else:
            yield "No weight of any other expert is changed."
        return
    if not any(it.experts.values()):
        yield "Nothing is changed."
        return
    yield f"Where the coefficients of these experts are zero, {whole} is unchanged."
    for name, extent in it.extents.items():
        if it.experts[name]:
            yield from _extent(it.before, name, extent, block)


def _extent(spec: Spec, name: str, extent: Extent, block: bool) -> Iterator[str]:
    """What is unchanged whatever the coefficients are."""
    stage = spec.layers[name]
    total, changed = stage.out_features, extent.outputs
    letter, where = ("u", f" of {name}") if block else ("y", "")
    if 0 < len(changed) < total:
        listed = ", ".join(map(str, changed[:_LISTED])) + (", …" if len(changed) > _LISTED else "")
        yield f"Wherever they are not, only {letter}[o]{where} changes, o = {listed}:"
        yield f"{total - len(changed)} of {total} outputs are unchanged for every input."
    if len(changed) and not np.any(extent.inputs < stage.in_features):
        yield f"The change{where} is one of biases: it depends on x only by the coefficients."


def _compared(it: Statement) -> Iterator[str]:
    total = prod(it.before.experts)
    yield "   3  W′[n] = W[n] for all other experts, in exact arithmetic on the given weights:"
    for name, places in it.experts.items():
        where = f" in {name}" if len(it.experts) > 1 else ""
        yield f"      {total - len(places)} of {total} experts{where}."
    yield f"      uᵀ W[n] v was compared, with vectors u and v of random {it.bits}-bit integers: experts that"
    yield f"      differ agree there with a probability of at most 2^−{it.bits - 1}. Inputs and outputs were"
    yield f"      compared likewise, over all experts: at most {it.before.levels + 1} · 2^−{it.bits}."


def _name(place: Place) -> str:
    return ", ".join(map(str, place))
