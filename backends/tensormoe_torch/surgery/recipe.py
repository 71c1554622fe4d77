"""From what the caller asks for and what is there to what comes: one design for each place."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import nn

from tensormoe.errors import TensorMoEError
from tensormoe.gates.gate import Gate
from tensormoe.layers.block_spec import MuMoEBlockSpec
from tensormoe.layers.freezing import freeze
from tensormoe.layers.layer_spec import MuMoESpec
from tensormoe.layers.places import ask
from tensormoe.layers.replacement import check_recipe, match_costs
from tensormoe.layers.spec import Spec, check_factorization
from tensormoe.networks.factorization import Factorization

from .dense import Dense, read_dense
from .design import Design
from .find import Place
from .linear import read_weights
from .nonlinearity import name_nonlinearity
from .trial import computes_its_parts

Build = Callable[[nn.Module], Spec | nn.Module]
_REMEDY = "pass build=, a function from the old module to a specification"


@dataclass(frozen=True)
class Recipe:
    """The arguments of `replace` that say what to build."""

    experts: int | tuple[int, ...] | None = None
    factorization: Factorization | Sequence[Factorization] | None = None
    gate: Gate | Sequence[Gate] | None = Gate()
    match: str | None = None
    build: Build | None = None
    frozen: bool = False

    def check(self) -> None:
        """Raise an error for what can be known before any module is looked at."""
        check_recipe(self.experts, self.factorization, self.match, self.build)

    def design(self, place: Place, parent: nn.Module) -> Design:
        """What takes the place of a module.

        Raises:
            TensorMoEError: names the module.
        """
        dense = read_dense(place.module, parent)
        new = (
            self._write(place, dense)
            if self.build is None
            else ask("build", self.build, place.name, place.module)
        )
        if not isinstance(new, Spec | nn.Module):
            raise TensorMoEError(f"build for {place.name}", new, "return a specification, or a module")
        if self.frozen and dense is not None and isinstance(new, Spec):
            new = freeze(*read_weights(place.name, dense.linears, "frozen", True), new, place.name)
        design = Design(place, dense, new)
        if self.match is None or not isinstance(new, Spec):
            return design
        return replace(design, new=self._match(new, design))

    def _write(self, place: Place, dense: Dense | None) -> Spec:
        """The specification with the sizes, the bias and the nonlinearity of what is there."""
        kind = type(place.module).__name__
        if dense is None:
            remedy = f"it is neither a linear layer nor an MLP of known parts: {_REMEDY}"
            raise TensorMoEError(place.name, kind, remedy)
        if not computes_its_parts(place.module, dense):
            remedy = f"its forward does something else with its parts than an MLP does: {_REMEDY}"
            raise TensorMoEError(place.name, kind, remedy)
        if isinstance(dense.inner, nn.Dropout) and dense.inner.p:
            remedy = f"a block drops no hidden features: set p of this dropout to 0 before, or {_REMEDY}"
            raise TensorMoEError(place.name, dense.inner, remedy)
        assert self.experts is not None
        assert self.factorization is not None
        # Frozen biases are beside the frozen weights.
        shared = self.experts, self.factorization, self.gate, dense.bias and not self.frozen
        first, second = dense.first, dense.second
        if second is None:
            network = check_factorization(self.factorization)
            return MuMoESpec(first.in_features, first.out_features, self.experts, network, *shared[2:])
        nonlinearity = name_nonlinearity(dense.function)
        if nonlinearity is None:
            remedy = f"no nonlinearity of blocks computes the same: {_REMEDY}"
            raise TensorMoEError(f"nonlinearity of {place.name}", dense.function, remedy)
        hidden, gated = first.out_features, dense.up is not None
        return MuMoEBlockSpec(
            first.in_features, hidden, second.out_features, *shared, nonlinearity, gated=gated
        )

    def _match(self, spec: Spec, design: Design) -> Spec:
        """The specification at the largest rank that costs no more than what it replaces."""
        return match_costs(spec, self.match, design.parameters, design.macs, design.place.name)
