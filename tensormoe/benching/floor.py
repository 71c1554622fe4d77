"""A layer's floor: the time of its plan's matrix products alone, a lower bound for any implementation.

The products are recorded while the layer's program runs on real arrays.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from ..arrays.backend import Backend
from ..gates.routers import LinearRouter
from ..layers.functional import compute_gate
from ..layers.spec import Spec
from ..programs.instructions import swap_last_axes
from ..typing import Array
from .inputs import Arguments
from .recording import Product, make_contiguous, record_products
from .sides import Side, compile_call


def find_products(ops: Backend, spec: Spec, given: Arguments) -> list[Product]:
    """The factors of every matrix product that a layer with the linear router, or without a gate, computes.

    Those are the gate's x G_e and the products of the plan.

    Args:
        ops: the backend object.
        spec: the layer or block.
        given: the arguments of a call.
    """
    weights = {name: given.parameters[name] for name in spec.gate_shapes}
    coefficients = given.coefficients
    routed = given.x if given.router_input is None else given.router_input
    if spec.gate is not None:
        plain = spec.change_gates(lambda gate: replace(gate, router=LinearRouter()))
        state = {name: given.state[name] for name in plain.state_shapes}
        weights = {name: given.parameters[name] for name in plain.gate_shapes}
        coefficients = compute_gate(plain, weights, routed, state=state, backend=ops).coefficients
    held = given.parameters | given.state
    cores = [held[name] for name in spec.core_names]
    program = spec.program_for(given.x.shape[0])
    read = make_contiguous(ops, routed)
    return [
        *((read, make_contiguous(ops, weight)) for weight in weights.values()),
        *record_products(ops, program, (given.x, *(coefficients or ()), *cores)),
    ]


def floor(ops: Backend, products: Sequence[Product]) -> Side:
    """Matrix products and nothing else; with gradients, two more for each: one for each factor.

    Args:
        ops: the backend object.
        products: the factors, as `find_products` gives them.
    """
    lefts, rights = [left for left, _ in products], [right for _, right in products]
    # The results are weighed in gradients; any values will do.
    cotangents = [make_contiguous(ops, ops.matmul(left, right)) for left, right in products]

    def forward(lefts: Sequence[Array], rights: Sequence[Array]) -> object:
        return [ops.matmul(a, b) for a, b in zip(lefts, rights, strict=True)]

    def training(lefts: Sequence[Array], rights: Sequence[Array], cotangents: Sequence[Array]) -> object:
        return [
            (ops.matmul(a, b), ops.matmul(c, swap_last_axes(ops, b)), ops.matmul(swap_last_axes(ops, a), c))
            for a, b, c in zip(lefts, rights, cotangents, strict=True)
        ]

    return Side(
        compile_call(ops, forward, lefts, rights),
        compile_call(ops, training, lefts, rights, cotangents),
        sum(prod(left.shape) * right.shape[-1] for left, right in products),
        None,
    )
