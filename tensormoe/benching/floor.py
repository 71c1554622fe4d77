"""A layer's floor: its bare matrix products, which no way to compute it by its plan undercuts.

The products are not worked out from the plan: a call of the layer is watched, on real arrays.
"""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from math import prod
from typing import Any, TypeAlias

from ..gates.routers import Linear
from ..layers.functional import apply
from ..layers.spec import Spec
from ..programs.instructions import swapped
from ..typing import Array
from .inputs import Inputs
from .sides import Side, compiled

# The two factors of a matrix product.
Product: TypeAlias = tuple[Array, Array]


def products(tl: Any, spec: Spec, given: Inputs) -> list[Product]:
    """The factors of every matrix product that a layer with the linear router computes.

    Those are the gate's x G_e and the products of the plan.

    Args:
        tl: the backend object.
        spec: the layer or block.
        given: what it is called with.
    """
    plain = spec.replace(gate=replace(spec.gate, router=Linear()))
    state = {name: given.state[name] for name in plain.state_shapes}
    return watched(tl, lambda tl: apply(plain, given.parameters, given.x, state=state, backend=tl))


def watched(tl: Any, call: Callable[[Any], object]) -> list[Product]:
    """The factors of every matrix product of a call, contiguous. An added row of biases is left out.

    Args:
        tl: the backend object.
        call: a function of a backend object.
    """
    found: list[Product] = []

    def keep(*factors: Array) -> None:
        left, right = (_contiguous(tl, factor) for factor in factors)
        found.append((left, right))

    def matmul(left: Array, right: Array) -> Array:
        keep(left, right)
        return tl.matmul(left, right)

    def affine(x: Array, matrix: Array) -> Array:
        keep(x, matrix[..., :-1, :])
        return tl.affine(x, matrix)

    # The object itself is everyone's.
    recorder = copy(tl)
    recorder.matmul, recorder.affine = matmul, affine
    recorder.computed = lambda program, operands, recompute=False: program.run(recorder, operands)
    call(recorder)
    return found


def floor(tl: Any, found: Sequence[Product]) -> Side:
    """Matrix products and nothing else; with gradients, two more for each: one for each factor.

    Args:
        tl: the backend object.
        found: the factors, as `products` gives them.
    """
    lefts, rights = [left for left, _ in found], [right for _, right in found]
    # Any values will do for what the results are weighed by in gradients.
    cotangents = [_contiguous(tl, tl.matmul(left, right)) for left, right in found]

    def forward(lefts: Sequence[Array], rights: Sequence[Array]) -> object:
        return [tl.matmul(a, b) for a, b in zip(lefts, rights, strict=True)]

    def training(lefts: Sequence[Array], rights: Sequence[Array], cotangents: Sequence[Array]) -> object:
        return [
            (tl.matmul(a, b), tl.matmul(c, swapped(tl, b)), tl.matmul(swapped(tl, a), c))
            for a, b, c in zip(lefts, rights, cotangents, strict=True)
        ]

    return Side(
        compiled(tl, forward, lefts, rights),
        compiled(tl, training, lefts, rights, cotangents),
        sum(prod(left.shape) * right.shape[-1] for left, right in found),
        None,
    )


def _contiguous(tl: Any, array: Array) -> Array:
    # To one axis and back: what is not contiguous has to be copied for that.
    shape = tuple(array.shape)
    return tl.reshape(tl.reshape(array, (prod(shape),)), shape)
