"""What a framework must offer: one protocol for each user.

`ProgramOps` is what a program may use. Frameworks, the symbolic prover, exact residues and counted roundings
all offer it, so the very program that a framework runs is proved, checked in exact arithmetic and bounded.
`GateOps` is what gates, norms, routers and nonlinearities use: `ArrayOps`, which TensorLy's backends define,
and the operations they lack. A framework's backend offers these, `tensormoe.arrays.execution.Execution` and
`tensormoe.arrays.instruments.Instruments`; their defaults are defined next to them.

Arrays are passed by position. `tensormoe.testing.check_backend` tries a backend on all of this.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from ..typing import AllReduce, Array, NumPyArray, Shape
from .array_ops import ArrayOps
from .thresholds import ThresholdKernel

Computed = TypeVar("Computed")
# A function of each element: by its name, or the user's own.
Nonlinearity: TypeAlias = str | Callable[[Array], Array]


class ProgramOps(Protocol):
    """The operations that a program may use, besides + and ∗ of arrays and slices of an axis."""

    def transpose(self, array: Array, axes: Shape, /) -> Array:
        """The array with its axes in this order."""

    def reshape(self, array: Array, shape: Shape, /) -> Array:
        """The array with neighbouring axes merged, split, or inserted with size 1, in row-major order."""

    def sum(self, array: Array, /, axis: int) -> Array:
        """The sum over one axis."""

    def matmul(self, a: Array, b: Array, /) -> Array:
        """The matrix product over the last two axes; equal leading axes are a batch of products."""

    def affine(self, x: Array, matrix: Array, /) -> Array:
        """The product of x (…, T, I), extended by a constant 1, with a matrix (…, I + 1, M)."""

    def concatenate(self, arrays: Sequence[Array], /, axis: int) -> Array:
        """Arrays joined along an axis."""

    def zeros_like(self, array: Array, /) -> Array:
        """Zeros of an array's shape and type."""

    def copy(self, array: Array, /) -> Array:
        """A copy in its own memory."""

    def choose(self, coefficients: Array, k: int, /) -> Array:
        """Places (T, k) of different entries of each row (T, N): all that are not 0, if at most k are."""

    def take(self, coefficients: Array, indices: Array, /) -> Array:
        """The entries (T, k) at these places of each row (T, N)."""

    def put(self, gradient: Array, indices: Array, like: Array, /) -> Array:
        """The reverse of `take`: an array of the shape of `like` with these entries, and 0 elsewhere."""

    def gather(self, array: Array, indices: Sequence[Array], axes: Shape, /) -> Array:
        """The array at indices (T, k) of each of some axes, in ascending order: (T, k, …, other axes)."""

    def scatter(self, gradient: Array, indices: Sequence[Array], axes: Shape, like: Array, /) -> Array:
        """The reverse of `gather`: zeros of the shape of `like`, and the gradient added where it was read."""

    def nonlinear(self, function: Nonlinearity, x: Array, /) -> Array:
        """Apply a nonlinearity to each element."""

    def nonlinear_overwrite(self, function: Nonlinearity, x: Array, /) -> Array:
        """The same, possibly in the memory of x, which nothing else needs."""

    def nonlinear_vjp(self, function: Nonlinearity, x: Array, gradient: Array, /) -> Array:
        """A gradient with respect to the result, carried back to x; possibly in the gradient's memory."""

    def nonlinear_product(self, function: Nonlinearity, x: Array, factor: Array, /) -> Array:
        """A nonlinearity of each element of x, times a factor of the same shape."""

    def nonlinear_product_overwrite(self, function: Nonlinearity, x: Array, factor: Array, /) -> Array:
        """The same, possibly in the memory of x, which nothing else needs."""

    def nonlinear_product_vjp(
        self, function: Nonlinearity, x: Array, factor: Array, gradient: Array, position: int, /
    ) -> Array:
        """A gradient with respect to the product, carried back to x (position 0) or to the factor (1)."""


class ProgramDefaults:
    """Operations of `ProgramOps` in terms of the others."""

    def affine(self: ProgramOps, x: Array, matrix: Array) -> Array:
        """The product of x (…, T, I), extended by a constant 1, with a matrix (…, I + 1, M)."""
        return self.matmul(x, matrix[..., :-1, :]) + matrix[..., -1:, :]

    def nonlinear_product(self: ProgramOps, function: Nonlinearity, x: Array, factor: Array) -> Array:
        """A nonlinearity of each element of x, times a factor of the same shape."""
        return self.nonlinear(function, x) * factor

    def nonlinear_product_overwrite(
        self: ProgramOps, function: Nonlinearity, x: Array, factor: Array
    ) -> Array:
        """The same, possibly in the memory of x, which nothing else needs."""
        return self.nonlinear_overwrite(function, x) * factor

    def nonlinear_product_vjp(
        self: ProgramOps, function: Nonlinearity, x: Array, factor: Array, gradient: Array, position: int
    ) -> Array:
        """A gradient with respect to the product, carried back to x (position 0) or to the factor (1)."""
        if position == 1:
            return gradient * self.nonlinear(function, x)
        return self.nonlinear_vjp(function, x, gradient * factor)


