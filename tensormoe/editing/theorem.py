"""A certificate's text."""

from collections.abc import Iterator, Mapping, Sequence
from math import prod

from ..layers.spec import Spec
from ..networks.notation import expert_modes
from .reading import Place

_INDENT = "    "
# More experts than this are not listed.
_LISTED = 6


def state(before: Spec, after: Spec, experts: Mapping[str, Sequence[Place]], bits: int) -> str:
    """The theorem that only these experts' shares of the outputs change, with its proof.

    Args:
        before, after: the specifications.
        experts: for each layer, those that may have changed.
        bits: of each random integer.
    """
    edited = {name: places for name, places in experts.items() if places}
    extended = "z = (x, 1)" if after.bias else "z = x"
    lines = [
        f"Theorem. For every input x, with the coefficients a[n] and {extended}, the edit changes the",
        *(_on_block(edited, len(experts)) if len(experts) > 1 else _on_layer(edited)),
        *_levels(before),
        "",
        *_consequence(edited, len(experts) > 1),
        "",
        "Proof, in real numbers.",
        "",
        "   1  Both gates are the same function of x, with equal parameters: their coefficients are equal.",
        "   2  For all values, the programs compute y[o] = Σ W[n, i, o] a[n] z[i], before and after, as the",
        "      prover of tm.prove derives from",
    ]
    for word, spec in (("before", before), ("after", after)):
        lines.append(f"      {word + ':':<8}{next(iter(spec.layers.values())).network}")
    lines += [*_compared(before, experts, bits)]
    lines += ["   4  Subtract both sums of 2: by 3, only the terms of the theorem are left. ∎"]
    return "\n".join(lines)


def _on_layer(edited: Mapping[str, Sequence[Place]]) -> Iterator[str]:
    yield "output y (O) to"
    yield ""
    yield f"{_INDENT}y′ = y{_change(next(iter(edited.values()), ()), 'W')}"


def _on_block(edited: Mapping[str, Sequence[Place]], layers: int) -> Iterator[str]:
    yield "result u of each layer, for the input x of this layer, to"
    yield ""
    for name, places in edited.items():
        yield f"{_INDENT}u′ = u{_change(places, 'W')}    in {name}"
    if len(edited) < layers:
        yield f"{_INDENT}u′ = u    in {'every other' if edited else 'every'} layer"


def _change(places: Sequence[Place], weight: str) -> str:
    """The change of an output: a sum over the edited experts."""
    if not places:
        return ""
    if len(places) == 1:
        number = _name(places[0])
        return f" + a[{number}] ({weight}′[{number}] − {weight}[{number}])ᵀ z"
    listed = ", ".join(f"({_name(each)})" if len(each) > 1 else _name(each) for each in places[:_LISTED])
    more = f", … ({len(places)} experts)" if len(places) > _LISTED else ""
    return f" + Σ a[n] ({weight}′[n] − {weight}[n])ᵀ z,  n = {listed}{more}"


def _levels(spec: Spec) -> Iterator[str]:
    if spec.levels > 1:
        modes = expert_modes(spec.levels)
        factors = " ".join(f"a{level}[{mode}]" for level, mode in enumerate(modes, start=1))
        yield ""
        yield f"where a[{', '.join(modes)}] = {factors}, and n stands for all levels' numbers."


def _consequence(edited: Mapping[str, Sequence[Place]], block: bool) -> Iterator[str]:
    if edited:
        whole = "the output of the block" if block else "the output"
        yield f"Where the coefficients of these experts are zero, {whole} is unchanged."
    else:
        yield "Nothing is changed."


def _compared(spec: Spec, experts: Mapping[str, Sequence[Place]], bits: int) -> Iterator[str]:
    total = prod(spec.experts)
    yield "   3  W′[n] = W[n] for all other experts, in exact arithmetic on the given weights:"
    for name, places in experts.items():
        where = f" in {name}" if len(experts) > 1 else ""
        yield f"      {total - len(places)} of {total} experts{where}."
    yield f"      uᵀ W[n] v was compared, with vectors u and v of random {bits}-bit integers: experts that"
    yield f"      differ agree there with a probability of at most 2^−{bits - 1}."


def _name(place: Place) -> str:
    return ", ".join(map(str, place))
