"""Replacing: everything is found, specified and built before the model changes."""

from collections.abc import Sequence
from dataclasses import dataclass

from flax import nnx

from tensormoe.errors import TensorMoEError, one_of, true_or_false
from tensormoe.fitting.from_dense import STARTS
from tensormoe.gates.gate import Gate
from tensormoe.layers.freezing import check_frozen
from tensormoe.layers.replacement import Replacement, check_recipe
from tensormoe.networks.factorization import Factorization

from .find import Where, find, walk
from .recipe import Build, Recipe
from .start import build as build_modules


@dataclass(frozen=True)
class Swap:
    """A module that takes another's place in its parent."""

    parent: nnx.Module
    attribute: str
    old: nnx.Module
    new: nnx.Module

    def do(self) -> None:
        """Put the new module in."""
        self._put(self.new)

    def undo(self) -> None:
        """Put the old module back."""
        self._put(self.old)

    def _put(self, module: nnx.Module) -> None:
        # Before Flax 0.12.4, the elements of a list are no attributes of it.
        if isinstance(self.parent, nnx.List) and self.attribute.isdecimal():
            self.parent[int(self.attribute)] = module
        else:
            setattr(self.parent, self.attribute, module)


def replace(
    model: nnx.Module,
    where: Where,
    *,
    experts: int | tuple[int, ...] | None = None,
    factorization: Factorization | Sequence[Factorization] | None = None,
    gate: Gate | Sequence[Gate] | None = Gate(),
    match: str | None = None,
    init: str = "fresh",
    frozen: bool = False,
    dry_run: bool = False,
    build: Build | None = None,
    rngs: nnx.Rngs | None = None,
    seed: int | None = None,
) -> Replacement[nnx.Module]:
    """Replace linear layers and MLPs of a model by μMoE layers and blocks of the same sizes.

    Sizes, bias, nonlinearity, element type and devices are those of what is replaced: an `nnx.Linear`, an
    `nnx.LinearGeneral` or `nnx.Einsum` that is one matrix, or a module of your own whose only parameters are
    two linear layers or, gated, three. A copy of such a module with random weights is called, which tells
    its nonlinearity and the order of its layers, whatever their names; one that computes something else is
    refused. What is shared in the model is replaced once and stays shared.

    Nothing is changed if anything fails. Make the optimizer afterwards: the parameters are new. New modules
    are in training mode, as all of Flax's are.

    Args:
        model: it is changed in place.
        where: "head" for every submodule of this name; "blocks.[0-5].mlp" for full names that fit a pattern;
            a type, such as `nnx.Linear`; one of Flax's filters, such as `nnx.PathContains("mlp")`; or a
            function of full name and module that says whether to replace it.
        experts, factorization, gate: as for `tm.MuMoESpec` and `tm.MuMoEBlockSpec`.
        match: "parameters" for the largest rank with at most the parameters of what is replaced, "macs" for
            at most its multiply-accumulates a token; None for the rank that the factorization has.
        init: "fresh" for initial values; "upcycle" for experts that start near the weights that are
            replaced and "fit" for experts equal to them, exactly where the ranks allow, as `tm.upcycle`.
        frozen: whether what is replaced stays, as fixed cores W and B, and `factorization` is what experts
            add to it. The model computes what it did, and the added cores learn from there.
        dry_run: whether to leave the model as it is and only report.
        build: a function from the old module to a specification, or to a module, where `experts` and
            `factorization` are not enough.
        rngs: where values come from, as for `MuMoE`.
        seed: instead of rngs: the k-th module has the values of seed
            `np.random.SeedSequence(seed).generate_state(n, "uint64")[k]`.

    Returns:
        What was changed, as a table to print, with `undo()`, and the pairs of old and new modules.

    Raises:
        TensorMoEError: nothing fits `where`, a module that is neither linear nor an MLP, dropout in one,
            layers that are stacked in one module, a parameter that other modules share, a budget that is too
            small, weights to start from or to freeze that are not known, a gate that would scale frozen ones,
            or neither rngs nor a seed.

    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, for frozen weights.

    Examples:
        >>> import tensormoe as tm, tensormoe_jax
        >>> from flax import nnx
        >>> model = nnx.Sequential(nnx.Linear(64, 32, rngs=nnx.Rngs(0)))
        >>> report = tensormoe_jax.replace(model, "0", experts=4, factorization=tm.CP(rank=8), seed=0)
        >>> type(model.layers[0]).__name__, report.rows[0].parameters_after
        ('MuMoE', 1064)
        >>> report.undo()
        >>> type(model.layers[0]).__name__
        'Linear'
    """
    if not isinstance(model, nnx.Module):
        raise TensorMoEError("model", type(model), "pass a flax.nnx.Module")
    one_of("init", init, STARTS)
    true_or_false("dry_run", dry_run)
    check_recipe(experts, factorization, match, build)
    check_frozen(frozen, init, build)
    recipe = Recipe(experts, factorization, gate, match, build, frozen)
    links = list(walk(model))
    designs = [recipe.design(place) for place in find(model, links, where)]
    rows = tuple(each.describe() for each in designs)
    if dry_run:
        return Replacement(rows)
    modules = build_modules(designs, init, rngs, seed)
    both = list(zip((each.place for each in designs), modules, strict=True))
    new_of = {id(place.module): module for place, module in both}
    swaps = [
        Swap(parent, attribute, old, new_of[id(old)])
        for _, parent, attribute, old in links
        if id(old) in new_of
    ]
    for swap in swaps:
        swap.do()
    return Replacement(rows, tuple((place.name, place.module, module) for place, module in both), swaps)
