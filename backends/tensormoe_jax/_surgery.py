"""Replacing modules of a model by μMoE layers and blocks."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import jax
import numpy as np
from flax import nnx
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from tensormoe.errors import TensorMoEError, non_negative_integer, true_or_false
from tensormoe.gates.gate import Gate
from tensormoe.layers import places
from tensormoe.layers.layer_spec import MuMoESpec
from tensormoe.layers.replacement import Replacement, Row, check_recipe, describe_spec, match_costs
from tensormoe.layers.spec import Spec
from tensormoe.networks.factorization import Factorization

from ._base import Device
from ._initialization import check_source
from ._module import MuMoE, MuMoEBlock

Where: TypeAlias = str | type[nnx.Module] | Callable[[str, nnx.Module], bool]
Place: TypeAlias = places.Place[nnx.Module]
Build: TypeAlias = Callable[[nnx.Module], Spec | nnx.Module]
_REMEDY = "pass build=, a function from the old module to a specification or a module"


@dataclass(frozen=True)
class _Swap:
    """A module that takes another's place in its parent."""

    parent: nnx.Module
    attribute: str
    old: nnx.Module
    new: nnx.Module

    def do(self) -> None:
        self._put(self.new)

    def undo(self) -> None:
        self._put(self.old)

    def _put(self, module: nnx.Module) -> None:
        # Before Flax 0.12.4, the elements of a list are no attributes of it.
        if isinstance(self.parent, nnx.List) and self.attribute.isdecimal():
            self.parent[int(self.attribute)] = module
        else:
            setattr(self.parent, self.attribute, module)


@dataclass(frozen=True)
class _Recipe:
    """The arguments of `replace` that say what to build."""

    experts: int | tuple[int, ...] | None
    factorization: Factorization | None
    gate: Gate
    match: str | None
    build: Build | None

    def design(self, place: Place) -> Spec | nnx.Module:
        """What takes the place of a module."""
        new = (
            self._write(place)
            if self.build is None
            else places.ask("build", self.build, place.name, place.module)
        )
        if isinstance(new, nnx.Module):
            return new
        if not isinstance(new, Spec):
            raise TensorMoEError(f"build for {place.name}", new, "return a specification, or a module")
        return match_costs(new, self.match, _count(place.module), _macs(place.module), place.name)

    def _write(self, place: Place) -> Spec:
        assert self.experts is not None
        assert self.factorization is not None
        linear = _read_linear(place)
        sizes = linear.in_features, linear.out_features
        return MuMoESpec(*sizes, self.experts, self.factorization, self.gate, linear.bias is not None)


