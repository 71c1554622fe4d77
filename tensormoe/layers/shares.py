"""Shares of a layer: a part of the experts, or of a bond, whose outputs add up to the layer's.

A weight tensor is a sum over every bond, and the mixture a sum over experts. So each of several devices may
hold a part of one index in all cores, compute its own program, and sum its output with the others' after
every stage. The gate is small: every device computes all of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ..arrays.backend import Backend
from ..errors import TensorMoEError, one_of
from ..networks.notation import expert_modes
from ..typing import Array
from .checks import flatten
from .each import one_or_each
from .functional import choose_program, unflatten
from .in_turn import compute_in_turn
from .parameters import name_core
from .spec import Spec, check_spec
from .stage import Stage

_SUM = "it is a sum, and every share would add the terms without the bond again: share out its experts"
_SHARED = "a share of a core that is used more than once is not one of all its uses: share out its experts"


def _check_trained(spec: Spec) -> None:
    """Refuse fixed cores, which no framework's shares know."""
    if spec.fixed_shapes:
        names = ", ".join(spec.fixed_shapes)
        remedy = "a fixed core is not shared out: let every device have the whole layer"
        raise TensorMoEError("factorization", f"fixed cores {names}", remedy)


def _check_aligned(spec: Spec) -> None:
    """Refuse cores of several layers that are written differently: their shares would not be the same."""
    written: dict[str, tuple[str, ...]] = {}
    for stage in spec.layers.values():
        for core in (each for each in stage.network.cores if each.name in stage.joint):
            other = written.setdefault(core.name, core.indices)
            if other != core.indices:
                remedy = f"layers share it as {' '.join(other)!r} and as {str(core)!r}: write it alike in all"
                raise TensorMoEError("shared", core.name, remedy)


def rank_index(spec: Spec, bond: str | None = None) -> str:
    """The bond that is shared out along the rank: the first that the family would grow, or the one named.

    Raises:
        TensorMoEError: an unknown bond, a family without any, a sum, or a layer of a block without it.

    Examples:
        >>> import tensormoe as tm
        >>> from tensormoe.layers.shares import rank_index
        >>> rank_index(tm.MuMoESpec(8, 6, experts=4, factorization=tm.TensorRing((2, 3, 4))))
        'r3'
    """
    check_spec(spec)
    _check_trained(spec)
    _check_aligned(spec)
    stages = spec.layers.values()
    bonds = tuple(dict.fromkeys(name for stage in stages for name, _ in stage.network.bonds))
    whole = one_or_each([stage.factorization for stage in stages])
    if not bonds:
        remedy = "it has no bond to share out: share out its experts"
        raise TensorMoEError("factorization", whole, remedy)
    if any(stage.network.counts for stage in stages):
        raise TensorMoEError("factorization", whole, _SUM)
    if any(stage.network.shared for stage in stages):
        raise TensorMoEError("factorization", whole, _SHARED)
    if bond is None:
        growing = (
            each for s in stages for each in s.factorization.growing_bonds(s.levels) if s.network.bonds
        )
        return _check_everywhere(spec, next(growing, bonds[0]))
    one_of("bond", bond, bonds)
    return _check_everywhere(spec, bond)


def _check_everywhere(spec: Spec, index: str) -> str:
    """Return an index that all layers have: every process would add all of a layer without it."""
    for name, stage in spec.layers.items():
        if index not in stage.network.sizes:
            remedy = f"layer {name} has no index {index!r} to share out: share out an index of every layer"
            raise TensorMoEError("factorization", stage.factorization, remedy)
    return index


def experts_index(spec: Spec) -> str:
    """The expert mode that is shared out: that of the first level.

    Raises:
        TensorMoEError: a layer without experts.

    Examples:
        >>> import tensormoe as tm
        >>> from tensormoe.layers.shares import experts_index
        >>> experts_index(tm.MuMoESpec(8, 6, experts=(4, 2), factorization=tm.CP(rank=5)))
        'n1'
    """
    check_spec(spec)
    _check_trained(spec)
    _check_aligned(spec)
    if not spec.experts:
        raise TensorMoEError("experts", spec.experts, "there are none to share out: share out a bond")
    for stage in spec.layers.values():
        stage.network.require_whole_experts(
            "a share of the experts is not one of their parts: share out a bond"
        )
    return _check_everywhere(spec, expert_modes(spec.levels)[0])


def share_stages(spec: Spec, shapes: Mapping[str, Sequence[int]]) -> dict[str, Stage]:
    """The stages that shares of all cores make, from the shapes of the shares by parameter name."""
    return {prefix: _share(prefix, stage, shapes) for prefix, stage in spec.layers.items()}


def _share(prefix: str, stage: Stage, shapes: Mapping[str, Sequence[int]]) -> Stage:
    for name in stage.network.shared:
        if tuple(shapes[name_core(prefix, stage, name)]) != stage.network.shapes[name]:
            raise TensorMoEError("factorization", stage.factorization, _SHARED)
    sizes: dict[str, int] = {}
    for core in stage.network.cores:
        sizes |= zip(core.indices, shapes[name_core(prefix, stage, core.name)], strict=True)
    levels = stage.levels
    if stage.network.counts and any(sizes[bond] != size for bond, size in stage.network.bonds):
        raise TensorMoEError("factorization", stage.factorization, _SUM)
    bonds = {bond: sizes[bond] for bond in stage.factorization.bonds(levels)}
    experts = tuple(
        sizes.get(mode, size) for mode, size in zip(expert_modes(levels), stage.experts, strict=True)
    )
    share = replace(stage, experts=experts, factorization=stage.factorization.with_bonds(bonds))
    for name, shape in share.network.shapes.items():
        given = tuple(shapes[name_core(prefix, stage, name)])
        if given != shape:
            remedy = f"the other cores' shares make it {shape}: share out one index in all of its cores"
            raise TensorMoEError(name_core(prefix, stage, name), given, remedy)
    return share


def mix_shares(
    ops: Backend,
    spec: Spec,
    stages: Mapping[str, Stage],
    shares: Mapping[str, Array],
    coefficients: Sequence[Array],
    x: Array,
    enter: Callable[[Array], Array],
    total: Callable[[Array], Array],
    recompute: bool = False,
) -> Array:
    """The output of a layer of which every device has a share.

    Args:
        ops: the backend object.
        spec: of the whole layer.
        stages: those of the share, from `share_stages`.
        shares: the share of every parameter but the gate's, by name; a core that is whole has entered.
        coefficients: of the experts in the share, E arrays (…, N_e), which have entered.
        x: (…, I), the same on all devices.
        enter: marks an array that all devices have and each goes on with by itself, so that its gradients
            are summed; the identity where a framework does so.
        total: sums an array over the devices.
        recompute: as for `apply`.
    """
    tokens = flatten(ops, x, x)
    mixed = [flatten(ops, a, x) for a in coefficients]

    def run(prefix: str, tokens: Array) -> Array:
        stage = stages[prefix]
        cores = [shares[name_core(prefix, stage, name)] for name in stage.network.shapes]
        program = choose_program(ops, stage, tokens)
        # A layer without experts takes no coefficients.
        return total(ops.compute(program, (tokens, *mixed[: stage.levels]), cores, recompute))

    return unflatten(ops, compute_in_turn(ops, spec, shares, tokens, run, enter), x)
