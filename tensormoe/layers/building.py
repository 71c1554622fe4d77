"""From a specification to a framework's own module."""

from collections.abc import Callable, Iterable, Mapping
from inspect import Parameter, signature
from typing import Any

from ..arrays.registry import get_module
from ..errors import TensorMoEError, one_of
from ..typing import Array
from .block_spec import MuMoEBlockSpec
from .layer_spec import MuMoESpec
from .spec import Spec, check_spec


def build(spec: Spec, backend: str, *, seed: int | None = None, **options: Any) -> Any:
    """Build the framework's own module for a layer or a block.

    Args:
        spec: what to build.
        backend: "torch" for a `torch.nn.Module`, "jax" for a `flax.nnx.Module`, "numpy", or another
            installed backend that has modules.
        seed: the seed of the initial values; the same seed gives the same bits in every framework. By default
            the framework's own generator draws one, so stacked layers differ. JAX has no such generator: pass
            `seed=` or `rngs=`.
        options: keyword options of the module, such as device and dtype.

    Raises:
        TensorMoEError: an unknown backend, one that is not installed or has no modules, or an option that
            the module does not have.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5))
        >>> layer = tm.build(spec, backend="numpy", seed=0)
        >>> layer.cores["input"].shape
        (9, 5)
    """
    module = _find_class(spec, backend)
    # Not the class's own signature: nnx.Module's metaclass hides it.
    known = tuple(name for name in _keywords(module.__init__) if name not in spec.arguments)
    _check_options(options, backend, known)
    return module.from_spec(spec, seed=seed, **options)


def restore(spec: Spec, arrays: Mapping[str, Array], backend: str, **options: Any) -> Any:
    """Build the framework's own module around given values. No initial values are drawn.

    Args:
        spec: what to build.
        arrays: of any framework, by the names that `tm.initialize` gives them.
        backend: as for `build`.
        options: keyword options of the class's `from_arrays`, such as device and dtype.

    Raises:
        TensorMoEError: as `build`, and for arrays that are not those of the specification.
    """
    module = _find_class(spec, backend)
    if not hasattr(module, "from_arrays"):
        raise TensorMoEError("backend", backend, "its modules lack from_arrays, which takes given values")
    _check_options(options, backend, _keywords(module.from_arrays))
    return module.from_arrays(spec, arrays, **options)


def _find_class(spec: Spec, backend: str) -> Any:
    names = {MuMoESpec: "MuMoE", MuMoEBlockSpec: "MuMoEBlock"}
    check_spec(spec)
    if type(spec) not in names:
        raise TensorMoEError("spec", spec, "pass a MuMoESpec or a MuMoEBlockSpec")
    return getattr(get_module(backend), names[type(spec)])


def _keywords(function: Callable[..., Any]) -> tuple[str, ...]:
    parameters = signature(function).parameters.values()
    return tuple(parameter.name for parameter in parameters if parameter.kind is Parameter.KEYWORD_ONLY)


def _check_options(options: Iterable[str], backend: str, known: tuple[str, ...]) -> None:
    for option in options:
        one_of(f"option of {backend}", option, known)
