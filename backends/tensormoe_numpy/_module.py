"""Layers and blocks on NumPy arrays: values and evaluation, no training."""

from collections.abc import Mapping, Sequence
from typing import Literal, Self, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import DTypeLike

from tensormoe.errors import TensorMoEError, true_or_false
from tensormoe.layers import functional
from tensormoe.layers.block_spec import MuMoEBlockSpec
from tensormoe.layers.cores import materialize
from tensormoe.layers.initialization import initialize
from tensormoe.layers.layer_spec import MuMoESpec
from tensormoe.layers.loading import read_arrays
from tensormoe.layers.options import BlockOptions, LayerOptions, check_keywords
from tensormoe.layers.parameters import group_members
from tensormoe.layers.spec import Spec, check_spec
from tensormoe.networks.factorization import Factorization
from tensormoe.typing import Array, NumPyArray

from ._backend import backend


class ModuleOptions(TypedDict, total=False):
    """What every module takes in addition to a specification."""

    seed: int | None
    dtype: DTypeLike | None
    device: str | None
    recompute: bool


class _Module:
    """Holds a spec's arrays under the names that `tensormoe.initialize` gives them."""

    kind: type[Spec]

    def __init__(
        self, spec: Spec, *, seed: int | None, dtype: DTypeLike | None, device: str | None, recompute: bool
    ) -> None:
        true_or_false("recompute", recompute)
        if device is not None and not (isinstance(device, str) and device == "cpu"):
            raise TensorMoEError("device", device, 'NumPy has only the device "cpu": pass that or None')
        if seed is None:
            # From NumPy's global generator, so that np.random.seed has an effect.
            seed = int(np.random.randint(2**63 - 1, dtype=np.int64))
        wanted = _floating(dtype)
        drawn = "float64" if wanted == "float64" else "float32"
        parameters, self.state = initialize(spec, seed, drawn)
        self.parameters = {name: value.astype(wanted, copy=False) for name, value in parameters.items()}
        self.spec = spec
        self.recompute = recompute

    @classmethod
    def from_spec(cls, spec: Spec, **options: Unpack[ModuleOptions]) -> Self:
        """Build the module of a specification.

        Args:
            spec: a specification of the kind that this class computes.
            options: seed, dtype, device and recompute, as for the class.

        Raises:
            TensorMoEError: a specification of the wrong kind.
        """
        check_spec(spec)
        if not isinstance(spec, cls.kind):
            raise TensorMoEError("spec", spec, f"pass a {cls.kind.__name__}")
        return cls(**spec.arguments, **options)

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
        return self.parameters[self.spec.core_names[0]].dtype

    @property
    def gate_weights(self) -> list[NumPyArray]:
        """The gate's parameters, (I, N_e) for each expert level."""
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
        for held in (self.parameters, self.state):
            held.update({name: values[name].astype(old.dtype) for name, old in held.items()})

    def _members(self, group: str) -> dict[str, NumPyArray]:
        return group_members(self.parameters)[group]

    @overload
    def __call__(
        self,
        x: NumPyArray,
        return_coefficients: Literal[False] = False,
        *,
        previous: Sequence[NumPyArray] | None = None,
    ) -> NumPyArray: ...

    @overload
    def __call__(
        self,
        x: NumPyArray,
        return_coefficients: Literal[True],
        *,
        previous: Sequence[NumPyArray] | None = None,
    ) -> tuple[NumPyArray, list[NumPyArray]]: ...

    def __call__(
        self,
        x: NumPyArray,
        return_coefficients: bool = False,
        *,
        previous: Sequence[NumPyArray] | None = None,
    ) -> NumPyArray | tuple[NumPyArray, list[NumPyArray]]:
        """Compute y (…, O) from x (…, I); with the E coefficient arrays (…, N_e) on request.

        Args:
            x: of the layer's element type.
            return_coefficients: whether to return the pair of y and the coefficients.
            previous: the coefficients that the previous layer returned, for `tm.AdaptiveClustering`.

        Raises:
            TensorMoEError: a wrong last dimension or element type, or coefficients that do not fit.
        """
        true_or_false("return_coefficients", return_coefficients)
        result = functional.apply(
            self.spec, self.parameters, x, state=self.state, previous=previous, backend=backend
        )
        return (result.y, result.coefficients) if return_coefficients else result.y


