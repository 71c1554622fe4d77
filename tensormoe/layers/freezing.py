"""Weights that stay as they are, and what experts add to them."""

from collections.abc import Sequence

from ..errors import TensorMoEError, true_or_false
from ..networks.factorization import Factorization, Sum
from ..networks.notation import Notation
from ..networks.tensor_network import TensorNetwork
from ..typing import NumPyArray
from .each import one_or_each, spread
from .spec import Spec


def check_frozen(frozen: object, init: str, build: object) -> None:
    """Raise an error for options of `replace` that don't go with frozen weights."""
    if not true_or_false("frozen", frozen):
        return
    if init != "fresh":
        raise TensorMoEError("init", init, "frozen=True starts as what is replaced: leave out one of them")
    if build is not None:
        remedy = "build= says all of what is built: let it return a specification with fixed cores"
        raise TensorMoEError("frozen", True, remedy)


def freeze(weights: Sequence[NumPyArray], biases: Sequence[NumPyArray | None], spec: Spec, name: str) -> Spec:
    """The specification with a weight beside the factorization of each layer, which are not trained.

    It starts as the layers that have these weights. Only what is added to them learns.

    Args:
        weights: W (I, O) for each of the specification's layers.
        biases: (O,) for each, or None.
        spec: what is added; without biases of its own.
        name: of what has the weights, for errors.

    Raises:
        TensorMoEError: a gate whose coefficients don't sum to 1, which would scale the weights.

    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> from tensormoe.layers.freezing import freeze
        >>> lora = tm.MuMoESpec(8, 6, 4, tm.TensorNetwork("n i r, n r o", r=2), bias=False)
        >>> spec = freeze([np.ones((8, 6))], [np.ones(6)], lora, "head")
        >>> print(spec.network)
        W: i o + B: o + n i r_2, n r_2 o
        >>> spec.num_parameters == lora.num_parameters, spec.num_fixed
        (True, 54)
    """
    for gate in spec.gates:
        if gate.total != 1:
            remedy = f"its coefficients would scale the frozen weight of {name}: pass a gate whose sum is 1"
            raise TensorMoEError("gate activation", gate.activation, remedy)
    added = spread(spec.factorization, len(spec.layers))
    given = zip(weights, biases, added, strict=True)
    both = [_fix(weight, bias) + each for weight, bias, each in given]
    return spec.replace(factorization=one_or_each(both))


def describe_added(factorization: Factorization) -> str:
    """A factorization in a table's words: of a sum, frozen terms by the names of their cores."""
    terms = factorization.terms if isinstance(factorization, Sum) else (factorization,)
    return " + ".join(_describe(term) for term in terms)


def _fix(weight: NumPyArray, bias: NumPyArray | None) -> TensorNetwork:
    if bias is None:
        return TensorNetwork("W: i o", fixed={"W": weight})
    return TensorNetwork("W: i o + B: o", fixed={"W": weight, "B": bias})


def _describe(term: Factorization) -> str:
    if not isinstance(term, TensorNetwork):
        return str(term)
    names = Notation.parse(term.text).names
    frozen = bool(names) and {*names} <= {*dict(term.fixed)}
    return " + ".join(names) if frozen else str(term)