class GateOps(ArrayOps, Protocol):
    """What gates, norms, routers, clustering and nonlinearities use."""

    @property
    def tensormoe_name(self) -> str:
        """The backend's name, for errors."""

    # The inner loops of sparse gates.
    thresholds: ThresholdKernel

    def dtype_name(self, array: Array, /) -> str:
        """The element type's name, such as "float32" or "bfloat16"."""

    def cast(self, array: Array, dtype: str, /) -> Array:
        """The array with elements of the type of this name."""

    def epsilon(self, array: Array, /) -> float:
        """The distance from 1 to the next number of the array's type."""

    def positions(self, count: int, like: Array, /) -> Array:
        """The integers from 0 to count − 1, on the device of an array."""

    def normal(self, like: Array, generator: Any, number: int, /) -> Array:
        """Standard normal numbers of an array's shape and type; `number` counts the draws of a call."""

    def sum_leading(self, array: Array, axes: int, /) -> Array:
        """The sum over the first axes, this many."""

    def sum_products(self, a: Array, b: Array, /) -> Array:
        """Σ_t a_t b_tᵀ, (K, d), over the vectors of a (…, K) and b (…, d), however many there are."""

    def layer_norm(self, x: Array, epsilon: float, /) -> Array:
        """Scale each vector of the last axis to mean 0 and variance 1; epsilon is added to the variance."""

    def softmax(self, x: Array, /) -> Array:
        """Softmax over the last axis."""

    def kth_largest(self, x: Array, k: int, /) -> Array:
        """The k-th largest entry of the last axis, (…, 1)."""

    def beyond_largest(self, x: Array, k: int, /) -> Array:
        """Where the last axis has none of its k largest entries; of equal ones, the first count. NaN stay."""

    def stop_gradient(self, array: Array, /) -> Array:
        """The array as a constant of differentiation."""

    def holds(self, condition: Array, /) -> bool | None:
        """Whether all of a condition holds; None while a framework traces."""

    def reduce(self, function: AllReduce, array: Array, /) -> Array:
        """The sum of an array over processes by a function, and differentiated as such."""

    def compute_precisely(
        self, function: Callable[..., Computed], x: Array, /, *arguments: object
    ) -> Computed:
        """What a function of a backend object, x and arguments returns.

        Its products, and those of its reverse mode, are computed in their operands' own type, whatever the
        framework was told.
        """

    def differentiable(self, function: "Differentiable", x: Array, /, *scalars: Array) -> Array:
        """The function's value, differentiated by its own Jacobian product."""

    def gradients(
        self, function: Callable[..., Array], inputs: Sequence[Array], cotangent: Array, /
    ) -> tuple[Array, ...] | None:
        """∂ Σ function(*inputs) ∗ cotangent / ∂ inputs by automatic differentiation; None without it."""

    def without_warnings(self) -> AbstractContextManager[Any]:
        """A context in which overflow, underflow and NaN neither warn nor raise an error."""


class Differentiable(Protocol):
    """A function of one array whose Jacobian is symmetric and known in closed form; hashable.

    It may also depend on scalars, which every method then receives.
    """

    @property
    def closed_form(self) -> Callable[[NumPyArray], NumPyArray] | None:
        """A function of a NumPy array, if NumPy computes small float32 arrays fastest; otherwise None.

        A backend may call it instead of `value` on an array whose values are known.
        """

    def value(self, ops: GateOps, x: Array, /, *scalars: Array) -> Array:
        """The function's value."""

    def jacobian_product(self, ops: GateOps, y: Array, v: Array, /, *scalars: Array) -> Array:
        """J v at the point whose value is y, where J = ∂y/∂x."""

    def sensitivities(self, ops: GateOps, y: Array, /, *scalars: Array) -> tuple[Array, ...]:
        """∂y/∂scalar at the point whose value is y, for each scalar."""


@dataclass(frozen=True)
class Elementwise:
    """A function of each element.

    Args:
        value: from a backend object and x to f(x).
        vjp: from a backend object, x and a gradient with respect to f(x) to one with respect to x; possibly
            in the same memory.
        overwrite: like `value`, possibly in the memory of x; None if that gains nothing.
    """

    value: Callable[[GateOps, Array], Array]
    vjp: Callable[[GateOps, Array, Array], Array]
    overwrite: Callable[[GateOps, Array], Array] | None = None


class Runnable(Protocol):
    """What a backend needs of a program."""

    @property
    def num_operands(self) -> int:
        """How many arrays `run` takes."""

    def run(self, ops: ProgramOps, operands: Sequence[Array], /) -> Array:
        """The output."""

    def forward(
        self, ops: ProgramOps, operands: Sequence[Array], recompute: bool = False, /
    ) -> tuple[Array, list[Any]]:
        """The output, and the registers that `backward` takes: arrays, or objects that have only a shape."""

    def backward(
        self, ops: ProgramOps, registers: list[Any], cotangent: Array, wanted: Sequence[int], /
    ) -> tuple[Array | None, ...]:
        """One gradient per operand; None for one that is not wanted."""


class BackendOps(GateOps, ProgramOps, Protocol):
    """What programs and gates use, and what every base class of a backend may call."""


# The base of those classes. At run time TensorLy's class, inherited next to them, defines most of these.
if TYPE_CHECKING:
    Declared = BackendOps
else:
    Declared = object
