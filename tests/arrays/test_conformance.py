"""The suite for backends passes the three that come with the library, and names what is wrong in another."""

from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np
import pytest
from support.strategies import BACKENDS

import tensormoe as tm
from tensormoe.arrays import tensorly as adapter
from tensormoe.arrays.thresholds import ThresholdKernel
from tensormoe.testing import check_backend

NUMPY = tm.get_backend("numpy")


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_built_in_backends_conform(backend: str) -> None:
    check_backend(backend)


def test_a_backend_with_nothing_but_defaults_conforms_where_it_offers_gelu() -> None:
    ops = adapter.adapt("numpy")
    with pytest.raises(AssertionError) as caught:
        check_backend(ops)
    wrong = [line for line in str(caught.value).splitlines()[1:] if "('gelu')" not in line]
    assert wrong == []


class Summed(ThresholdKernel):
    def multiply_rows(self, a: Any, b: Any) -> Any:
        return self.ops.sum(a, axis=-1, keepdims=True)


def with_kernel(kernel: type[ThresholdKernel]) -> Any:
    ops = copy(NUMPY)
    ops.thresholds = kernel(ops)
    return ops


def without_last_column(a: Any, b: Any) -> Any:
    return np.matmul(a, b)[..., :-1]


def in_float64(x: Any) -> Any:
    return np.exp(x.astype("float64"))


def in_place(x: Any) -> Any:
    return np.abs(x, out=x)


@pytest.mark.parametrize(
    ("operation", "value", "reason"),
    [
        ("matmul", without_last_column, r"ProgramOps.matmul, float64: it gives the shape \(3, 4\), and not"),
        ("exp", in_float64, "ArrayOps.exp, float32: its result is float64"),
        ("abs", in_place, "ArrayOps.abs, float64: it changes its argument"),
        ("cumsum", lambda x, axis: np.cumsum(x, 0), "ArrayOps.cumsum, float64: it gives"),
        ("tanh", None, "ArrayOps.tanh, float64: TypeError"),
        ("kth_largest", lambda x, k: np.max(x, -1, keepdims=True), "GateOps.kth_largest"),
        ("layer_norm", lambda x, epsilon: x, "GateOps.layer_norm"),
        ("from_numpy", lambda array: array, "Instruments.from_numpy.*shares memory"),
        ("holds", lambda condition: None, "holds gives None of what holds"),
        ("compute", lambda program, operands, recompute=False: operands[0], "Execution.compute"),
        ("clock", lambda device: lambda: lambda: -1.0, "the clock of cpu runs backwards"),
        ("gradients", lambda f, inputs, cotangent: inputs, "its derivative is"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_operation_is_named(operation: str, value: Callable[..., Any] | None, reason: str) -> None:
    ops = copy(NUMPY)
    setattr(ops, operation, value)
    with pytest.raises(AssertionError, match=f"(?s)the backend 'numpy' is wrong in.*{reason}"):
        check_backend(ops)


def test_a_wrong_loop_is_named() -> None:
    with pytest.raises(AssertionError, match=r"ThresholdKernel.multiply_rows, float64") as caught:
        check_backend(with_kernel(Summed))
    assert {line.split(",")[0].strip() for line in str(caught.value).splitlines()[1:]} == {
        "ThresholdKernel.multiply_rows"
    }
