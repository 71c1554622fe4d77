"""A certificate's text."""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from ..gates.steering import Sharing, Steering, Step, experts_before
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
        steps: of the gate that came after its own, which steer and split; the layer before is split alike.
        bits: of each random integer.
    """

    before: Spec
    after: Spec
    experts: Mapping[str, Sequence[Place]]
    extents: Mapping[str, Extent]
    steps: Sequence[Step]
    bits: int

    @property
    def steers(self) -> list[Steering]:
        """The steps that change coefficients by numbers."""
        return [step for step in self.steps if isinstance(step, Steering)]

    @property
    def splits(self) -> list[Sharing]:
        """The steps that share coefficients."""
        return [step for step in self.steps if isinstance(step, Sharing)]


def state(it: Statement) -> str:
    """The theorem that only these experts' shares of the outputs change, with its proof."""
    extended = "z = (x, 1)" if any(layer.network.has_bias for layer in it.after.layers.values()) else "z = x"
    read = "x" if it.before.gate_features is None else "what the router reads"
    same = f"Both gates are the same function of {read}, with equal parameters: their coefficients are equal"
    gates = [f"   1  {same}."]
    if it.steps:
        done = " and ".join(["split"] * bool(it.splits) + ["steered"] * bool(it.steers))
        gates = [f"   1  {same}", f"      until those after are {done} as the theorem says.", *_unsplit(it)]
    lines = [
        f"Theorem. For every input x, with the coefficients a[n] and {extended}, the edit changes the",
        *(_on_block(it) if len(it.experts) > 1 else _on_layer(it)),
        *_levels(it.before),
        *_split(it),
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
    layers = it.before.layers
    edited = {
        name: places for name, places in it.experts.items() if places or (it.steers and layers[name].experts)
    }
    for name, places in edited.items():
        yield f"{_INDENT}u′ = u{_change(it, places)}    in {name}"
    if len(edited) < len(it.experts):
        yield f"{_INDENT}u′ = u    in {'every other' if edited else 'every'} layer"


def _change(it: Statement, places: Sequence[Place]) -> str:
    """The change of an output: a sum over the edited experts."""
    if it.steers and not _is_simple(it):
        return " + Σ (a′[n] W′[n] − a[n] W[n])ᵀ z"
    steered = "".join(
        f" + δ[{number}] W{'′' * ((number,) in places)}[{number}]ᵀ z" for number in _offsets(it.steers)
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
    renormalized = any(step.renormalize for step in it.steers)
    once = len(_offsets(it.steers)) == len(it.steers) <= _LISTED
    split_first = list(it.steps[: len(it.splits)]) == it.splits
    return it.before.levels == 1 and not renormalized and once and split_first


def _offsets(steps: Sequence[Steering]) -> dict[int, str]:
    """For each expert that is steered once, δ as text: c, or c − a[n] if its coefficient is set."""
    return {
        step.expert: repr(step.value) if step.adds else f"{step.value!r} − a[{step.expert}]" for step in steps
    }


def _list_steps(it: Statement) -> Iterator[tuple[Step, str]]:
    """Every step with what it does, in order."""
    counts = experts_before(it.steps, it.before.experts)
    for step in it.steps:
        letter = "a" if len(counts) == 1 and (not it.steers or _is_simple(it)) else f"a{step.level + 1}"
        own = f"{letter}[{step.expert}]"
        if isinstance(step, Sharing):
            first = counts[step.level]
            copies = [step.expert, *range(first, first + step.added)]
            listed = ", ".join(f"{letter}[{number}]" for number in copies[:_LISTED])
            more = ", …" * (len(copies) > _LISTED)
            yield step, f"{own} is shared by {listed}{more}: its shares sum to 1"
        elif isinstance(step, Steering):
            change = f"{own} + {step.value!r}" if step.adds else repr(step.value)
            yield step, f"{own} becomes {change}" + f", then {letter} divided by its sum" * step.renormalize
        counts = step.follow(counts)


def _split(it: Statement) -> Iterator[str]:
    """Which experts became several."""
    if it.splits:
        yield ""
        yield "where a and W are those after experts were split, by copies with equal weights:"
        yield from _shorten([text for step, text in _list_steps(it) if isinstance(step, Sharing)])


def _shorten(lines: Sequence[str]) -> Iterator[str]:
    yield from (_INDENT + line for line in lines[:_LISTED])
    if len(lines) > _LISTED:
        yield f"{_INDENT}… ({len(lines)} steps)"


def _unsplit(it: Statement) -> Iterator[str]:
    """Why splits alone change no output."""
    if it.splits:
        yield "      A split alone changes no output: shares s are a softmax, whatever the columns that they"
        yield "      are computed by, and Σ s a[n] W[n] = a[n] W[n] over the copies of an expert n."


def _steered(it: Statement) -> Iterator[str]:
    """How coefficients are steered."""
    if not it.steers:
        return
    yield ""
    if _is_simple(it):
        offsets = _offsets(it.steers).items()
        yield "where " + ", ".join(f"δ[{number}] = {text}" for number, text in offsets) + "."
        return
    own = "the gate's own coefficients" if it.splits else "the coefficients a"
    yield f"where n runs over all experts, and a′ are {own} after these steps, in order:"
    yield from _shorten([text for _, text in _list_steps(it)])


def _levels(spec: Spec) -> Iterator[str]:
    if spec.levels > 1:
        modes = expert_modes(spec.levels)
        factors = " ".join(f"a{level}[{mode}]" for level, mode in enumerate(modes, start=1))
        yield ""
        yield f"where a[{', '.join(modes)}] = {factors}, and n stands for all levels' numbers."


def _consequence(it: Statement) -> Iterator[str]:
    block = len(it.experts) > 1
    whole = "the output of the block" if block else "the output"
    if it.steers:
        if _is_simple(it):
            yield "What every other expert adds is unchanged."
        else:
            yield "No weight of any other expert is changed."
        return
    if not any(it.experts.values()):
        yield (
            f"{whole[0].upper()}{whole[1:]} is unchanged for every input."
            if it.splits
            else "Nothing is changed."
        )
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
    yield "   3  W′[n] = W[n] for all other experts, in exact arithmetic on the given weights:"
    for name, places in it.experts.items():
        where = f" in {name}" if len(it.experts) > 1 else ""
        counts = it.before.layers[name].experts
        if not counts:
            yield f"      the matrix of {name}, which has none."
            continue
        total = prod(counts)
        yield f"      {total - len(places)} of {total} experts{where}."
    yield f"      uᵀ W[n] v was compared, with vectors u and v of random {it.bits}-bit integers: experts that"
    yield f"      differ agree there with a probability of at most 2^−{it.bits - 1}. Inputs and outputs were"
    yield f"      compared likewise, over all experts: at most {it.before.levels + 1} · 2^−{it.bits}."


def _name(place: Place) -> str:
    return ", ".join(map(str, place))
