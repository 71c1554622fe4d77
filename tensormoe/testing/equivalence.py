"""An assertion that a layer computes its soft MoE."""

from collections.abc import Sequence

import numpy as np

from ..errors import TensorMoEError
from ..layers.checks import find_stage
from ..layers.spec import Spec
from ..layers.stage import Stage
from ..verification import (
    METHODS,
    Backends,
    Inputs,
    Sample,
    VerificationReport,
    float_checks,
    resolve_backends,
    verify,
)


def assert_equivalent(
    spec: Spec | Stage,
    inputs: Inputs | None = None,
    backends: Backends = ("numpy",),
    seed: int = 0,
    *,
    methods: Sequence[str] | str = METHODS,
) -> None:
    """Assert that a layer computes the soft MoE that it stands for.

    Args:
        spec: a layer or a block; with inputs, a layer or one of a block's, `block.layers["first"]`.
        inputs: values for a layer's contraction, in float64. Then output and gradients at these values are
            compared with the materialized soft MoE's, within their error bound, and nothing else is.
        backends: names or backend objects; None for all that are installed.
        seed, methods: of `tensormoe.verify`, where there are no inputs.

    Raises:
        AssertionError: holds the report.
        TensorMoEError: as `tensormoe.verify`; also for inputs of a whole block, and for a block's layer
            without inputs.

    Examples:
        >>> import tensormoe as tm
        >>> from tensormoe.testing import assert_equivalent
        >>> assert_equivalent(tm.MuMoESpec(8, 6, experts=(4, 3), factorization=tm.CP(rank=5)))
    """
    if inputs is not None and not isinstance(inputs, Inputs):
        raise TensorMoEError("inputs", inputs, "pass tensormoe.testing.Inputs, or None")
    report = _compare(spec, inputs, backends) if inputs else _verify(spec, backends, seed, methods)
    if not report.passed:
        raise AssertionError(f"{spec} does not compute the soft MoE that it stands for:\n{report}")


def _verify(
    spec: Spec | Stage,
    backends: Backends,
    seed: int,
    methods: Sequence[str] | str,
) -> VerificationReport:
    if isinstance(spec, Stage):
        raise TensorMoEError(
            "spec", spec, "a block's layer has no gate: pass inputs for it, or verify the whole block"
        )
    return verify(spec, backends, seed, methods=methods)


def _compare(spec: Spec | Stage, inputs: Inputs, backends: Backends) -> VerificationReport:
    stage = find_stage(spec)
    network = stage.network
    _check_shapes(stage, inputs)
    whole: Sample = {
        mode: np.arange(size) for mode, size in zip(network.modes, network.weight_shape, strict=True)
    }
    checks = float_checks(stage, resolve_backends(backends), inputs, whole, types=("float64",))
    return VerificationReport(spec, tuple(checks))


def _check_shapes(stage: Stage, inputs: Inputs) -> None:
    tokens = len(inputs.x)
    wanted: list[tuple[int, ...]] = [(tokens, stage.in_features), *((tokens, n) for n in stage.experts)]
    wanted += [*stage.network.shapes.values(), (tokens, stage.out_features)]
    received = [np.shape(array) for array in (*inputs.operands, inputs.cotangent)]
    if received != wanted:
        raise TensorMoEError("inputs", received, f"for this layer the shapes are {wanted}")
