"""What the structure of a network says of its experts: how parameters are shared, ranks, and compute.

Potapczynski et al. describe a structured d × d matrix by three exponents of d, in the limit of large d: of F
multiplications for each input, P parameters and the rank R, F/P grows as d^ω, R as d^ψ and F as d^(1 + ν).
They find that layers with ω = 0 and ψ = 1 learn most for their compute. Here the exponents are those of one
layer at its sizes, so that factors which do not grow remain, such as the 2 of two equal products:

    ω = log(F / P) / log d        ψ = log R / log min(I, O)        ν = log F / log d − 1        d = √(I · O)

F and P are those of the whole mixture, without the router: the multiply-accumulates of a token in a large
batch, and the trained elements of the cores. R is the largest rank of one expert's matrix.

Source: Potapczynski, Qiu et al., "Searching for Efficient Linear Layers over a Continuous Space of Structured
Matrices", 2024, the section "A Taxonomy of the Space of Einsum Linear Structures".
"""

from collections.abc import Iterator
from itertools import product
from math import log, sqrt

import numpy as np

from ..arrays.registry import get_backend
from ..errors import TensorMoEError
from ..layers.layer_spec import MuMoESpec
from ..layers.merging import merge
from ..layers.needs import count_elements
from ..layers.stage import Stage
from ..memory import check_memory, host_memory
from ..programs.plan import LARGE_BATCH
from ..typing import NumPyArray

# With fixed cores, experts may differ in rank; so many of each level are tried.
_TRIED = 4


def omega(spec: MuMoESpec) -> float:
    """ω = log(F / P) / log d: how parameters are shared; 0 for a dense matrix, which uses each once a token.

    Examples:
        A Kronecker product of two d^½ × d^½ matrices, and one matrix:

        >>> import tensormoe as tm
        >>> from tensormoe.exploring.structure import omega
        >>> parts = tm.TensorNetwork("i1 o1, i2 o2", i=(8, 8), o=(8, 8))
        >>> options = {"experts": (), "gate": None, "bias": False}
        >>> omega(tm.MuMoESpec(64, 64, factorization=parts, **options))
        0.5
        >>> omega(tm.MuMoESpec(64, 64, factorization=tm.Dense(), **options))
        0.0
    """
    parameters = spec.network.num_parameters
    if not parameters:
        raise TensorMoEError("omega", str(spec.network), "it has no parameters that could be shared")
    return log(_multiplications(spec) / parameters) / log(_features(spec))


def nu(spec: MuMoESpec) -> float:
    """ν = log F / log d − 1: compute intensity; 1 for one dense matrix, of which F = d²."""
    return log(_multiplications(spec)) / log(_features(spec)) - 1


def psi(spec: MuMoESpec) -> float:
    """ψ = log R / log min(I, O): the largest rank of an expert's matrix; 1 for full rank."""
    least = min(spec.in_features, spec.out_features)
    return log(max(rank(spec), 1)) / log(least) if least > 1 else 1.0


def rank(spec: MuMoESpec) -> int:
    """The largest rank of an expert's matrix (I, O), biases left out, that the network can have.

    Almost all cores give it, so those of random numbers do; it takes a singular value decomposition.

    Raises:
        TensorMoEError: cores that need more memory than the machine has.

    Examples:
        >>> import tensormoe as tm
        >>> from tensormoe.exploring.structure import rank
        >>> rank(tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5)))
        5
        >>> rank(tm.MuMoESpec(8, 6, experts=4, factorization=tm.TensorNetwork("n o, i o")))
        6
    """
    # In float64, with one expert's matrix, its copy and its singular values.
    needed = 8 * (count_elements(spec) + 3 * spec.stage.rows * spec.out_features)
    check_memory("spec", spec, "its cores and an expert's matrix", needed, host_memory())
    cores, stage = _draw(spec.stage), spec.stage
    weights = _experts(stage, cores)
    return max(int(np.linalg.matrix_rank(weight[: spec.in_features])) for weight in weights)


def _features(spec: MuMoESpec) -> float:
    """The size d of the square matrix with as many elements as an expert's."""
    features = sqrt(spec.in_features * spec.out_features)
    if features == 1:
        remedy = "exponents of the layer's size need one larger than 1 × 1"
        raise TensorMoEError("spec", (spec.in_features, spec.out_features), remedy)
    return features


def _multiplications(spec: MuMoESpec) -> float:
    """The multiply-accumulates of a token in a large batch, without the router's."""
    return spec.stage.plan(LARGE_BATCH).macs / LARGE_BATCH


def _draw(stage: Stage) -> dict[str, NumPyArray]:
    generator = np.random.default_rng(0)
    drawn = {name: generator.normal(size=shape) for name, shape in stage.network.shapes.items()}
    return drawn | {name: np.asarray(each, "float64") for name, each in stage.network.fixed_values().items()}


def _experts(stage: Stage, cores: dict[str, NumPyArray]) -> Iterator[NumPyArray]:
    """The matrices of some experts, each (I[+1], O)."""
    if not stage.experts:
        ops = get_backend("numpy")
        yield ops.compute(stage.materialization_plan.program, (), [*cores.values()])
        return
    count = _TRIED if stage.network.fixed else 1
    choices = [np.unique(np.linspace(0, size - 1, min(count, size)).astype(int)) for size in stage.experts]
    for chosen in product(*choices):
        levels = [np.eye(size)[[one]] for size, one in zip(stage.experts, chosen, strict=True)]
        yield merge(stage, cores, levels)[0]
