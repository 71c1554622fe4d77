"""How much each expert is used: load, usage, dead experts, and the inputs that use it most."""

from typing import NamedTuple

import numpy as np

from ..errors import TensorMoEError, number_from, positive_integer
from ..typing import NumPyArray
from .reading import Coefficients, read_experts, read_tokens


def joint(coefficients: Coefficients) -> NumPyArray:
    """The coefficients of all ∏ N_e experts of a layer: the products of its levels'.

    Every measure takes several levels as this. Use it to look at single experts of a hierarchy, in the order
    of `gram`: the last level counts fastest.

    Args:
        coefficients: one level (…, N), or E arrays (…, N_e) as a layer returns them, of any framework.

    Returns:
        (…, ∏ N_e) in NumPy's float64.

    Raises:
        TensorMoEError: no array, no token, levels of different tokens, a negative or non-finite coefficient,
            or more coefficients than the host has memory for.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> tm.analysis.joint([np.array([0.5, 0.5]), np.array([0.2, 0.8])])
        array([0.1, 0.4, 0.1, 0.4])
    """
    return read_experts(coefficients)


def load(coefficients: Coefficients) -> NumPyArray:
    """Each expert's share of all coefficients; they sum to 1.

    Use it to see whether the work is balanced, where every share is 1/N.

    Args:
        coefficients: as for `joint`.

    Returns:
        Σ_t a_tn / Σ_tm a_tm, (N,).

    Raises:
        TensorMoEError: as `joint`, or coefficients that are all 0.

    Source: Shazeer et al., "Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts
    Layer", 2017, section 4, the importance (equation 6), divided by its sum.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> tm.analysis.load(np.array([[0.75, 0.25], [1.0, 0.0]]))
        array([0.875, 0.125])
    """
    total = read_tokens(coefficients).sum(axis=0)
    shares: NumPyArray = total / total.sum()
    return shares


def usage(coefficients: Coefficients, threshold: float = 0.5) -> NumPyArray:
    """The share of inputs that use each expert: those with a coefficient of at least a threshold.

    Args:
        coefficients: as for `joint`.
        threshold: the least coefficient that counts. At 0.5 at most one expert is used by each input, or two
            that share it, if coefficients sum to 1; of a gate such as "relu", choose one to its scale.

    Returns:
        (N,), each from 0 to 1.

    Raises:
        TensorMoEError: as `joint`, or a threshold that is not positive.

    Source: Oldfield et al., "Multilinear Mixture of Experts: Scalable Expert Specialization through
    Factorization", 2024, where an input counts for an expert from 0.5 on.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> tm.analysis.usage(np.array([[0.75, 0.25], [0.5, 0.5]]))
        array([1. , 0.5])
    """
    least = number_from(0, "threshold", threshold)
    if least == 0:
        raise TensorMoEError(
            "threshold", threshold, "every coefficient is at least 0: pass a positive number"
        )
    experts = read_experts(coefficients)
    shares: NumPyArray = (experts >= least).reshape(-1, experts.shape[-1]).mean(axis=0)
    return shares


def dead(coefficients: Coefficients, threshold: float = 0.0) -> NumPyArray:
    """The experts that no input uses.

    Args:
        coefficients: as for `joint`, of enough inputs that every living expert has a chance.
        threshold: the largest coefficient that does not count as use. Softmax never reaches 0.

    Returns:
        Their numbers in ascending order, integers (D,).

    Raises:
        TensorMoEError: as `joint`, or a negative threshold.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> tm.analysis.dead(np.array([[0.75, 0.0, 0.25], [1.0, 0.0, 0.0]]))
        array([1])
    """
    most = number_from(0, "threshold", threshold)
    experts = read_experts(coefficients)
    return np.flatnonzero(experts.reshape(-1, experts.shape[-1]).max(axis=0) <= most)


class TopInputs(NamedTuple):
    """The inputs with each expert's largest coefficients.

    Args:
        inputs: their numbers, in row-major order of the leading axes, (N, k).
        coefficients: descending along each row, (N, k).

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> tm.analysis.top_inputs(np.array([[0.75, 0.25], [0.0, 1.0]]), k=1).inputs
        array([[0],
               [1]])
    """

    inputs: NumPyArray
    coefficients: NumPyArray


def top_inputs(coefficients: Coefficients, k: int) -> TopInputs:
    """The k inputs with the largest coefficients of each expert. Use it to see what an expert is for.

    Args:
        coefficients: as for `joint`.
        k: how many inputs, at most as many as there are. Of equal ones the first count.

    Returns:
        A `TopInputs`. `numpy.unravel_index` turns numbers of tokens into batch and position.

    Raises:
        TensorMoEError: as `joint`, or an invalid k.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> top = tm.analysis.top_inputs(np.array([[0.75, 0.25], [0.0, 1.0], [0.5, 0.5]]), k=2)
        >>> top.inputs
        array([[0, 2], [1, 2]])
        >>> top.coefficients
        array([[0.75, 0.5 ], [1.  , 0.5 ]])
    """
    count = positive_integer("k", k)
    experts = read_experts(coefficients)
    tokens = experts.reshape(-1, experts.shape[-1])
    if count > len(tokens):
        raise TensorMoEError("k", k, f"there are {len(tokens)} inputs: pass at most as many")
    order = np.argsort(-tokens, axis=0, kind="stable")[:count]
    return TopInputs(order.T, np.take_along_axis(tokens, order, axis=0).T)
