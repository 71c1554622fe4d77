"""What a module that is to be replaced computes with, by its own parts and a trial of them.

An MLP of Flax says in its `__call__` alone which nonlinearity it has, and what its linear layers are to each
other. So it is tried: a copy with random weights gives the same as one nonlinearity between them, or it is
something else.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tensormoe.arrays.nonlinearities import NONLINEARITIES
from tensormoe.arrays.protocols import Nonlinearity
from tensormoe.arrays.registry import get_backend
from tensormoe.errors import TensorMoEError
from tensormoe.typing import NumPyArray

from .find import Place, walk
from .linear import Linear, check_single, read_linear

REMEDY = "pass build=, a function from the old module to a specification or a module"
# Float32 and long sums are off by 1e-5 at most, and the two formulas of GELU by 1e-4.
_TOLERANCE = 3e-5
# A prime: what is repeated never falls in step with the rows of a weight.
_DRAWN = 1_048_583


@dataclass(frozen=True)
class Dense:
    """A linear map, or an MLP: of two linear maps or, gated, of three.

    Args:
        linears: in the order of a specification's layers; an MLP's last gives its output.
        nonlinearity: an MLP's.
    """

    linears: tuple[Linear, ...]
    nonlinearity: Nonlinearity | None = None

    @property
    def bias(self) -> bool:
        """Whether any has a bias."""
        return any(each.vector is not None for each in self.linears)

    @property
    def macs(self) -> int:
        """Multiply-accumulates a token."""
        return sum(int(np.prod(each.sizes)) for each in self.linears)


def read_dense(place: Place, own: Nonlinearity | None = None) -> Dense:
    """What a module computes with.

    Args:
        place: the module.
        own: a nonlinearity to try besides those that have names.

    Raises:
        TensorMoEError: says in which way the module is neither a linear map nor an MLP.
    """
    check_single(place.name, place.module, REMEDY)
    linear = read_linear(place.module)
    if linear is not None:
        return Dense((linear,))
    parts = _read_parts(place)
    copy: Any = nnx.clone(place.module)
    copy.eval()
    copies = {name: module for name, _, _, module in walk(copy)}
    # By name: in a copy, attributes stand in another order.
    copied = [each for each in (read_linear(copies[name]) for name in parts) if each is not None]
    order, nonlinearity = _try(place, copy, copied, own)
    linears = [*parts.values()]
    return Dense(tuple(linears[number] for number in order), nonlinearity)


def _read_parts(place: Place) -> dict[str, Linear]:
    """The two or three linear maps of an MLP by name, which holds nothing else with parameters or dropout."""
    kind = type(place.module).__name__
    linears: dict[int, tuple[str, Linear]] = {}
    for name, module in (("", place.module), *((link[0], link[3]) for link in walk(place.module))):
        check_single(f"{place.name}, {type(module).__name__}", module, REMEDY)
        linear = read_linear(module)
        if linear is not None:
            linears.setdefault(id(module), (name, linear))
        elif any(_counts(value) for value in vars(module).values()):
            remedy = f"it holds parameters of a {type(module).__name__}: {REMEDY}"
            raise TensorMoEError(place.name, kind, remedy)
        elif isinstance(module, nnx.Dropout) and module.rate:
            remedy = f"blocks have no dropout: set its rate to 0 before, or {REMEDY}"
            raise TensorMoEError(place.name, f"Dropout({module.rate})", remedy)
    if len(linears) not in (2, 3):
        remedy = f"it is neither a linear layer nor an MLP of two or, gated, three: {REMEDY}"
        raise TensorMoEError(place.name, kind, remedy)
    return dict(linears.values())


def _counts(value: object) -> bool:
    return isinstance(value, nnx.Variable) and not isinstance(value, nnx.RngState)


_Order: TypeAlias = tuple[int, ...]


def _try(
    place: Place, copy: Any, linears: Sequence[Linear], own: Nonlinearity | None
) -> tuple[_Order, Nonlinearity]:
    """The order of an MLP's linear maps and its nonlinearity, from what a copy of it computes."""
    kind = type(place.module).__name__
    _randomize(linears)
    orders = list(_orders(linears))
    functions: list[Nonlinearity] = [*NONLINEARITIES]
    if own is not None and not isinstance(own, str):
        functions.append(own)
    # Several sizes are possible where x and the result have the same.
    inputs = {linears[order[0]].sizes[0] for order in orders}
    fits, failure = [], ""
    for size in inputs:
        x = np.random.default_rng(1).normal(size=(4, size)).astype("float32")
        try:
            with jax.default_matmul_precision("highest"):
                y = np.asarray(copy(jnp.asarray(x)), "float64")
        except Exception as error:  # of the user's module
            failure = f" (its call with x (4, {size}) raises {type(error).__name__}: {error})"
            continue
        fits += [
            (order, function)
            for order in orders
            if linears[order[0]].sizes[0] == size
            for function in functions
            if _equal(y, _compute([linears[number] for number in order], function, x))
        ]
    if len(fits) != 1:
        told = f"it is no nonlinearity of blocks between linear layers, or does more than that{failure}"
        remedy = f"{' '.join(told.split())}: {REMEDY}"
        raise TensorMoEError(place.name, kind, remedy)
    return fits[0]


def _randomize(linears: Sequence[Linear]) -> None:
    """Weights that tell everything apart, in float32, on one device; a fresh layer's may be zero."""
    generator = np.random.default_rng(0)
    for linear in linears:
        linear.module.dtype = None
        rows, columns = linear.module.kernel.shape
        drawn = generator.normal(size=min(rows * columns, _DRAWN))
        scale = 2 / np.sqrt(linear.sizes[0])
        linear.module.kernel.set_value(jnp.asarray(scale * np.resize(drawn, (rows, columns)), "float32"))
        if linear.module.bias is not None:
            vector = generator.normal(size=linear.sizes[1])
            linear.module.bias.set_value(jnp.asarray(vector, "float32"))


def _orders(linears: Sequence[Linear]) -> Iterator[_Order]:
    """The orders that sizes allow: what a nonlinearity follows first, what gives the output last."""
    for order in permutations(range(len(linears))):
        first, *others, last = (linears[number].sizes for number in order)
        if first[1] == last[0] and all(other == first for other in others):
            yield order


def _compute(linears: Sequence[Linear], function: Nonlinearity, x: NumPyArray) -> NumPyArray:
    """In float64 and without JAX, which would compile each operation for each size."""
    first, *others, last = (_apply(each) for each in linears)
    hidden = _between(function, first(x))
    for other in others:
        hidden = hidden * other(x)
    return last(hidden)


def _apply(linear: Linear) -> Callable[[NumPyArray], NumPyArray]:
    matrix = np.asarray(linear.matrix, "float64")
    vector = 0.0 if linear.vector is None else np.asarray(linear.vector, "float64")
    return lambda x: x @ matrix + vector


def _between(function: Nonlinearity, hidden: NumPyArray) -> NumPyArray:
    if isinstance(function, str):
        result: NumPyArray = get_backend("numpy").nonlinear(function, hidden)
        return result
    return np.asarray(function(jnp.asarray(hidden, "float32")), "float64")


def _equal(y: NumPyArray, expected: NumPyArray) -> bool:
    if y.shape != expected.shape:
        return False
    return bool(np.abs(y - expected).max() <= _TOLERANCE * np.abs(expected).max())