def replace(
    model: nnx.Module,
    where: Where,
    *,
    experts: int | tuple[int, ...] | None = None,
    factorization: Factorization | None = None,
    gate: Gate = Gate(),
    match: str | None = None,
    dry_run: bool = False,
    build: Build | None = None,
    rngs: nnx.Rngs | None = None,
    seed: int | None = None,
) -> Replacement:
    """Replace linear layers of a model by μMoE layers of the same sizes; by `build`, any modules.

    Sizes, bias, element type and devices are those of the `nnx.Linear`. What is shared in the model is
    replaced once and stays shared. Nothing is changed if anything fails. Make the optimizer afterwards: the
    parameters are new. New modules are in training mode, as all of Flax's are.

    Args:
        model: it is changed in place.
        where: "head" for every submodule of this name; "blocks.[0-5].mlp" for full names that fit a pattern;
            a type, such as `nnx.Linear`; or a function of full name and module that says whether to replace
            it.
        experts, factorization, gate: as for `tm.MuMoESpec`.
        match: "parameters" for the largest rank with at most the parameters of what is replaced, "macs" for
            at most its multiply-accumulates a token; None for the rank that the factorization has.
        dry_run: whether to leave the model as it is and only report.
        build: a function from the old module to a specification, or to a module: for MLPs and for all that
            is not an `nnx.Linear`.
        rngs: where initial values come from, as for `MuMoE`.
        seed: instead of rngs: the k-th module has the values of seed
            `np.random.SeedSequence(seed).generate_state(n, "uint64")[k]`.

    Returns:
        What was changed, as a table to print, with `undo()`.

    Raises:
        TensorMoEError: nothing fits `where`, a module that is not an `nnx.Linear`, layers that are stacked in
            one module, a parameter that other modules share, a budget that is too small, or neither rngs nor
            a seed.

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
    true_or_false("dry_run", dry_run)
    check_recipe(experts, factorization, match, build)
    recipe = _Recipe(experts, factorization, gate, match, build)
    links = list(_walk(model))
    chosen = _find(model, links, where)
    designs = [recipe.design(place) for place in chosen]
    rows = tuple(map(_describe, chosen, designs))
    if dry_run:
        return Replacement(rows)
    modules = _build(chosen, designs, rngs, seed)
    new_of = {id(place.module): module for place, module in zip(chosen, modules, strict=True)}
    swaps = [
        _Swap(parent, attribute, old, new_of[id(old)])
        for _, parent, attribute, old in links
        if id(old) in new_of
    ]
    for swap in swaps:
        swap.do()
    return Replacement(rows, swaps)


_Link: TypeAlias = tuple[str, nnx.Module, str, nnx.Module]


def _walk(module: nnx.Module, prefix: str = "", above: tuple[int, ...] = ()) -> Iterator[_Link]:
    """Every module below one: full name, parent, attribute and module; shared ones once for each name."""
    above = (*above, id(module))
    for key, child in vars(module).items():
        # A module may know the one that it is in.
        if isinstance(child, nnx.Module) and id(child) not in above:
            attribute = str(key)
            yield prefix + attribute, module, attribute, child
            yield from _walk(child, f"{prefix}{attribute}.", above)


def _find(model: nnx.Module, links: list[_Link], where: Where) -> list[Place]:
    named = [(name, module) for name, _, _, module in links]
    tree: places.Tree[nnx.Module] = places.Tree(model, nnx.Module, named, _modules, _variables)
    chosen = tree.find(where)
    tree.check_ties(chosen)
    return chosen


def _modules(module: nnx.Module) -> Iterable[nnx.Module]:
    return {id(each): each for each in (module, *(link[3] for link in _walk(module)))}.values()


def _variables(module: nnx.Module) -> Iterable[object]:
    return [value for value in vars(module).values() if isinstance(value, nnx.Param)]


def _read_linear(place: Place) -> nnx.Linear:
    linear = place.module
    if type(linear) is not nnx.Linear:
        raise TensorMoEError(place.name, type(linear).__name__, f"it is not an nnx.Linear: {_REMEDY}")
    if linear.kernel.ndim != 2:
        remedy = f"it holds several layers in one: {_REMEDY}, such as tensormoe_jax.stacked(…)"
        raise TensorMoEError(place.name, tuple(linear.kernel.shape), remedy)
    return linear


def _count(module: nnx.Module) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


def _macs(module: nnx.Module) -> int | None:
    return module.in_features * module.out_features if type(module) is nnx.Linear else None


def _describe(place: Place, new: Spec | nnx.Module) -> Row:
    spec = new if isinstance(new, Spec) else getattr(new, "spec", None)
    before = type(place.module).__name__, _count(place.module), _macs(place.module)
    if isinstance(spec, Spec):
        after, parameters, macs = describe_spec(spec), spec.num_parameters, spec.macs
    else:
        after, parameters, macs = type(new).__name__, _count(new), None  # type: ignore[arg-type]
    return Row(place.names, before[0], after, before[1], parameters, before[2], macs)


def _build(
    chosen: list[Place], designs: list[Spec | nnx.Module], rngs: nnx.Rngs | None, seed: int | None
) -> list[nnx.Module]:
    """The new modules, with the element types and the devices of the old ones."""
    if all(isinstance(design, nnx.Module) for design in designs):
        return [design for design in designs if isinstance(design, nnx.Module)]
    check_source(seed, rngs)
    number = 0 if seed is None else non_negative_integer("seed", seed)
    seeds = np.random.SeedSequence(number).generate_state(len(designs), "uint64")
    modules: list[nnx.Module] = []
    for place, new, own in zip(chosen, designs, seeds, strict=True):
        if isinstance(new, nnx.Module):
            modules.append(new)
            continue
        leaves = jax.tree.leaves(nnx.state(place.module, nnx.Param))
        kernel = max(leaves, key=lambda leaf: leaf.size, default=None)
        kind = MuMoE if isinstance(new, MuMoESpec) else MuMoEBlock
        source = {"seed": int(own)} if rngs is None else {"rngs": rngs}
        dtype = None if kernel is None else kernel.dtype
        modules.append(kind.from_spec(new, dtype=dtype, device=_device(kernel), **source))
    return modules


def _device(kernel: jax.Array | None) -> Device:
    """Where an array lies; on all devices of its mesh, if it is sharded over some."""
    sharding = getattr(kernel, "sharding", None)
    if isinstance(sharding, NamedSharding):
        return NamedSharding(sharding.mesh, P())  # type: ignore[no-untyped-call]
    return sharding if getattr(kernel, "committed", False) else None