class MuMoE(_Module):
    """A μMoE layer on NumPy arrays, with the same arguments as in PyTorch and JAX.

    Args:
        in_features: I, the size of x's last dimension.
        out_features: O, the size of y's last dimension.
        experts: N, or one count for each level.
        factorization: of the weight tensor, such as `tm.CP(rank=64)`.
        seed: of the initial values; by default drawn from NumPy's global generator.
        dtype: of the parameters; float32 by default.
        device: "cpu" or None.
        recompute: without effect, since NumPy differentiates nothing.
        options: gate, bias, optimize, memory_limit and initialization by keyword, as for `tm.MuMoESpec`.

    Attributes:
        spec: the `tm.MuMoESpec`.
        parameters, state: all arrays by the names that `tm.initialize` gives them.

    Raises:
        TensorMoEError: as `tm.MuMoESpec`.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> from tensormoe_numpy import MuMoE
        >>> layer = MuMoE(8, 6, experts=4, factorization=tm.CP(rank=5), seed=0)
        >>> layer(np.ones((2, 8), dtype="float32")).shape
        (2, 6)
        >>> layer.materialize().shape
        (4, 9, 6)
    """

    kind = MuMoESpec
    spec: MuMoESpec

    def __init__(
        self,
        in_features: int,
        out_features: int,
        experts: int | tuple[int, ...],
        factorization: Factorization,
        *,
        seed: int | None = None,
        dtype: DTypeLike | None = None,
        device: str | None = None,
        recompute: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        check_keywords(self, options, LayerOptions)
        spec = MuMoESpec(in_features, out_features, experts, factorization, **options)
        super().__init__(spec, seed=seed, dtype=dtype, device=device, recompute=recompute)

    @property
    def cores(self) -> dict[str, NumPyArray]:
        """The factors of the weight tensor by name."""
        return self._members("cores")

    def materialize(self) -> NumPyArray:
        """The weight tensor W (N1, …, NE, I[+1], O), multiplied out."""
        weight: NumPyArray = materialize(self.spec, self.cores, backend=backend)
        return weight


class MuMoEBlock(_Module):
    """A μMoE block on NumPy arrays. See `tm.MuMoEBlockSpec`.

    Args:
        in_features, hidden_features, out_features: D, H and O.
        experts, factorization: of all layers.
        seed, dtype, device, recompute: as for `MuMoE`.
        options: gate, bias, nonlinearity, gated, input_norm, optimize, memory_limit and initialization by
            keyword, as for `tm.MuMoEBlockSpec`.

    Attributes:
        spec: the `tm.MuMoEBlockSpec`.
        parameters, state: all arrays by the names that `tm.initialize` gives them.

    Examples:
        >>> import numpy as np
        >>> import tensormoe as tm
        >>> from tensormoe_numpy import MuMoEBlock
        >>> block = MuMoEBlock(8, 16, 6, experts=4, factorization=tm.CP(rank=5), seed=0)
        >>> block(np.ones((2, 8), dtype="float32")).shape
        (2, 6)
    """

    kind = MuMoEBlockSpec
    spec: MuMoEBlockSpec

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        out_features: int,
        experts: int | tuple[int, ...],
        factorization: Factorization,
        *,
        seed: int | None = None,
        dtype: DTypeLike | None = None,
        device: str | None = None,
        recompute: bool = False,
        **options: Unpack[BlockOptions],
    ) -> None:
        check_keywords(self, options, BlockOptions)
        spec = MuMoEBlockSpec(in_features, hidden_features, out_features, experts, factorization, **options)
        super().__init__(spec, seed=seed, dtype=dtype, device=device, recompute=recompute)

    @property
    def first(self) -> dict[str, NumPyArray]:
        """The first layer's cores by name."""
        return self._members("first")

    @property
    def up(self) -> dict[str, NumPyArray]:
        """The cores of a gated block's layer whose result is multiplied, by name."""
        if not self.spec.gated:
            raise AttributeError("up: only a gated block has this layer")
        return self._members("up")

    @property
    def second(self) -> dict[str, NumPyArray]:
        """The second layer's cores by name."""
        return self._members("second")

    def materialize(self) -> tuple[NumPyArray, ...]:
        """The weight tensors of all layers in their order, multiplied out."""
        layers = self.spec.layers.items()
        return tuple(materialize(stage, self._members(name), backend=backend) for name, stage in layers)


def _floating(dtype: DTypeLike | None) -> np.dtype:
    try:
        wanted = np.dtype(np.float32 if dtype is None else dtype)
    except (TypeError, ValueError, SyntaxError, RecursionError) as error:
        raise TensorMoEError("dtype", dtype, "pass a floating-point type") from error
    if wanted.name not in backend.float_types:
        listed = ", ".join(backend.float_types)
        raise TensorMoEError("dtype", dtype, f"choose one of {listed}")
    return wanted
