"""From a specification to a framework's own module."""

from typing import Any

from ..arrays.registry import get_module
from ..errors import TensorMoEError
from .block_spec import MuMoEBlockSpec
from .layer_spec import MuMoESpec
from .spec import Spec


def build(spec: Spec, backend: str, seed: int = 0, **options: Any) -> Any:
    """The framework's own module for a layer or a block.

    Args:
        spec: what to build.
        backend: "torch" for a `torch.nn.Module`, "jax" for a `flax.nnx.Module`, "numpy", or another
            installed backend that has modules.
        seed: of the initial values; the same seed gives the same bits in every framework.
        options: the module's own, such as device and dtype.

    Raises:
        TensorMoEError: an unknown backend, one that is not installed, or one without modules.

    Examples:
        >>> import tensormoe as tm
        >>> spec = tm.MuMoESpec(8, 6, experts=4, factorization=tm.CP(rank=5))
        >>> type(tm.build(spec, backend="torch")).__mro__[2]
        <class 'torch.nn.modules.module.Module'>
    """
    names = {MuMoESpec: "MuMoE", MuMoEBlockSpec: "MuMoEBlock"}
    if type(spec) not in names:
        raise TensorMoEError("spec", spec, "pass a MuMoESpec or a MuMoEBlockSpec")
    return getattr(get_module(backend), names[type(spec)]).from_spec(spec, seed=seed, **options)
