"""The layers of a specification one after the other, each computed by itself and not in one program."""

from collections.abc import Callable, Mapping

from ..arrays.backend import Backend
from ..typing import Array
from .functional import add_output_bias, normalize_input
from .spec import Spec


def _keep(array: Array) -> Array:
    return array


def compute_in_turn(
    ops: Backend,
    spec: Spec,
    arrays: Mapping[str, Array],
    tokens: Array,
    run: Callable[[str, Array], Array],
    enter: Callable[[Array], Array] = _keep,
) -> Array:
    """The output of a layer or a block whose layers are computed in another way than by its program.

    Args:
        ops: the backend object.
        spec: the layer or block.
        arrays: by name, those of the input's norm and of the output's bias among them.
        tokens: of any leading axes that `run` takes.
        run: computes a layer, given by its name, from its input.
        enter: what is done to the input of the first layers and to that of the last.
    """
    if "input_norm.weight" in arrays:
        tokens = ops.compute_precisely(normalize_input, tokens, arrays)
    hidden = enter(tokens)
    *before, last = spec.layers
    if before:
        first, *gated = before
        result = ops.nonlinear(spec.between or "identity", run(first, hidden))
        for prefix in gated:
            result = result * run(prefix, hidden)
        hidden = enter(result)
    y = run(last, hidden)
    return add_output_bias(ops, y, arrays) if spec.output_bias else y
