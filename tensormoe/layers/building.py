"""From a specification to a framework's own module."""

from inspect import Parameter, signature
from typing import Any

from ..arrays.registry import get_module
from ..errors import TensorMoEError, one_of
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
    names = {MuMoESpec: "MuMoE", MuMoEBlockSpec: "MuMoEBlock"}
    check_spec(spec)
    if type(spec) not in names:
        raise TensorMoEError("spec", spec, "pass a MuMoESpec or a MuMoEBlockSpec")
    module = getattr(get_module(backend), names[type(spec)])
    known = _options(module, spec)
    for option in options:
        one_of(f"option of {backend}", option, known)
    return module.from_spec(spec, seed=seed, **options)


def _options(module: Any, spec: Spec) -> tuple[str, ...]:
    """The keywords of a module's class, except for the fields of its specification."""
    # Not the class's own signature: nnx.Module's metaclass hides it.
    parameters = signature(module.__init__).parameters.values()
    by_keyword = [parameter.name for parameter in parameters if parameter.kind is Parameter.KEYWORD_ONLY]
    return tuple(name for name in by_keyword if name not in spec.arguments)
