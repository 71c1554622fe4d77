"""What layers and blocks share on NumPy arrays."""

from collections.abc import Mapping, Sequence
from typing import Literal, Self, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import DTypeLike

from tensormoe.arrays.numpy_kinds import NUMPY_TYPES, import_bfloat16
from tensormoe.errors import TensorMoEError, true_or_false
from tensormoe.layers import functional
from tensormoe.layers.initialization import initialize
from tensormoe.layers.loading import check_fixed, read_arrays
from tensormoe.layers.merging import apply_merged
from tensormoe.layers.parameters import group_members
from tensormoe.layers.spec import Spec, check_spec_kind
from tensormoe.typing import Array, NumPyArray

from ._backend import backend


class ModuleOptions(TypedDict, total=False):
    """What every module takes in addition to a specification."""

    seed: int | None
    dtype: DTypeLike | None
    device: str | None
    recompute: bool


class Module:
    """Holds a spec's arrays under the names that `tensormoe.initialize` gives them."""

    kind: type[Spec]

    def __init__(
        self, spec: Spec, *, seed: int | None, dtype: DTypeLike | None, device: str | None, recompute: bool
    ) -> None:
        _check_device(device)
        if seed is None:
            # From NumPy's global generator, so that np.random.seed has an effect.
            seed = int(np.random.randint(2**63 - 1, dtype=np.int64))
        wanted = _floating(dtype)
        drawn = "float64" if wanted == "float64" else "float32"
        parameters, state = initialize(spec, seed, drawn)
        # Statistics are float32 at least.
        kept = dict.fromkeys(spec.statistics_shapes, drawn)
        self.state = {name: value.astype(kept.get(name, wanted), copy=False) for name, value in state.items()}
        self.parameters = {name: value.astype(wanted, copy=False) for name, value in parameters.items()}
        self.spec = spec
        self.recompute = true_or_false("recompute", recompute)

    @classmethod
    def from_spec(cls, spec: Spec, **options: Unpack[ModuleOptions]) -> Self:
        """Build the module of a specification.

        Args:
            spec: a specification of the kind that this class computes.
            options: seed, dtype, device and recompute, as for the class.

        Raises:
            TensorMoEError: a specification of the wrong kind.
        """
        check_spec_kind(spec, cls.kind)
        return cls(**spec.arguments, **options)

    @classmethod
    def from_arrays(
        cls,
        spec: Spec,
        arrays: Mapping[str, Array],
        *,
        copy: bool = True,
        dtype: DTypeLike | None = None,
        device: str | None = None,
        recompute: bool = False,
    ) -> Self:
        """Build the module of a specification around values. No initial values are drawn.

        Args:
            spec: a specification of the kind that this class computes.
            arrays: of any framework, by the names that `tm.initialize` gives them: all parameters and all
                running statistics.
            copy: False if the module may hold NumPy arrays themselves.
            dtype: of the parameters; by default every array keeps its type.
            device, recompute: as for the class.

        Raises:
            TensorMoEError: a specification of the wrong kind, a missing or unknown name, or a wrong shape.
        """
        check_spec_kind(spec, cls.kind)
        _check_device(device)
        values = read_arrays(arrays, spec.parameter_shapes | spec.state_shapes)
        check_fixed(spec, values)
        kinds = {name: _floating(value.dtype if dtype is None else dtype) for name, value in values.items()}
        if dtype is not None:
            # Statistics are float32 at least.
            kinds |= {name: np.result_type(kinds[name], np.float32) for name in spec.statistics_shapes}
        fresh = None if not true_or_false("copy", copy) else True
        held = {name: np.array(value, kinds[name], copy=fresh, order="C") for name, value in values.items()}
        module = cls.__new__(cls)
        module.spec, module.recompute = spec, true_or_false("recompute", recompute)
        module.parameters = {name: held[name] for name in spec.parameter_shapes}
        module.state = {name: held[name] for name in spec.state_shapes}
        return module

    @property
    def in_features(self) -> int:
        """I, or D of a block."""
        return self.spec.in_features

    @property
    def out_features(self) -> int:
        """O."""
        return self.spec.out_features

    @property
    def experts(self) -> tuple[int, ...]:
        """The number of experts of each level."""
        return self.spec.experts

    @property
    def dtype(self) -> np.dtype:
        """The parameters' element type."""
        return next(iter(self.arrays().values())).dtype

    @property
    def gate_weights(self) -> list[NumPyArray]:
        """The gate's parameters, (I, N_e) for each expert level; none without a gate."""
        return list(self._members("gate_weights").values())

    def load_arrays(self, arrays: Mapping[str, Array]) -> None:
        """Load parameters and running statistics, such as those of another framework.

        Nothing is changed unless everything fits. Each array is copied to the element type it has here.

        Args:
            arrays: of any framework, by the names that `tm.initialize` gives them: all parameters and all
                running statistics.

        Raises:
            TensorMoEError: a missing or unknown name, a wrong shape, or something that is not an array.

        Examples:
            >>> import tensormoe as tm
            >>> from tensormoe_numpy import MuMoE
            >>> layer = MuMoE(8, 6, experts=4, factorization=tm.CP(rank=5))
            >>> parameters, state = tm.initialize(layer.spec, seed=1)
            >>> layer.load_arrays(parameters | state)
            >>> bool((layer.cores["input"] == parameters["cores.input"]).all())
            True
        """
        values = read_arrays(arrays, self.spec.parameter_shapes | self.spec.state_shapes)
        check_fixed(self.spec, values)
        for held in (self.parameters, self.state):
            held.update({name: values[name].astype(old.dtype) for name, old in held.items()})

    def arrays(self) -> dict[str, NumPyArray]:
        """All parameters and running statistics by the names that `tm.initialize` gives them, not copied.

        Examples:
            >>> import tensormoe as tm
            >>> from tensormoe_numpy import MuMoE
            >>> list(MuMoE(8, 6, experts=4, factorization=tm.CP(rank=5)).arrays())
            ['cores.expert1', 'cores.input', 'cores.output', 'gate_weights.0']
        """
        return {**self.parameters, **self.state}

    def _members(self, group: str) -> dict[str, NumPyArray]:
        held = self.arrays()
        names = (*self.spec.mixture_shapes, *self.spec.gate_shapes)
        return group_members({name: held[name] for name in names}).get(group, {})

    @overload
    def __call__(
        self,
        x: NumPyArray,
        return_coefficients: Literal[False] = False,
        *,
        router_input: NumPyArray | None = None,
        coefficients: Sequence[NumPyArray] | NumPyArray | None = None,
        previous: Sequence[NumPyArray] | None = None,
    ) -> NumPyArray: ...

    @overload
    def __call__(
        self,
        x: NumPyArray,
        return_coefficients: Literal[True],
        *,
        router_input: NumPyArray | None = None,
        coefficients: Sequence[NumPyArray] | NumPyArray | None = None,
        previous: Sequence[NumPyArray] | None = None,
    ) -> tuple[NumPyArray, list[NumPyArray]]: ...

    def __call__(
        self,
        x: NumPyArray,
        return_coefficients: bool = False,
        *,
        router_input: NumPyArray | None = None,
        coefficients: Sequence[NumPyArray] | NumPyArray | None = None,
        previous: Sequence[NumPyArray] | None = None,
    ) -> NumPyArray | tuple[NumPyArray, list[NumPyArray]]:
        """Compute y (…, O) from x (…, I); with the E coefficient arrays (…, N_e) on request.

        Args:
            x: of the layer's element type.
            return_coefficients: whether to return the pair of y and the coefficients.
            router_input: what the router reads in place of x: (…, `spec.gate_features`), which such a layer
                needs, or (…, I).
            coefficients: E arrays (…, N_e), or the only one, of x's type. A layer without a gate needs them;
                with a gate, they are used in place of what it would compute.
            previous: the coefficients that the previous layer returned, for `tm.AdaptiveClustering`.

        Raises:
            TensorMoEError: a wrong last dimension or element type, or coefficients that are missing or do not
                fit.
        """
        true_or_false("return_coefficients", return_coefficients)
        result = functional.apply(
            self.spec,
            self.parameters,
            x,
            router_input=router_input,
            coefficients=coefficients,
            state=self.state,
            previous=previous,
            backend=backend,
        )
        return (result.y, result.coefficients) if return_coefficients else result.y

    def apply_merged(self, x: NumPyArray, coefficients: Sequence[NumPyArray] | NumPyArray) -> NumPyArray:
        """Compute y[b, t] = W(a[b]) [x[b, t], 1], with one weight for each sequence; see `tm.apply_merged`.

        Args:
            x: (…, …, I), whose first axes are those of the coefficients.
            coefficients: E arrays (…, N_e), or the only one, of x's type.

        Raises:
            TensorMoEError: as `tm.apply_merged`.
        """
        y: NumPyArray = apply_merged(self.spec, self.arrays(), x, coefficients, backend=backend)
        return y


def _check_device(device: object) -> None:
    if device is not None and not (isinstance(device, str) and device == "cpu"):
        raise TensorMoEError("device", device, 'NumPy has only the device "cpu": pass that or None')


def _floating(dtype: DTypeLike | None) -> np.dtype:
    try:
        named = import_bfloat16() if isinstance(dtype, str) and dtype == "bfloat16" else dtype
        wanted = np.dtype(np.float32 if named is None else named).newbyteorder("=")
    except (TypeError, ValueError, SyntaxError, RecursionError) as error:
        raise TensorMoEError("dtype", dtype, "pass a floating-point type") from error
    if wanted.name not in NUMPY_TYPES:
        raise TensorMoEError("dtype", dtype, f"choose one of {', '.join(NUMPY_TYPES)}")
    return wanted
