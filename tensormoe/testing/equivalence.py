"""The assertion that a spec's implicit computation is the soft MoE that it stands for."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import TensorMoEError
from ..layers.layer_spec import MuMoESpec
from ..layers.spec import Spec
from ..verification import Check, Inputs, Sample, VerificationReport, float_checks, named_backend, verify


def assert_equivalent(
    spec: Spec,
    inputs: Inputs | None = None,
    backends: Sequence[Any] = ("numpy",),
    level: str = "all",
) -> None:
    """Assert that a spec's implicit computation is the soft MoE that it stands for.

    Args:
        spec: a layer or a block.
        inputs: values for a layer's contraction, in float64. Then output and gradients at these values are
            compared with the materialized soft MoE's, within their error bound, and nothing else is.
        backends: names or backend objects.
        level: of `tensormoe.verify`, if there are no inputs.

    Raises:
        AssertionError: holds the report.
        TensorMoEError: as `tensormoe.verify`; inputs for a block, which has two layers.

    Examples:
        >>> import tensormoe as tm
        >>> from tensormoe.testing import assert_equivalent
        >>> assert_equivalent(tm.MuMoESpec(8, 6, experts=(4, 3), factorization=tm.CP(rank=5)))
    """
    if inputs is None:
        report = verify(spec, backends, level=level)
    else:
        report = VerificationReport(spec, tuple(_checks(spec, inputs, backends)))
    if not report.passed:
        raise AssertionError(f"{spec} is not what it stands for:\n{report}")


def _checks(spec: Spec, inputs: Inputs, backends: Sequence[Any]) -> list[Check]:
    if not isinstance(spec, MuMoESpec):
        remedy = "a block has two layers: pass one of spec.layers.values()"
        raise TensorMoEError("inputs", type(inputs), remedy)
    network = spec.network
    whole: Sample = {
        mode: np.arange(size) for mode, size in zip(network.modes, network.weight_shape, strict=True)
    }
    objects = dict(named_backend(backend) for backend in backends)
    return list(float_checks(spec, objects, inputs, whole, types=("float64",)))
