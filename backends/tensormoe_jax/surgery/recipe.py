"""From what the caller asks for and what is there to what comes: one design for each place."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import jax
import numpy as np
from flax import nnx

from tensormoe.errors import TensorMoEError
from tensormoe.gates.gate import Gate
from tensormoe.layers.block_spec import MuMoEBlockSpec
from tensormoe.layers.freezing import freeze
from tensormoe.layers.layer_spec import MuMoESpec
from tensormoe.layers.places import ask
from tensormoe.layers.replacement import Row, describe_spec, match_costs
from tensormoe.layers.spec import Spec, check_factorization
from tensormoe.networks.factorization import Factorization

from .dense import Dense, read_dense
from .find import Place
from .linear import read_weights

Build: TypeAlias = Callable[[nnx.Module], Spec | nnx.Module]


@dataclass(frozen=True)
class Design:
    """What is replaced, and by what.

    Args:
        place: the module.
        dense: what it computes with, if that is known.
        new: a specification, or a module of the caller's own.
    """

    place: Place
    dense: Dense | None
    new: Spec | nnx.Module

    def describe(self) -> Row:
        """The row of the table."""
        spec = self.new if isinstance(self.new, Spec) else getattr(self.new, "spec", None)
        if isinstance(spec, Spec):
            after, parameters, macs = describe_spec(spec), spec.num_parameters, spec.macs
            fixed = spec.num_fixed
        else:
            after, parameters, macs, fixed = type(self.new).__name__, count(self.new), None, 0
        before = type(self.place.module).__name__, count(self.place.module), _macs(self.dense)
        return Row(self.place.names, before[0], after, before[1], parameters, before[2], macs, fixed)


@dataclass(frozen=True)
class Recipe:
    """The arguments of `replace` that say what to build."""

    experts: int | tuple[int, ...] | None
    factorization: Factorization | Sequence[Factorization] | None
    gate: Gate | Sequence[Gate] | None
    match: str | None
    build: Build | None
    frozen: bool = False

    def design(self, place: Place) -> Design:
        """What takes the place of a module.

        Raises:
            TensorMoEError: names the module.
        """
        if self.build is None:
            dense: Dense | None = read_dense(place)
            assert dense is not None
            new: Spec | nnx.Module = self._write(place, dense)
        else:
            new = ask("build", self.build, place.name, place.module)
            dense = _read(place, new)
        if not isinstance(new, Spec | nnx.Module):
            raise TensorMoEError(f"build for {place.name}", new, "return a specification, or a module")
        if isinstance(new, Spec):
            new = match_costs(new, self.match, count(place.module), _macs(dense), place.name)
        return Design(place, dense, new)

    def _write(self, place: Place, dense: Dense) -> Spec:
        """The specification with the sizes, the bias and the nonlinearity of what is there."""
        assert self.experts is not None
        assert self.factorization is not None
        # Frozen biases are beside the frozen weights.
        shared = self.experts, self.factorization, self.gate, dense.bias and not self.frozen
        (in_features, hidden), out_features = dense.linears[0].sizes, dense.linears[-1].sizes[1]
        gated = len(dense.linears) == 3
        if dense.nonlinearity is None:
            network = check_factorization(self.factorization)
            spec: Spec = MuMoESpec(in_features, out_features, self.experts, network, *shared[2:])
        else:
            spec = MuMoEBlockSpec(in_features, hidden, out_features, *shared, dense.nonlinearity, gated=gated)
        if not self.frozen:
            return spec
        return freeze(*read_weights(place.name, dense.linears, "frozen", True), spec, place.name)


def count(module: object) -> int:
    """The elements of a module's parameters."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


def _read(place: Place, new: object) -> Dense | None:
    """What a module computes with, of which the caller knows what replaces it."""
    try:
        return read_dense(place, new.nonlinearity if isinstance(new, MuMoEBlockSpec) else None)
    except TensorMoEError:
        return None


def _macs(dense: Dense | None) -> int | None:
    return None if dense is None else dense.macs
