"""Maps from logits to mixture weights that a gate can apply, by name and with their options.

Add a new one here, in `WEIGHTINGS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any, Self

from ..arrays.protocols import GateOps
from ..codec import Data, Serializable, decode, encode
from ..errors import TensorMoEError, number_from, one_of, positive_integer, positive_number, real_number
from ..typing import Array
from .entmax import Entmax
from .magnitude import below_largest, within_range
from .newton import Entmax15, SoftTopK, Sparsemax
from .unnormalised import expected_squares, jump_relu, relu, relu_top_k, sigmoid


def _softmax(ops: GateOps, x: Array) -> Array:
    # Every framework has its own softmax, with an exact derivative.
    return ops.softmax(x)


def _sparsemax(ops: GateOps, x: Array) -> Array:
    return ops.differentiable(Sparsemax(), x)


def _entmax15(ops: GateOps, x: Array) -> Array:
    return ops.differentiable(Entmax15(), x)


def _entmax(ops: GateOps, x: Array, alpha: Any) -> Array:
    if isinstance(alpha, float):
        return ops.differentiable(Entmax(alpha), x)
    if not ops.is_tensor(alpha) or ops.holds((alpha >= 1) & (alpha <= 4)) is False:
        raise TensorMoEError("alpha", alpha, "pass a number from 1 to 4, or a scalar array of x's framework")
    return ops.differentiable(Entmax(), x, ops.cast(alpha, ops.dtype_name(x)))


def _soft_top_k(ops: GateOps, x: Array, k: int, eps: float = 1.0) -> Array:
    return ops.differentiable(SoftTopK(k, eps), x)


def _top_k(ops: GateOps, x: Array, k: int) -> Array:
    dropped = ops.beyond_largest(ops.stop_gradient(x), k)
    return ops.softmax(ops.where(dropped, -float("inf"), x))


WEIGHTINGS: dict[str, Callable[..., Array]] = {
    "softmax": _softmax,
    "sparsemax": _sparsemax,
    "entmax15": _entmax15,
    "entmax": _entmax,
    "soft_top_k": _soft_top_k,
    "top_k": _top_k,
    "relu": relu,
    "sigmoid": sigmoid,
    "relu_top_k": relu_top_k,
    "jump_relu": jump_relu,
}
# Those whose weights sum to nothing in particular, and among them those that are 0 where all logits are.
_WITHOUT_SUM = ("relu", "sigmoid", "relu_top_k", "jump_relu")
_WITHOUT_WEIGHT = ("relu", "relu_top_k", "jump_relu")
# Those of which at most k weights are not 0.
_HARD = ("top_k", "relu_top_k")
# A threshold that hardly any logit passes asks for no larger cores than this sum of squares.
_LEAST_SQUARE = 1e-4


def _alpha(value: Any) -> Any:
    number = real_number(value)
    if number is None and getattr(value, "shape", None) == ():
        return value  # a scalar array; its framework is not known yet
    if number is None or not 1 <= number <= 4:
        raise TensorMoEError("alpha", value, "pass a number from 1 to 4, or a scalar array of x's framework")
    return number


def _threshold(value: Any) -> float:
    threshold = number_from(0, "threshold", value)
    if threshold == float("inf"):
        raise TensorMoEError("threshold", value, "no logit is above it: pass a finite number")
    return threshold


# Other options are passed on unchanged.
_CHECKS: dict[str, Callable[[Any], Any]] = {
    "k": lambda value: positive_integer("k", value),
    "eps": lambda value: positive_number("eps", value),
    "alpha": _alpha,
    "threshold": _threshold,
}


def check_options(options: Mapping[str, Any], width: int | None = None) -> dict[str, Any]:
    """Check options, and convert them to the types that weightings need.

    Args:
        options: by name.
        width: the number of logits, if known.

    Raises:
        TensorMoEError: a value that does not fit.
    """
    fit = {name: _CHECKS[name](value) if name in _CHECKS else value for name, value in options.items()}
    if width is not None and fit.get("k", 1) > width:
        raise TensorMoEError("k", fit["k"], f"there are only {width} logits: pass a smaller k")
    return fit


@dataclass(frozen=True, init=False, repr=False)
class Activation(Serializable):
    """A gate's activation with options, by name. Pass it to `tm.Gate` if the activation takes options.

    Args:
        name: "softmax", "sparsemax", "entmax15", "entmax", "soft_top_k" or "top_k"; or, without a fixed sum
            of the weights, "relu", "sigmoid", "relu_top_k" or "jump_relu".
        options: the options of the function of this name: `alpha`, a number, for "entmax"; `k` and `eps` for
            "soft_top_k"; `k` for "top_k" and "relu_top_k"; `threshold` for "jump_relu".

    Raises:
        TensorMoEError: an unknown name or option, a missing option, or a value that does not fit.

    Examples:
        >>> import tensormoe as tm
        >>> tm.Gate(activation=tm.Activation("soft_top_k", k=2, eps=0.5)).activation
        Activation('soft_top_k', k=2, eps=0.5)
    """

    _what = "gate activation"

    name: str
    options: tuple[tuple[str, Any], ...]

    def __init__(self, name: str, **options: Any) -> None:
        one_of("gate activation", name, tuple(WEIGHTINGS))
        known = list(signature(WEIGHTINGS[name]).parameters.values())[2:]
        for option in options:
            one_of(f"option of {name}", option, tuple(parameter.name for parameter in known))
        for parameter in known:
            if parameter.default is parameter.empty and parameter.name not in options:
                raise TensorMoEError(
                    "gate activation",
                    name,
                    f"it needs an option: pass tm.Activation({name!r}, {parameter.name}=…)",
                )
        if real_number(options.get("alpha", 1)) is None:
            raise TensorMoEError(
                "alpha", options["alpha"], "pass a number from 1 to 4: a gate's alpha cannot be an array"
            )
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "options", tuple(check_options(options).items()))

    def __repr__(self) -> str:
        listed = "".join(f", {name}={value!r}" for name, value in self.options)
        return f"Activation({self.name!r}{listed})"

    def _to_data(self) -> dict[str, Data]:
        return {"name": self.name, **{name: encode(name, value) for name, value in self.options}}

    @classmethod
    def _from_data(cls, data: Mapping[str, object]) -> Self:
        options = {name: decode(value) for name, value in data.items() if name != "name"}
        return cls(data.get("name"), **options)  # type: ignore[arg-type]

    @property
    def total(self) -> float | None:
        """What the weights of a row sum to; None if to no fixed number."""
        return None if self.name in _WITHOUT_SUM else 1.0

    @property
    def active(self) -> int | None:
        """At most how many weights of a row differ from 0, whatever the logits; None if all may.

        Examples:
            >>> import tensormoe as tm
            >>> tm.Activation("top_k", k=2).active, tm.Activation("sparsemax").active
            (2, None)
        """
        return dict(self.options)["k"] if self.name in _HARD else None

    @property
    def draws_logits(self) -> bool:
        """Whether the gate's weights are drawn at the start: of logits of 0, nothing would ever learn."""
        return self.name in _WITHOUT_WEIGHT

    def expected_squares(self, experts: int, temperature: float) -> tuple[float, float]:
        """E (Σ a)² and N/(N − 1) E Σ (a − ā)² at the start; see `gates.unnormalised.expected_squares`."""
        if self.total is not None:
            return self.total**2, 0.0
        if not self.draws_logits:
            return experts**2 / 4, 0.0
        options = dict(self.options)
        together, apart = expected_squares(
            experts, options.get("k"), options.get("threshold", 0.0), temperature
        )
        return max(together, _LEAST_SQUARE), apart

    def weights(self, ops: GateOps, logits: Array, temperature: float = 1.0) -> Array:
        """The mixture weights of logits (…, N) in float32 or wider, divided by a temperature."""
        with ops.without_warnings():
            if temperature != 1:
                # Differences come first: see gates/magnitude.py.
                distances = logits if self.total is None else below_largest(ops, logits)
                logits = distances / within_range(ops, logits, temperature)
            return WEIGHTINGS[self.name](ops, logits, **dict(self.options))
