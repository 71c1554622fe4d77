"""A layer's floor: its bare matrix products, which no way to compute it by its plan undercuts.

The products are not worked out from the plan: a call of the layer is watched, on real arrays.
"""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from math import prod
from typing import Any, TypeAlias

from ..arrays.backend import Backend
from ..gates.routers import LinearRouter
from ..layers.functional import apply
from ..layers.spec import Spec
from ..programs.instructions import swap_last_axes
from ..typing import Array
from .inputs import Inputs
from .sides import Side, compiled

# The two factors of a matrix product.
Product: TypeAlias = tuple[Array, Array]


def products(ops: Backend, spec: Spec, given: Inputs) -> list[Product]:
    """The factors of every matrix product that a layer with the linear router computes.

    Those are the gate's x G_e and the products of the plan.

    Args:
        ops: the backend object.
        spec: the layer or block.
        given: what it is called with.
    """
    plain = spec.replace(gate=replace(spec.gate, router=LinearRouter()))
    state = {name: given.state[name] for name in plain.state_shapes}
    return watched(ops, lambda ops: apply(plain, given.parameters, given.x, state=state, backend=ops))


def watched(ops: Backend, call: Callable[[Any], object]) -> list[Product]:
    """The factors of every matrix product of a call, contiguous. An added row of biases is left out.

    Args:
        ops: the backend object.
        call: a function of a backend object.
    """
    found: list[Product] = []

    def keep(*factors: Array) -> None:
        left, right = (_contiguous(ops, factor) for factor in factors)
        found.append((left, right))

    def matmul(left: Array, right: Array) -> Array:
        keep(left, right)
        return ops.matmul(left, right)

    def affine(x: Array, matrix: Array) -> Array:
        keep(x, matrix[..., :-1, :])
        return ops.affine(x, matrix)

    # The object itself is everyone's.
    recorder = copy(ops)
    vars(recorder).update(
        matmul=matmul,
        affine=affine,
        compute=lambda program, operands, recompute=False: program.run(recorder, operands),
    )
    call(recorder)
    return found


def floor(ops: Backend, found: Sequence[Product]) -> Side:
    """Matrix products and nothing else; with gradients, two more for each: one for each factor.

    Args:
        ops: the backend object.
        found: the factors, as `products` gives them.
    """
    lefts, rights = [left for left, _ in found], [right for _, right in found]
    # Any values will do for what the results are weighed by in gradients.
    cotangents = [_contiguous(ops, ops.matmul(left, right)) for left, right in found]

    def forward(lefts: Sequence[Array], rights: Sequence[Array]) -> object:
        return [ops.matmul(a, b) for a, b in zip(lefts, rights, strict=True)]

    def training(lefts: Sequence[Array], rights: Sequence[Array], cotangents: Sequence[Array]) -> object:
        return [
            (ops.matmul(a, b), ops.matmul(c, swap_last_axes(ops, b)), ops.matmul(swap_last_axes(ops, a), c))
            for a, b, c in zip(lefts, rights, cotangents, strict=True)
        ]

    return Side(
        compiled(ops, forward, lefts, rights),
        compiled(ops, training, lefts, rights, cotangents),
        sum(prod(left.shape) * right.shape[-1] for left, right in found),
        None,
    )


def _contiguous(ops: Backend, array: Array) -> Array:
    # To one axis and back: what is not contiguous has to be copied for that.
    shape = tuple(array.shape)
    return ops.reshape(ops.reshape(array, (prod(shape),)), shape)
